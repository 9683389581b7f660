"""What the driver of functions remembers of a run beside its last point: the best, the start, and whether it hops."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.state import Evaluation, Point

WATCHED = 20
"""Steps at the end of a run of which the least promise is kept."""
SHARE = 0.01
"""Of the fall that its gradients promise a run that does not hop makes at least this share."""


class Best(NamedTuple):
    """The point with the lowest f, of each row."""

    f: Tensor
    x: Tensor
    """``(B, D)``."""

    def or_here(self, point: Point) -> Best:
        """The better of it and a point."""
        value, q = point.evaluation.value, point.state["q"]
        better = value < self.f
        if rows.every(better):
            return Best(value, q)
        return Best(torch.fmin(value, self.f), torch.where(better.unsqueeze(-1), q, self.x))


class Course(NamedTuple):
    """How f went, in rows.

    A run of a system whose f can only fall along its flow **hops** where f does not fall although it moves downhill:
    ``f(q + s) = f(q) + <grad f(q), s> + (the curvature's part)``, and a step beyond the stability limit spends on
    curvature all that the slope ``-<grad f, s>`` promises, so that the row goes to and fro at its step limit. That is
    no matter of rounding, as it would be whether single steps raise f. Methods that raise f on their way (bb, elra)
    come to lower values all the same.
    """

    start_f: Tensor
    start_slope: Tensor
    earlier_f: Tensor
    """The best when the last quarter of the run began."""
    promise: Tensor
    """The least ``-<grad f, s>`` of an accepted step among the last WATCHED ones; infinite before there is one."""
    moved: Tensor
    """The largest coordinate of these steps."""

    @classmethod
    def begin(cls, measured: Evaluation) -> Self:
        """At the start."""
        f = measured.value
        return cls(f, rows.slope(measured), f, torch.full_like(f, torch.inf), torch.zeros_like(f))

    def watch(self, before: Point, after: Point, taken: Tensor) -> Self:
        """Note what the step promised; of rows that did not take it, nothing."""
        step = after.state["q"] - before.state["q"]
        promise = torch.where(taken, -rows.dot(before.evaluation.grad, step), torch.inf)
        size = rows.max_norm({"q": step})
        return self._replace(promise=torch.minimum(self.promise, promise), moved=torch.maximum(self.moved, size))

    def hops(self, q: Tensor, best_f: Tensor, quarter: int) -> Tensor:
        """Whether rows at q ``(B, D)`` hopped through the last quarter of the run, so many steps, ``(B,)`` bool."""
        promised = quarter * self.promise
        rounding = torch.finfo(q.dtype).eps ** 0.5 * rows.max_norm({"q": q})
        known = (self.promise > 0) & (self.promise < torch.inf) & (self.moved > rounding)
        hops: Tensor = known & (self.earlier_f - best_f <= SHARE * promised)
        return hops
