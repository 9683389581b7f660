"""Whether a user's function takes batches ``(..., D)`` or one point ``(D,)``: found out once, by trying.

A batch of a few points near the starts is compared with those points alone. That finds a
function of one point (`x[0]**2 + x[1]**2`, `x @ A @ x`) and one that mixes its rows (`x - x.mean(0)`), whatever the
number of starts. What the function says of one point alone is what it means.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowopt.core.errors import BadValue
from flowopt.core.noise import uniform
from flowopt.core.rows import lay_out
from flowopt.problems._derivatives import derivative, gradient, product, reached
from flowopt.problems._guard import Call, Guarded
from flowopt.problems._operations import Operations

FEW = 32
"""Up to this many rows, a function whose batches round differently from single points is called row by row."""

BATCH = 19
"""Rows of the batch that is tried (one more where D is 19): the points in turn, so that each stands in many places of
a processor's vectors; torch rounds some functions (pow) by the place."""

NEARBY = 2.0**-6
"""Distance of the points beside a start, times max(1, |x|) in each coordinate."""

ROUNDING = 1000
"""Roundings, relative to the largest number, within which a batch and its rows are the same."""

REMEDY = "a function of (..., D) in torch operations, without if or item(), takes them all in one call"


@dataclass(eq=False)
class Batching:
    """How a problem's functions take a batch of points."""

    how: str
    """In words."""
    row_by_row: bool = False
    """Whether a batch costs a call a row."""
    tried: dict[str, int] = field(default_factory=dict)
    """Calls of a user's functions that finding out took, by kind: every row counts them among its evaluations."""


TRUSTED = Batching("takes batches")
"""Of functions that are known to map ``(..., D)`` to ``(...)`` row by row, and to leave their argument alone."""


@dataclass(frozen=True)
class Function:
    """A user's function of batches: by one call where it can, else row by row."""

    alone: Call
    together: Call | None

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        flat = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
        if self.together is not None and len(flat) != 1:
            found = self.together(flat)
        else:
            found = tuple(map(torch.stack, zip(*map(self.alone, flat.unbind()), strict=True)))
        return found if x.ndim == 2 else tuple(part.reshape(x.shape[:-1] + part.shape[1:]) for part in found)


Found = tuple[Tensor, ...]
"""Value, gradient, and perhaps a Hessian-vector product."""


class Trial(NamedTuple):
    """How a call did on the batch that was tried."""

    agrees: bool
    exactly: bool
    reason: str
    """Why it does not agree."""


