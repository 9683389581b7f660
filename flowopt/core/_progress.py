"""What a run shows while it goes: a Progress for callbacks, and a bar for those who want one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = 2.0
"""Seconds before a bar appears."""


class Progress(NamedTuple):
    """What a callback is shown after each attempted step: the rows still running."""

    attempt: int
    rows: Tensor
    """Their numbers, ``(A,)``."""
    x: Tensor
    f: Tensor
    grad_norm: Tensor
    h: Tensor
    t: Tensor
    cost: int | Tensor
    """Evaluations paid so far, of all rows or ``(A,)``."""


Callback = Callable[[Progress], object]
"""Called after each attempt; a true result stops the run."""


@contextmanager
def progress_bar(wanted: bool, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number done; a bar appears on stderr once the work has taken two seconds."""
    if not wanted:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(file=sys.stderr), transient=True)
    task = bar.add_task(label, total=total)
    begun = time.monotonic()
    shown = False

    def advance(done: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - begun > PATIENCE:
            bar.start()
            shown = True
        if shown:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
