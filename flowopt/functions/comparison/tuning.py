"""The same chance for everybody: one step size, the same number of values, the same budget for each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowopt.functions._trajectory import Trajectory
from flowopt.functions.comparison.candidates import Candidate
from flowopt.functions.comparison.trial import NEAR, SETTLED, height, reached, spend
from flowopt.problems._problem import Problem

Array = NDArray[Any]


@dataclass(frozen=True)
class Tuning:
    """What each value of the step size came to."""

    parameter: str
    values: Array
    """``(N,)``, on a logarithmic grid over the range that is declared with the parameter."""
    best_f: Array
    """Lowest f within the budget, ``(N,)``; infinity where the run diverged."""
    first: Array
    """Evaluations until f was as low as `SETTLED` asks, ``(N,)``; infinity where it never was."""
    evaluations: int
    """Paid for all the values together."""
    best: int
    """The value that came lowest, and of those that are equally low the fastest; -1 where every run diverged."""

    @property
    def at_end(self) -> bool:
        """Whether the best value is the first or the last, so that one outside the range might do better."""
        return self.best in (0, len(self.values) - 1) and len(self.values) > 1

    def near(self, low: float, f0: float) -> Array:
        """The values that do nearly as well as the best, ``(N,)`` bool."""
        above = height(self.best_f, low, f0)
        return np.asarray(np.isfinite(above) & (above <= NEAR * above.min()))

    def start_is_near(self, low: float, f0: float) -> bool:
        """Whether the start is as near as `near` asks: then all values are that were any good, and it says nothing."""
        best = height(self.best_f, low, f0).min()
        return bool(np.isfinite(best) and f0 - low <= NEAR * best)

    def share(self, low: float, f0: float) -> float:
        """The share of the values that do nearly as well as the best."""
        return float(self.near(low, f0).mean())

    def decades(self, low: float, f0: float) -> float:
        """The same as a width: that share of the range, in powers of ten."""
        return self.share(low, f0) * math.log10(self.values[-1] / self.values[0])

    def facts(self, low: float, f0: float) -> dict[str, Any]:
        """What a table or a file says of it."""
        return {
            "parameter": self.parameter,
            "values": self.values.tolist(),
            "best_f": self.best_f.tolist(),
            "best": None if self.best < 0 else float(self.values[self.best]),
            "at_end": self.at_end,
            "start_is_near": self.start_is_near(low, f0),
            "share": self.share(low, f0),
            "decades": self.decades(low, f0),
            "evaluations": self.evaluations,
        }


def tune(candidate: Candidate, problem: Problem, start: Tensor, values: int, budget: int, seed: int) -> Tuning:
    """Run a candidate with so many values of its step size, as the rows of one run.

    Row i draws its random numbers from seed + i.
    """
    assert candidate.step is not None
    parameter, size = candidate.step
    grid = size.grid(values)
    starts = start.expand(values, -1)
    run = spend(candidate.rows(grid, starts), problem, starts, budget, seed)
    best_f = reached(run, budget)
    f0 = float(run.f[0, 0])
    low = float(best_f.min(initial=f0)) if problem.minimum is None else problem.minimum
    first = first_settled(run, low)
    best = int(np.lexsort((first, height(best_f, low, f0)))[0]) if np.isfinite(best_f).any() else -1
    spent = int(np.minimum(run.cost[-1], budget).sum())
    return Tuning(parameter, np.array(grid), best_f, first, spent, best)


def first_settled(run: Trajectory, low: float) -> Array:
    """Evaluations until each row was as low as `SETTLED` asks, ``(B,)``; infinity where it never was."""
    settled = run.f <= low + SETTLED * (run.f[0] - low)
    return np.asarray(np.where(settled, run.cost, np.inf).min(0))
