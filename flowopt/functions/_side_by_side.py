"""Runs that were made one row after the other, laid side by side as one Trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flowopt.core.state import Status
from flowopt.functions._columns import COLUMNS, Array, Columns
from flowopt.functions._recorder import Recorder
from flowopt.functions._trajectory import Trajectory, lowest


@dataclass(frozen=True)
class Solo:
    """One row's run; its n records are those of attempts 0 to n - 1."""

    columns: Columns[Array]
    """Each ``(n,)``, x ``(n, D)``: see Trajectory."""
    status: Status
    message: str
    counts: dict[str, int]
    """Evaluations: gradient, value, hvp."""


def side_by_side(solos: Sequence[Solo], recorder: Recorder, about: dict[str, Any]) -> Trajectory:
    """The Trajectory of all rows, of which the recorder keeps what it wants."""
    lengths = torch.tensor([len(solo.columns.f) for solo in solos])
    best = [int(lowest(solo.columns.f)) for solo in solos]
    lowest_f = np.stack([solo.columns.f[i] for solo, i in zip(solos, best, strict=True)])
    lowest_x = np.stack([solo.columns.x[i] for solo, i in zip(solos, best, strict=True)])
    bests = {"best_f": torch.from_numpy(lowest_f), "best_x": torch.from_numpy(lowest_x)}
    for attempt in range(int(lengths.max())):
        running = [solos[i] for i in recorder.active.tolist()]
        ends = lengths[recorder.active] == attempt + 1
        wanted = recorder.wants(attempt)
        if not wanted and not bool(ends.any()):
            continue
        rows = {name: np.stack([getattr(solo.columns, name)[attempt] for solo in running]) for name in COLUMNS}
        entry = Columns(**{name: torch.from_numpy(column) for name, column in rows.items()})
        if wanted:
            recorder.add(attempt, entry)
        if bool(ends.any()):
            counts = {kind: torch.tensor([solo.counts[kind] for solo in running]) for kind in running[0].counts}
            counts |= {name: found[recorder.active] for name, found in bests.items()}
            ended = [solo for solo, end in zip(running, ends.tolist(), strict=True) if end]
            code = torch.tensor([int(solo.status) for solo in ended], dtype=torch.int8)
            recorder.retire(ends, attempt, code, [solo.message for solo in ended], entry, counts)
    return recorder.trajectory(about)
