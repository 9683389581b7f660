"""TLR: a damped Newton step on the learning rate itself."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import BadValue, check_choice, check_count, check_limit, check_positive, check_range
from flowopt.core.parts import Controller, full
from flowopt.core.roles import EpochLength, LearningRate, Range
from flowopt.core.state import Memory, Number, Point, Step, Verdict


@dataclass(frozen=True)
class NewtonStep(Controller):
    """Trainable learning rate: h <- h min(max_factor, 1 + gamma <u, g_new> / <u, g_old - g_new>), for any system.

    TLR (Newton-based trainable learning rate), eq 8, u = (q_old - q_new)/h being the direction of the step. With K > 1
    the rule runs once every K steps on sums over them: with u_new = (q_cached - q)/h over the last K steps and u_old
    over the K before, the factor is 1 + gamma <u_old, u_new> / (<u_old, u_old> - <u_old, u_new>). K = int(p N), at
    least 1, where p and `batches_per_epoch` N are given instead.

    The text says p = 0.20 and gamma = 0.33 (the defaults here); the authors' code and figure 1 say gamma = 0.20 and
    p = 1/3. `schedule`: ``"in_step"`` uses a new rate at once, as eq 8; ``"lagged"`` follows the authors' code, which
    looks after steps K+1, 2K+1, ... and so first changes the rate after step 3K+1. `guard` keeps the rate where the
    denominator or the factor is not positive (the latter happens over momentum, where <u, g_old> can be negative); the
    authors' code has no such guard and its rate can become negative: ``guard=False``.

    Raises BadValue for lr, gamma, max_factor or K out of range, or p without batches_per_epoch.
    """

    lr: Annotated[Number, LearningRate(1e-6, 10.0)]
    gamma: Annotated[Number, Range(0.05, 1.0)] = 0.33
    K: Annotated[int | None, Range(1, 1000)] = None
    p: Annotated[float, Range(0.01, 1.0)] = 0.20
    batches_per_epoch: Annotated[int | None, EpochLength(unless="K")] = None
    schedule: Literal["in_step", "lagged"] = "in_step"
    guard: bool = True
    max_factor: Annotated[Number, Range(1.1, 100.0)] = 100.0

    name = "newton_step"
    source = "TLR eq 8"

    def __post_init__(self) -> None:
        check_positive(self.name, lr=self.lr, gamma=self.gamma)
        check_limit(self.name, max_factor=self.max_factor)
        check_range(self.name, "p", self.p, 0.0, 1.0, open_low=True)
        check_choice(self.name, "schedule", self.schedule, ("in_step", "lagged"))
        check_choice(self.name, "guard", self.guard, (True, False))
        if self.K is not None and self.batches_per_epoch is not None:
            raise BadValue(f"{self.name}: give K, or p with batches_per_epoch, not both")
        for name in ("K", "batches_per_epoch"):
            if getattr(self, name) is not None:
                check_count(self.name, name, getattr(self, name), 1)

    @property
    def period(self) -> int:
        """K, the steps between two changes of the rate; 1 where neither K nor an epoch is given."""
        if self.K is not None:
            return self.K
        return 1 if self.batches_per_epoch is None else max(1, int(self.p * self.batches_per_epoch))

    @property
    def at_once(self) -> bool:
        """Whether it compares the gradients before and after each step, and not directions over several steps."""
        return self.period == 1 and self.schedule == "in_step"

    @property
    def looks_back(self) -> bool:
        return self.at_once  # over longer periods it has a memory of its own

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        h = full(point.evaluation.value, self.lr)
        if self.at_once:
            return h, {}
        q = point.state["q"]
        # the blocks counted so far: the in-step schedule opens its first block at the start, the lagged one after K+1
        opened = 0.0 if self.schedule == "in_step" else -1.0
        count = 0.0 if self.schedule == "in_step" else -1.0
        blank = torch.zeros_like(h)
        return h, {"cached": q, "u": torch.zeros_like(q), "count": blank + count, "blocks": blank + opened}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        h = step.h
        if self.at_once:
            u = -step.moved  # times h: the factor cancels
            old, new = rows.dot(u, step.before.evaluation.grad), rows.dot(u, step.after.evaluation.grad)
            return Verdict(h * self.factor(old, new), memory)

        q = step.after.state["q"]
        count = memory["count"] + 1
        over = count == self.period
        u = (memory["cached"] - q) / rows.column(h)
        across = rows.dot(memory["u"], u)
        changes = over & (memory["blocks"] >= 1)
        factor = torch.where(changes, self.factor(rows.dot(memory["u"], memory["u"]), across), 1.0)
        mask = over.unsqueeze(-1)
        memory = {
            "cached": torch.where(mask, q, memory["cached"]),
            "u": torch.where(mask, u, memory["u"]),
            "count": torch.where(over, 0.0, count),
            "blocks": torch.where(over, memory["blocks"] + 1, memory["blocks"]),
        }
        return Verdict(h * factor, memory)

    def factor(self, before: Tensor, after: Tensor) -> Tensor:
        """What to multiply the rate by: eq 8 from the slopes ``(B,)`` along the last direction, before and after it."""
        return self._factor(after, before - after)

    def _factor(self, numerator: Tensor, denominator: Tensor) -> Tensor:
        factor = (1 + self.gamma * numerator / denominator).clamp(max=self.max_factor)
        return torch.where((denominator > 0) & (factor > 0), factor, 1.0) if self.guard else factor
