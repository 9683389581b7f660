"""One run of one candidate, and what it reached within its budget of evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core._progress import Progress
from flowopt.core.state import Status
from flowopt.functions._minimize import minimize
from flowopt.functions._trajectory import Trajectory
from flowopt.functions.comparison.candidates import GTOL
from flowopt.problems._problem import Problem

Array = NDArray[Any]

NEAR = 10.0
"""A run does nearly as well as another where its f - minimum is at most this many times the other's."""
SETTLED = 1e-10
"""Runs that went all but this share of the way from the start down to the minimum count as equally low: what is left
to them is a matter of the test that stopped them."""

GONE = (Status.DIVERGED, Status.NONFINITE)


@dataclass(frozen=True)
class Trial:
    """A run of one row with the parameters that it had."""

    run: Trajectory
    """May go beyond the budget by the last step, where a step takes several evaluations."""
    parameters: dict[str, Any]
    budget: int
    nudged: tuple[float, ...] = ()
    """Lowest f of the same run from starts nudged by one ulp: where these differ much, rounding decides the result."""

    def decided_by_rounding(self, low: float, f0: float) -> bool:
        """Whether a start nudged by one ulp ends more than `NEAR` times as high above the minimum, or as low."""
        above = height(np.array([self.best_f, *self.nudged]), low, f0)
        return bool(above.max() > NEAR * above.min())

    @property
    def counted(self) -> Array:
        """The records within the budget, ``(T,)`` bool; the start always is."""
        within = self.run.cost[:, 0] <= self.budget
        within[0] = True
        return np.asarray(within)

    @property
    def last(self) -> int:
        """The last record within the budget."""
        return int(np.flatnonzero(self.counted)[-1])

    @property
    def best_f(self) -> float:
        """Lowest f that was reached, infinity where the run diverged."""
        return float(reached(self.run, self.budget)[0])

    @property
    def spent(self) -> bool:
        """Whether it is the budget that ended the run."""
        return bool(self.run.cost[-1, 0] >= self.budget or self.run.status[0] == Status.MAX_STEPS)

    @property
    def words(self) -> str:
        """How it ended."""
        status = Status(int(self.run.status[0]))
        ours = status in (Status.INTERRUPTED, Status.MAX_STEPS) and self.spent
        return "budget spent" if ours else status.words

    @property
    def message(self) -> str:
        """Why it ended, in a sentence."""
        if self.words == "budget spent":
            return f"its {self.budget} evaluations were spent after {self.run.attempt[self.last]} steps"
        return str(self.run.message[0])

    def facts(self, problem: Problem) -> dict[str, Any]:
        """What a table or a file says of it."""
        x = self.run.x[self.last, 0]
        return {
            "parameters": self.parameters,
            "final_f": float(self.run.f[self.last, 0]),
            "best_f": self.best_f,
            "nudged_best_f": list(self.nudged),
            "distance": float(problem.distance(_tensor(x))),
            "final_x": x.tolist(),
            "evaluations": {kind: int(count[0]) for kind, count in self.run.evaluations.items()},
            "cost": int(self.run.cost[self.last, 0]),
            "steps": int(self.run.attempt[self.last]),
            "status": self.words,
            "message": self.message,
        }


def height(best_f: Array, low: float, f0: float) -> Array:
    """How far above the minimum runs stayed, but at least the share `SETTLED` of the start's height."""
    return np.maximum(best_f - low, SETTLED * (f0 - low))


def reached(run: Trajectory, budget: int) -> Array:
    """The lowest f that each row reached within the budget, ``(B,)``; infinity for rows that diverged in it."""
    within = (run.cost <= budget) & np.isfinite(run.f)
    within[0] = np.isfinite(run.f[0])
    lowest = np.where(within, run.f, np.inf).min(0)
    diverged = np.isin(run.status, GONE) & (run.cost[-1] <= budget)
    return np.where(diverged, np.inf, lowest)


def spend(given: tuple[Any, dict[str, Any]], problem: Problem, starts: Tensor, budget: int, seed: int) -> Trajectory:
    """Run a method with overrides from starts ``(B, D)`` until each row has spent its budget or stopped by itself.

    Raises KeyboardInterrupt, with the run so far as its argument, where the user interrupted it.
    """
    ours = False

    def see(seen: Progress) -> bool:
        nonlocal ours
        ours = bool((np.asarray(seen.cost) >= budget).all())
        return ours

    method, overrides = given
    run = minimize(problem, starts, method, max(0, budget - 1), gtol=GTOL, seed=seed, callback=see, **overrides)
    if not ours and (run.status == Status.INTERRUPTED).any():
        raise KeyboardInterrupt(run)
    return run


def _tensor(x: Array) -> Tensor:
    import torch

    return torch.as_tensor(np.asarray(x, dtype=np.float64))
