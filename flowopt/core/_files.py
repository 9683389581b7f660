"""Files that are either the old ones or whole new ones, never half written."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flowopt.core.errors import BadValue


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well; missing folders are made.

    If the block raises, whatever stood at `path` is still there, and nothing else is left behind. Raises BadValue
    where no file can be.
    """
    target = Path(path)
    check_writable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue(f"cannot make the folder {target.parent}: {error.strerror}") from error
    # not tempfile: its files are private to the user, and these get the permissions that any new file gets
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(target: Path) -> None:
    """Raise BadValue where no file of that name could be written, its folder made if it is not there; make nothing."""
    if target.is_dir():
        raise BadValue(f"{target} is a folder; give a file")
    there = next(place for place in target.absolute().parents if place.exists())
    if not there.is_dir():
        raise BadValue(f"cannot make the folder {target.parent}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadValue(f"the folder {there} is not writable")


def write_json(path: str | Path, content: Any) -> Path:
    """Write plain Python data, or arrays in it, as JSON; NaN and infinities become null."""
    target = Path(path)
    text = json.dumps(plain(content), indent=2, allow_nan=False)
    with replacing(target) as file:
        file.write(text.encode() + b"\n")
    return target


def plain(value: Any) -> Any:
    """Arrays, tensors and numbers as JSON can hold them; anything else by its repr."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return repr(value)
