"""What training leaves behind: a record of every step and of every epoch, as a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from flowopt.core._dataframe import dataframe
from flowopt.core._display import html_table
from flowopt.core._files import plain, replacing, write_json
from flowopt.core.errors import check_choice

if TYPE_CHECKING:
    import pandas

METRICS_CSV, METRICS_JSON, STEPS_CSV = "metrics.csv", "metrics.json", "steps.csv"
NOT_METRICS = frozenset(
    "epoch steps train_loss test_loss h error energy accepted retraces nonfinite seconds".split()  # noqa: SIM905
)
"""What the record of every epoch has, whatever the task; all else are metrics of the test samples."""

LOSS_COLUMNS = [("train_loss", "train loss", 11, ".4g"), ("test_loss", "test loss", 10, ".4g")]
MEAN_COLUMNS = [
    ("h", "h", 9, ".3g"),
    ("error", "error", 9, ".3g"),
    ("energy", "energy", 10, ".3g"),
    ("accepted", "accepted", 9, ".3g"),
    ("seconds", "s", 6, ".1f"),
]
"""What the terminal shows of an epoch, the metric between them: name, head, width and format."""


class Step(NamedTuple):
    """One step of the optimizer. What an optimizer does not tell is NaN."""

    epoch: int
    """From 1."""
    size: int
    """Samples in its batch."""
    loss: float
    """Mean over the batch at the parameters before the step, which are the trial that the step judges."""
    h: float
    """Step size, or learning rate of the first group."""
    error: float
    """Maximum norm of the estimated local error."""
    energy: float
    accepted: bool
    held: bool
    """Nothing moved: loss or gradient not finite, or the flow came to its end."""
    finite: bool
    """Whether loss and gradient were."""


Epoch = dict[str, float]
"""The numbers of an epoch by name: those of NOT_METRICS, and the metrics of the task on the test samples."""


def summary(steps: Sequence[Step], test: dict[str, float], so_far: int, seconds: float) -> Epoch:
    """The record of an epoch: means over its steps (of what is finite), counts, and the numbers of the test samples.

    `so_far`: steps since the beginning. `seconds`: wall time since then.
    """
    losses = [(step.loss, step.size) for step in steps if math.isfinite(step.loss)]
    means = {name: _mean(getattr(step, name) for step in steps) for name in ("h", "error", "energy", "accepted")}
    return {
        "epoch": steps[-1].epoch,
        "steps": so_far,
        "train_loss": math.fsum(loss * n for loss, n in losses) / sum(n for _, n in losses) if losses else math.nan,
        "test_loss": test["loss"],
        **{name: value for name, value in test.items() if name != "loss"},
        **means,
        "retraces": sum(not step.accepted and not step.held for step in steps),
        "nonfinite": sum(not step.finite for step in steps),
        "seconds": seconds,
    }


@dataclass
class History:
    """The records of a training run."""

    settings: dict[str, Any] = field(default_factory=dict)
    """What the run is determined by: data, model, optimizer, their options, seed, batch size."""
    epochs: list[Epoch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    """Those of an epoch that was interrupted included."""
    status: str = "running"
    """running, complete, interrupted, stopped (by a callback), diverged or ended (the optimizer moves no more)."""
    message: str = ""
    """The status in a sentence."""

    def __repr__(self) -> str:
        known = [str(self.settings[name]) for name in ("model", "optimizer", "data") if name in self.settings]
        last = self.epochs[-1] if self.epochs else {}
        shown = [f"{name} {last[name]:.4g}" for name in ("train_loss", "test_loss", *self.metrics) if name in last]
        done = f"{len(self.epochs)} epoch(s), {len(self.steps)} step(s), {self.status}"
        return f"<History: {', '.join([*known, done, *shown])}>"

    def _repr_html_(self) -> str:
        names = ["epoch", "train_loss", "test_loss", *self.metrics, "h", "seconds"]
        lines = [[epoch.get(name) for name in names] for epoch in self.epochs]
        return html_table(f"{self.status}: {self.message}" if self.message else self.status, names, lines)

    def to_dataframe(self, of: str = "epochs") -> pandas.DataFrame:
        """One line an epoch, as in metrics.csv, or of="steps" one line a step, as in steps.csv.

        Raises BadValue where pandas is not installed.
        """
        check_choice("to_dataframe", "of", of, ("epochs", "steps"))
        steps = {name: [getattr(step, name) for step in self.steps] for name in Step._fields}
        return dataframe(self.epochs if of == "epochs" else steps)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics of the task."""
        return [name for name in self.epochs[0] if name not in NOT_METRICS] if self.epochs else []

    def of_epoch(self, epoch: int) -> list[Step]:
        """The steps of an epoch, counted from 1."""
        return [step for step in self.steps if step.epoch == epoch]

    def begin(self) -> None:
        """The run goes on, or anew."""
        self.status, self.message = "running", ""

    def end(self, status: str, message: str) -> None:
        """Note how the run ended; the first reason stays."""
        if self.status == "running":
            self.status, self.message = status, message

    def header(self) -> str:
        """Heads of the columns of `line`."""
        return "epoch" + "".join(f"{head:>{width}}" for _, head, width, _ in self._columns())

    def line(self, epoch: Epoch) -> str:
        """An epoch for the terminal: no wider than 80 characters."""
        return f"{epoch['epoch']:>5}" + "".join(
            f"{epoch[name]:>{width}{how}}" if math.isfinite(epoch[name]) else f"{'-':>{width}}"
            for name, _, width, how in self._columns()
        )

    def table(self) -> str:
        """All epochs as text."""
        return "\n".join([self.header(), *map(self.line, self.epochs)])

    def _columns(self) -> list[tuple[str, str, int, str]]:
        metrics = [(name, name, max(10, len(name) + 1), ".4g") for name in self.metrics[:1]]
        return [*LOSS_COLUMNS, *metrics, *MEAN_COLUMNS]

    def to_dict(self) -> dict[str, Any]:
        """Settings, how it ended, and the epochs: plain data."""
        return {name: plain(getattr(self, name)) for name in ("settings", "status", "message", "epochs")}

    def save(self, folder: Path) -> list[Path]:
        """Write metrics.csv, metrics.json and steps.csv; a number that is not finite is an empty cell, or null."""
        _write_csv(folder / METRICS_CSV, self.epochs[0] if self.epochs else (), (e.values() for e in self.epochs))
        _write_csv(folder / STEPS_CSV, Step._fields, self.steps)
        write_json(folder / METRICS_JSON, self.to_dict())
        return [folder / name for name in (METRICS_CSV, METRICS_JSON, STEPS_CSV)]

    def state_dict(self) -> dict[str, Any]:
        """All but the settings, as plain data and a tensor: for a checkpoint."""
        steps = torch.tensor(self.steps, dtype=torch.float64).reshape(-1, len(Step._fields))
        return {"epochs": self.epochs, "steps": steps, "status": self.status, "message": self.message}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state dict."""
        self.epochs, self.status, self.message = list(state["epochs"]), state["status"], state["message"]
        self.steps = [
            Step(int(epoch), int(size), loss, h, error, energy, bool(accepted), bool(held), bool(finite))
            for epoch, size, loss, h, error, energy, accepted, held, finite in state["steps"].tolist()
        ]


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _write_csv(path: Path, heads: Iterable[str], rows: Iterable[Iterable[float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([int(v) if isinstance(v, bool) else v if math.isfinite(v) else "" for v in row] for row in rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())
