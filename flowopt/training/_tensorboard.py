"""Training in TensorBoard, or in anything else that takes numbers the way its SummaryWriter does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

from flowopt.core.errors import BadValue
from flowopt.networks._last_step import LastStep
from flowopt.training._history import NOT_METRICS, History, Step

PER_STEP = ("loss", "h", "error", "energy")


class Writer(Protocol):
    """What is asked of a SummaryWriter."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Note a number."""

    def flush(self) -> object:
        """Put what was noted on disk."""


class TensorBoardLogger:
    """Hands the numbers of each step and epoch to a SummaryWriter, against the number of steps.

        fit(model, data, optimizer, epochs=30, callbacks=[TensorBoardLogger(SummaryWriter("runs/elra"))])

    or, in a loop of your own, ``logger.step(optimizer.last_step)`` after a FlowOptimizer's step, which then waits for
    the device. Numbers that an optimizer does not have are left out; a loss that is not finite is not.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __call__(self, history: History) -> None:
        """Write the last epoch of a `fit` and its steps."""
        epoch = history.epochs[-1]
        total, steps = len(history.steps), history.of_epoch(int(epoch["epoch"]))
        for number, step in enumerate(steps, start=total - len(steps) + 1):
            self._write_step(step, number)
        for name, value in epoch.items():
            if name not in ("epoch", "steps") and not math.isnan(value):
                kind = "epoch" if name in NOT_METRICS else "metric"
                self.writer.add_scalar(f"{kind}/{name}", value, total)
        self.writer.flush()

    def step(self, last: LastStep) -> None:
        """Write the last step of a FlowOptimizer."""
        self._write_step(last, last.steps)

    def _write_step(self, step: Step | LastStep, number: int) -> None:
        for name in PER_STEP:
            value = getattr(step, name)
            if name == "loss" or not math.isnan(value):
                self.writer.add_scalar(f"step/{name}", value, number)


def summary_writer(folder: str | Path) -> Any:
    """TensorBoard's SummaryWriter for event files in a folder. Raises BadValue where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadValue("events for TensorBoard need it: pip install tensorboard") from error
    return SummaryWriter(str(folder))
