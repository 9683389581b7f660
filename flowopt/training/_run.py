"""A training run under way: the steps of an epoch, its end, and all that a checkpoint holds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from flowopt.core._files import replacing
from flowopt.core.errors import BadValue
from flowopt.networks._batch_size import BatchSizeController
from flowopt.networks._batches import batches
from flowopt.networks._last_step import LastStep
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.evaluation import accepted, evaluate
from flowopt.networks.tasks import Task
from flowopt.training import checkpoint
from flowopt.training._history import History, Step, summary
from flowopt.training.datasets.dataset import Dataset

MODEL = "model.pt"


def _read(epoch: int, size: int, loss: Tensor, lr: Any, last: LastStep | None) -> Step:
    """What a step tells, when its numbers have come from the device."""
    value = float(loss)
    if last is None:
        return Step(epoch, size, value, float(lr), math.nan, math.nan, True, False, math.isfinite(value))
    finite = math.isfinite(value) and math.isfinite(last.grad_norm)
    return Step(epoch, size, value, last.h, last.error, last.energy, last.accepted, last.held, finite)


@dataclass
class Run:
    """The parts of a run; see `flowopt.training._fit.fit`."""

    model: nn.Module
    data: Dataset
    optimizer: Optimizer
    batch_size: int
    seed: int
    task: Task
    scheduler: LRScheduler | ReduceLROnPlateau | None
    growth: BatchSizeController | None
    history: History
    _unread: list[Callable[[], Step]] = field(default_factory=list)
    _last: LastStep | None = None

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self._inputs, self._targets = self.data.train_inputs.to(self.device), self.data.train_targets.to(self.device)
        self._test = self.data.test_inputs.to(self.device), self.data.test_targets.to(self.device)
        self._flow = self.optimizer if isinstance(self.optimizer, FlowOptimizer) else None
        self._begun = time.monotonic()

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.history.epochs) + 1

    @property
    def seconds(self) -> float:
        """Wall time since the beginning, that of earlier sessions included."""
        return time.monotonic() - self._begun

    def train(self, asked: Callable[[], bool], bar: Callable[[int], None]) -> bool:
        """The steps of the epoch that are still to do; whether they were all done before somebody asked to stop."""
        self.model.train()
        done = len(self.history.of_epoch(self.epoch))
        try:
            for group in islice(self._groups(), done, None):
                if asked():
                    break
                self._step(group)
                done += 1
                bar(done)
        finally:
            self.history.steps += [read() for read in self._unread]
            self._unread.clear()
        return not asked()

    def steps_to_do(self) -> int:
        """Steps of an epoch."""
        size = self.batch_size * (1 if self.growth is None else self.growth.m)
        return math.ceil(len(self._inputs) / size)

    def _groups(self) -> Iterable[list[Tensor]]:
        """The batches of the epoch, each a list of micro-batches: one, unless the batch size grows."""
        parts = batches(
            len(self._inputs), self.batch_size, seed=self.seed, epoch=self.epoch - 1, drop_last=self.growth is not None
        )
        return ([part] for part in parts) if self.growth is None else self.growth.group(parts)

    def _step(self, group: list[Tensor]) -> None:
        lr = self.optimizer.param_groups[0].get("lr", math.nan)
        lr = lr.clone() if isinstance(lr, Tensor) else lr
        closure: Any = self._closure([part.to(self.device) for part in group])  # torch's stubs ask for a float
        loss: Any = self.optimizer.step(closure)
        self._last = self._flow.last_step if self._flow is not None else None
        self._unread.append(partial(_read, self.epoch, sum(map(len, group)), loss, lr, self._last))
        if self.growth is not None:
            for _ in group:  # each micro-batch by the mean of them all: the controller looks at nothing else
                self.growth.record(loss)

    def _closure(self, group: list[Tensor]) -> Callable[[], Tensor]:
        factor = 1.0 if self.growth is None else self.growth.loss_factor

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            losses = []
            for part in group:
                loss = self.task.loss(self.model(self._inputs[part]), self._targets[part])
                self._backward(loss * factor)
                losses.append(loss.detach())
            return torch.stack(losses).mean()

        return closure

    def _backward(self, loss: Tensor) -> None:
        """Add the gradient of the loss to that of the parameters, so that it can be differentiated if need be."""
        if self._flow is None or not self._flow.method.needs_hvp:
            loss.backward()  # type: ignore[no-untyped-call]
            return
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        grads = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        for parameter, grad in zip(parameters, grads, strict=True):  # backward(create_graph=True) would warn of a leak
            parameter.grad = grad if parameter.grad is None else parameter.grad + grad

    def finish_epoch(self) -> None:
        """Evaluate, record the epoch, and see whether the run can go on."""
        history, steps = self.history, self.history.of_epoch(self.epoch)
        with accepted(self.optimizer):
            test = evaluate(self.model, *self._test, self.task)
        history.epochs.append(summary(steps, test, len(history.steps), self.seconds))
        self._judge(steps)
        if history.status != "running":
            return
        if self.growth is not None:
            self.growth.end_period()
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(history.epochs[-1]["train_loss"])
        elif self.scheduler is not None:
            self.scheduler.step()

    def _judge(self, steps: list[Step]) -> None:
        """End the run where a whole epoch was of no use, and say why."""
        last, epoch, history = self._last, steps[-1].epoch, self.history
        if not any(step.finite for step in steps):
            first = next(place for place, step in enumerate(history.steps, start=1) if not step.finite)
            where = f" (of the gradient first in {last.bad_parameter})" if last and last.bad_parameter else ""
            history.end(
                "diverged",
                f"diverged: no loss and gradient of epoch {epoch} was finite{where}; the first that was not is that of "
                f"step {first}. Try a smaller step size or learning rate, and look at the curve of h before that step",
            )
        elif all(step.held for step in steps):
            why = f" ({last.ended})" if last and last.ended else ""
            history.end("ended", f"the flow came to its end{why}: no step of epoch {epoch} moved anything")

    def save(self, folder: Path) -> None:
        """Write the records, the weights as they were evaluated and, last, the checkpoint."""
        self.history.save(folder)
        with replacing(folder / MODEL) as file, accepted(self.optimizer):
            torch.save(self.model.state_dict(), file)
        checkpoint.write(folder, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on."""
        return {
            "settings": self.history.settings,
            "history": self.history.state_dict(),
            "seconds": self.seconds,
            "random": checkpoint.random_state(self.device),
            **{name: part.state_dict() for name, part in self._stateful()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state dict. Raises BadValue for that of another model or optimizer."""
        for name, part in self._stateful():
            try:
                part.load_state_dict(state[name])
            except (RuntimeError, ValueError, KeyError) as error:
                raise BadValue(f"the checkpoint is that of another {name}: {error}") from error
        self.history.load_state_dict(state["history"])
        self._begun = time.monotonic() - state["seconds"]
        checkpoint.set_random_state(state["random"], self.device)

    def _stateful(self) -> list[tuple[str, Any]]:
        named = [(name, getattr(self, name)) for name in ("model", "optimizer", "scheduler", "growth")]
        return [(name, part) for name, part in named if part is not None]
