"""What memory a process may still take, whether something fits into it, and which errors say that it ran out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from flowopt.core.errors import BadValue

MACHINE, PROCESS, GROUPS = Path("/proc/meminfo"), Path("/proc/self"), Path("/sys/fs/cgroup")

NOT_WORTH_ASKING = 50e6
"""Bytes that are simply taken."""

SHARE = 0.8
"""Of what is free; the rest is for the steps themselves."""

LONG = 100_000
"""A run's worst case is counted up to so many records: runs mostly stop long before."""

UNLIMITED = 2**60
"""A container's bound from here on is none: the first version of Linux's control groups writes one near 2^63."""


def available() -> float:
    """Bytes that this process may still take: the least that machine, container and resource limits leave.

    On Linux what is free or can be freed at once, on other systems at most the machine's memory, and infinity where
    nothing is known.
    """
    return max(0.0, min([*_machine(), *_limits(), *_containers()], default=math.inf))


def check_fits(what: str, needed: float, cure: Callable[[float], str], free: Callable[[], float], where: str) -> None:
    """Raise BadValue unless so many bytes fit into what is free; `cure` says what to do where only so many would."""
    if needed > NOT_WORTH_ASKING and needed > SHARE * (left := free()):
        raise BadValue(
            f"{what} may take {readable(needed)}, and {readable(left)} {where} are free; {cure(SHARE * left)}"
        )


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there was no memory left: Python's and NumPy's, or torch's on any device."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory"))
    )


def readable(size: float) -> str:
    """A number of bytes for people, ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _machine() -> Iterator[float]:
    with suppress(OSError):
        for line in MACHINE.read_text().splitlines():
            name, _, size = line.partition(":")
            if name == "MemAvailable":
                yield 1024.0 * int(size.split()[0])
                return
    with suppress(AttributeError, OSError, ValueError):  # no such question on Windows
        yield float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _limits() -> Iterator[float]:
    """What `ulimit -v` and `ulimit -d` leave; both count what is promised, not only what is in use."""
    with suppress(ImportError, OSError):
        import resource

        pages = [int(number) * resource.getpagesize() for number in (PROCESS / "statm").read_text().split()]
        for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            soft, _ = resource.getrlimit(limit)
            if soft != resource.RLIM_INFINITY:
                yield float(soft - used)


def _containers() -> Iterator[float]:
    """What the process's control groups leave, and those that they are part of; both versions of Linux have them."""
    with suppress(OSError):
        for line in (PROCESS / "cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds == "":
                yield from _groups(GROUPS, path, "memory.max", "memory.current", "inactive_file")
            elif "memory" in kinds.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
                yield from _groups(GROUPS / "memory", path, *names)


def _groups(root: Path, path: str, most: str, used: str, spare: str) -> Iterator[float]:
    folder = root / path.lstrip("/")
    for group in (folder, *folder.parents[: len(folder.parts) - len(root.parts)]):
        with suppress(OSError, ValueError):  # a group that is not seen from inside the container, or "max"
            bound = int((group / most).read_text())
            if bound < UNLIMITED:
                # a cache of files that nobody has asked for lately goes when the memory is wanted
                counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                yield float(bound - int((group / used).read_text()) + int(counts.get(spare, 0)))
