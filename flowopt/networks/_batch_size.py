"""A batch size that grows when progress drowns in noise, for any optimizer, by gradient accumulation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from flowopt.core.errors import BadValue, check_choice, check_count

T = TypeVar("T")


class Period(NamedTuple):
    """A control period that has ended, and what the controller made of it."""

    mean: float
    """Mean f of the losses of its batches."""
    deviation: float
    """Their standard deviation sigma (that of a population: 0 for one batch)."""
    batches: int
    """Batches with a finite loss."""
    nonfinite: int
    """Batches whose loss was NaN or infinite; mean and deviation are those of the others."""
    reasons: tuple[str, ...]
    """Which conditions held: "rose", "noisy", "stalled"; none: m stays."""
    m: int
    """Micro-batches a batch from here on."""


class BatchSizeController:
    """Dynamic batch size bs = m bs_min, by gradients accumulated over m micro-batches of bs_min samples (ELRA 3.3).

        batch_size = BatchSizeController(m_max=len(loader))  # loader: micro-batches, with drop_last=True
        for epoch in range(epochs):
            for batch in batch_size.group(loader):
                for x, y in batch:
                    loss = loss_fn(model(x), y)  # the mean over the micro-batch
                    (batch_size.loss_factor * loss).backward()
                    batch_size.record(loss)
                optimizer.step()
                optimizer.zero_grad()
            batch_size.end_period()

    At the end s of a control period (an epoch, or whatever the caller makes one, between two batches) m grows if

    - "rose": f_s > f_{s-1} + sigma_s/10,
    - "noisy": sigma_s/f_s > 1/2, f_s being positive, or
    - "stalled": f_{s-3} is below all of f_{s-2}, f_{s-1} and f_s;

    every third time it shrinks instead. f_s and sigma_s are mean and standard deviation of the batches' losses in the
    period; the paper does not say whether of batches or of micro-batches, but only the deviation of batches falls as m
    grows, so that the rule can come to rest. A loop that cannot group its micro-batches asks `record` when to step.

    Rounding: m grows to 1.5 m and shrinks to m/1.5, rounded to the nearest whole number, halves up. So a growth always
    changes m, a shrinkage undoes a growth exactly (two up and one down are one up, at any m) and does not go below 1.
    `m_max` bounds m, best at the micro-batches of an epoch: the paper has no bound, but the last batch of an epoch is
    left out where it is too small, and a batch larger than an epoch would never be complete.

    `gradient_decay` scales the gradient by m_0/m (ELRA 3.4) through `loss_factor`; nobody's `p.grad` is touched.
    Losses that are NaN or infinite are left out of the statistics, and `end_period` warns of them.

    Raises BadValue for m0 or m_max that are not whole numbers with 1 <= m0 <= m_max.
    """

    def __init__(self, *, m_max: int, m0: int = 1, gradient_decay: bool = False) -> None:
        check_count("BatchSizeController", "m0", m0, 1)
        check_count("BatchSizeController", "m_max", m_max, m0)
        check_choice("BatchSizeController", "gradient_decay", gradient_decay, (True, False))
        self.m_max, self.m0, self.gradient_decay = m_max, m0, gradient_decay
        self.m = m0
        """Micro-batches a batch."""
        self._changes = 0
        self._means: list[float] = []  # of the last three periods
        self._start_period()

    def _start_period(self) -> None:
        self._losses: list[float] = []  # of the micro-batches of the batch under way
        self._batches, self._nonfinite, self._mean, self._squares = 0, 0, 0.0, 0.0

    @property
    def loss_factor(self) -> float:
        """What to multiply a micro-batch's mean loss by before `backward`: 1/m, times m_0/m with gradient decay."""
        return self.m0 / self.m**2 if self.gradient_decay else 1 / self.m

    def group(self, micro_batches: Iterable[T]) -> Iterator[list[T]]:
        """Batches: lists of m micro-batches (of data, or of indices); what is left over at the end is left out.

        Raises BadValue for a DataLoader or BatchSampler whose last micro-batch can be smaller (drop_last=False).
        """
        sampler = getattr(micro_batches, "batch_sampler", micro_batches)  # None: ready-made micro-batches
        if getattr(sampler, "drop_last", True) is False:
            raise BadValue(
                "BatchSizeController: its last micro-batch may be smaller; build the loader with drop_last=True"
            )
        batch = []
        for micro_batch in micro_batches:
            batch.append(micro_batch)
            if len(batch) >= self.m:
                yield batch
                batch = []

    def record(self, loss: float | Tensor) -> bool:
        """Note the mean loss of a micro-batch; whether the batch is now complete, and a step due."""
        self._losses.append(loss.item() if isinstance(loss, Tensor) else float(loss))
        if len(self._losses) < self.m:
            return False
        self._note(math.fsum(self._losses) / self.m if all(map(math.isfinite, self._losses)) else math.nan)
        self._losses = []
        return True

    def _note(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._nonfinite += 1
            return
        self._batches += 1  # Welford's way to mean and variance
        off = loss - self._mean
        self._mean += off / self._batches
        self._squares += off * (loss - self._mean)

    def end_period(self) -> Period:
        """Choose m for the next period. A batch that is not complete is dropped: zero its gradients.

        Raises BadValue, and leaves all as it is, where no batch was complete or no loss was finite.
        """
        if not self._batches:
            raise BadValue(
                f"BatchSizeController: a control period needs a complete batch ({self.m} micro-batches) with a finite "
                f"loss; this one had {self._nonfinite} batches with a NaN or infinite loss and "
                f"{len(self._losses)} micro-batches of a further one"
            )
        if self._nonfinite:
            warnings.warn(
                f"BatchSizeController: the loss of {self._nonfinite} of {self._nonfinite + self._batches} batches was "
                "NaN or infinite; the batch size is chosen by the others",
                RuntimeWarning,
                stacklevel=2,
            )
        mean, deviation = self._mean, math.sqrt(self._squares / self._batches)
        reasons = self._reasons(mean, deviation)
        if reasons:
            self._changes += 1
            self.m = (2 * self.m + 1) // 3 if self._changes % 3 == 0 else min((3 * self.m + 1) // 2, self.m_max)
        period = Period(mean, deviation, self._batches, self._nonfinite, reasons, self.m)
        self._means = [*self._means, mean][-3:]
        self._start_period()
        return period

    def _reasons(self, mean: float, deviation: float) -> tuple[str, ...]:
        holds = {
            "rose": bool(self._means) and mean > self._means[-1] + deviation / 10,
            "noisy": mean > 0 and deviation / mean > 0.5,
            "stalled": len(self._means) == 3 and self._means[0] < min(*self._means[1:], mean),
        }
        return tuple(reason for reason, held in holds.items() if held)

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers, as plain numbers and lists of them; at any moment, also within a batch."""
        names = ("m", "_changes", "_means", "_losses", "_batches", "_nonfinite", "_mean", "_squares")
        return {name.removeprefix("_"): _copied(getattr(self, name)) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on, bit for bit, from a state dict. Raises BadValue for one of another kind, or with m above m_max."""
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise BadValue(f"BatchSizeController: a state dict has {', '.join(mine)}, not {', '.join(state)}")
        if not 1 <= state["m"] <= self.m_max:
            raise BadValue(f"BatchSizeController: the state dict has m = {state['m']}, but m_max is {self.m_max}")
        for name, value in state.items():
            setattr(self, name if name == "m" else f"_{name}", _copied(value))


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