class Learner:
    """A user's function, of values or of values and gradients, that is tried when it is first called."""

    def __init__(
        self, name: str, fun: Callable[[Tensor], Any], starts: Tensor, batching: Batching, *, outputs: int
    ) -> None:
        self.name, self.fun, self.outputs, self._starts, self._batching = name, fun, outputs, starts, batching
        self._known: Function | None = None
        self._calls = 0
        self._twice, self._followed = outputs == 1, outputs == 2
        self._hidden = False
        self._operations = Operations()

    def value(self, x: Tensor) -> Tensor:
        """Values of ``(..., D)``."""
        return self._function("value")(x)[0]

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values and gradients of ``(n, D)``."""
        function = self._function("value", "gradient")
        if self.outputs == 2:
            value, grad = function(x.detach())
            return value, grad
        _, value, grad = gradient(lambda x: function(x)[0], x)
        return value, grad.clone()  # a user's own backward may return a buffer

    def _function(self, *kinds: str) -> Function:
        """The function of batches; its first call tries it, at the charge of these kinds of evaluation."""
        if self._known is None:
            self._known, how = self._learn()
            for kind in kinds:
                self._batching.tried[kind] = self._batching.tried.get(kind, 0) + self._calls
            self._batching.how, self._batching.row_by_row = how, self._known.together is None
            if self._batching.row_by_row and len(self._starts) > FEW:
                warnings.warn(f"{self.name} is {how}: {len(self._starts)} calls a step; {REMEDY}", stacklevel=2)
        return self._known

    def _learn(self) -> tuple[Function, str]:
        """The function of batches, and in words how it is called."""
        few = len(self._starts) <= FEW
        points = _points(self._starts)
        with self._operations:
            alone, of_one_point, first = self._alone(points[0])
        known = [(points[0], first), *self._measurable(alone, points[1:])]
        self._check_gradient(alone, first, *known[-1])
        known = [(x, found) for x, found in known if all(bool(torch.isfinite(part).all()) for part in found)]
        if len({found[0].item() for _, found in known}) < 2:
            return Function(alone, None), "called row by row (near the start it is constant or not finite)"
        batches = self._guarded(self._counted)
        trial = self._try(batches, known, asking=False)
        if trial.agrees:
            return _chosen(alone, batches, "takes batches", trial, few)
        if not of_one_point:
            return Function(alone, None), f"called row by row ({trial.reason})"
        mapped = self._guarded(torch.func.vmap(self._one_point))
        trial = self._try(mapped, known, asking=True)
        if trial.agrees:
            return _chosen(alone, mapped, "a function of one point, batched by torch.func.vmap", trial, few)
        return Function(alone, None), f"a function of one point, called row by row ({trial.reason})"

    def _alone(self, start: Tensor) -> tuple[Call, bool, Found]:
        """The function at one point ``(D,)``, whether it takes such a point as it is, and what it says at the start."""
        guarded = self._guarded(self._watched)

        def as_batch_of_one(x: Tensor) -> Found:
            return tuple(part[0] for part in guarded(x.unsqueeze(0)))

        try:
            return guarded, True, self._measured(guarded, start)
        except Exception as refused:  # whatever a function of batches does with one point
            try:
                return as_batch_of_one, False, self._measured(as_batch_of_one, start)
            except Exception as error:
                refused.add_note(f"(and with a batch of one point, (1, D): {type(error).__name__}: {error})")
                raise refused from None

    def _measurable(self, alone: Call, points: Sequence[Tensor]) -> Iterator[tuple[Tensor, Found]]:
        """The points, with what was measured there, at which the function does not raise."""
        for x in points:
            try:
                yield x, self._measured(alone, x)
            except Exception:  # beside the start the function may have no value; it need not: only starts must
                continue

    def _measured(self, call: Call, x: Tensor) -> Found:
        """All that is compared: value, gradient and, of a function that has one, a Hessian-vector product."""
        if self.outputs == 2:
            return call(x.detach())
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (value,) = call(leaf)
            self._followed = self._followed or reached(value, leaf)
            if self._twice:
                try:
                    grad = derivative(value, leaf, twice=True)
                    along = torch.linspace(0.5, 1.0, x.shape[-1]).to(x)
                    return value.detach(), grad.detach(), product(leaf, grad, along)
                except RuntimeError:  # a user's own backward that cannot be differentiated
                    self._twice = False
            return value.detach(), derivative(value, leaf)

    def _try(self, call: Call, known: Sequence[tuple[Tensor, Found]], asking: bool) -> Trial:
        dim = len(known[0][0])
        order = torch.arange(BATCH + (dim == BATCH)) % len(known)
        try:
            with warnings.catch_warnings(), Operations() as operations:
                warnings.simplefilter("ignore")  # what torch says of shapes is of our batch, not of the user's points
                got = self._measured(call, lay_out(torch.stack([x for x, _ in known])[order]))
        except Exception as error:  # whatever a function of one point does with a batch
            return Trial(False, False, f"with a batch, {type(error).__name__}: {str(error).partition('. ')[0][:100]}")
        if operations.asking and not asking:
            return Trial(False, False, "by an if or item(), one row of a batch could decide for another")
        wanted = [torch.stack(part)[order] for part in zip(*(found for _, found in known), strict=False)]
        pairs = list(zip(got, wanted, strict=False))
        if all(torch.equal(a, b) for a, b in pairs):
            return Trial(True, operations.steady and self._operations.steady, "")
        near = all(bool(((a - b).abs() <= ROUNDING * torch.finfo(b.dtype).eps * b.abs().max()).all()) for a, b in pairs)
        return Trial(near, False, "a batch gives other numbers than its rows alone")

    def _check_gradient(self, alone: Call, first: Found, x: Tensor, found: Found) -> None:
        """Raise BadValue for a gradient that autograd cannot know; warn of one that lacks what `item()` took out."""
        if not self._followed and found[0].item() != first[0].item():
            raise BadValue(
                f"{self.name}: autograd cannot see through the objective; write it in torch operations, or wrap a "
                "NumPy function with flowopt.from_numpy"
            )
        if not (self._hidden or self._operations.takes_numbers) or self.outputs == 2:
            return
        along = torch.linspace(0.5, 1.0, len(x)).to(x)
        slope, expected = _slope(alone, x, along, found[0]), float(found[1] @ along)
        rounding = 100 * torch.finfo(x.dtype).eps ** (2 / 3) * max(1.0, abs(float(found[0])))
        if not abs(slope - expected) > 0.01 * abs(slope) + rounding:  # NaN: there is nothing to compare with
            return
        if self._hidden:
            raise BadValue(
                f"{self.name} computes its value from an argument that it overwrites where autograd does not see it "
                "(x.data); write x = 0.5 * x or x.mul_(0.5), without .data"
            )
        warnings.warn(
            f"{self.name}: the slope by autograd near the start is {expected:.6g}, by a finite difference {slope:.6g}. "
            "Autograd does not follow numbers that are taken out of a tensor (item(), float(), math.sin, "
            "torch.tensor): write all of it in torch operations, or wrap a NumPy function with flowopt.from_numpy",
            stacklevel=2,
        )

    def _guarded(self, fun: Callable[[Tensor], Any]) -> Guarded:
        return Guarded(self.name, fun, self.outputs)

    def _counted(self, x: Tensor) -> Any:
        self._calls += 1
        return self.fun(x)

    def _watched(self, x: Tensor) -> Any:
        """The function, watched until it is known for writes that autograd does not see."""
        if self._known is not None:
            return self.fun(x)
        before, version = x.detach().clone(), x._version
        returned = self._counted(x)
        self._hidden = self._hidden or (x.requires_grad and x._version == version and not torch.equal(x, before))
        return returned

    def _one_point(self, x: Tensor) -> Any:
        """The function as vmap calls it, its one number in the shape ()."""
        returned = self._counted(x)
        if self.outputs == 1:
            return returned.reshape(())
        return returned[0].reshape(()), returned[1]


def _chosen(alone: Call, together: Call, how: str, trial: Trial, few: bool) -> tuple[Function, str]:
    if trial.exactly:
        return Function(alone, together), how
    if few:
        return Function(alone, None), f"{how}, called row by row (batches round differently from single points)"
    return Function(alone, together), f"{how} (they round differently from single points)"


def _slope(alone: Call, x: Tensor, along: Tensor, value: Tensor) -> float:
    """The slope at x by a finite difference; NaN beside points without a value, or if f changes from call to call."""
    step = torch.finfo(x.dtype).eps ** (1 / 3) * max(1.0, float(x.abs().max()))
    try:
        again, ahead, behind = (alone(x + way * step * along)[0] for way in (0.0, 1.0, -1.0))
    except Exception:  # beside the start the function may have no value
        return torch.nan
    return float((ahead - behind) / (2 * step)) if torch.equal(again.detach(), value) else torch.nan


def _points(starts: Tensor) -> list[Tensor]:
    """A start, and two points in general position beside starts, on either side."""
    last = len(starts) - 1
    chosen = starts[[0, last // 2, last]]
    place = torch.arange(3)
    away = 0.5 + 0.5 * uniform(place, place, starts.shape[1]).to(starts)
    away[0], away[2] = 0.0, -away[2]
    return list((chosen + NEARBY * chosen.abs().clamp(min=1.0) * away).unbind())
