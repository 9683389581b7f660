"""How far methods are from the flows that they follow: reference solutions, solved once for each flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core.errors import FlowoptError
from flowopt.core.parts import System
from flowopt.core.state import Status
from flowopt.functions._ode_solvers import Interrupted
from flowopt.functions._reference import reference
from flowopt.functions._trajectory import Trajectory
from flowopt.problems._problem import Problem

Array = NDArray[Any]

HORIZON = 20.0
"""Time up to which a method is held against the reference solution of its flow, in the flow's units."""

SOLVER = "scipy:LSODA"
"""The reference solver; it turns to a stiff scheme where the flow is stiff, as gradient flow in a narrow valley is."""

RTOL, ATOL = 1e-8, 1e-10
RECORDS = 401
MOST_EVALUATIONS = 20_000
"""The reference solver stops here: near a minimum some flows (ECDSep's) become all rounding error, and it crawls."""


@dataclass(frozen=True)
class Deviation:
    """How far a run is from the reference solution of its own flow, at its own accepted points."""

    t: Array
    """Times of the accepted points, ``(K,)``, in the flow's units."""
    distance: Array
    """``|x(t_k) - x_ref(t_k)|``, ``(K,)``."""
    note: str = ""
    """Why the curve ends where it does."""

    @property
    def largest(self) -> float:
        """Maximum over the accepted points; NaN where there are none."""
        return float(self.distance.max()) if len(self.distance) else np.nan

    @property
    def median(self) -> float:
        """Median over the accepted points; NaN where there are none."""
        return float(np.median(self.distance)) if len(self.distance) else np.nan

    def facts(self) -> dict[str, Any]:
        """What a table or a file says of it."""
        until = float(self.t[-1]) if len(self.t) else None
        return {"max": self.largest, "median": self.median, "points": len(self.t), "until": until}


@dataclass(frozen=True)
class OwnFlows:
    """Reference solutions from one start, up to a horizon in each flow's own units of time."""

    problem: Problem
    start: Tensor
    horizon: float

    def solution(self, system: System, runs: Sequence[Trajectory], whole: bool = False) -> Trajectory | str:
        """The flow up to the last time that is wanted of it by these runs (`whole`: up to the horizon).

        Where the solver gave up it ends there; a string says why there is none.
        """
        times = np.concatenate([self.points(run)[0] for run in runs] or [np.empty(0)])
        until = self.horizon if whole else times.max(initial=0.0)
        return self._solve(system, until) if until else "no accepted point within the horizon"

    def points(self, run: Trajectory) -> tuple[Array, Array]:
        """Times ``(K,)`` and positions ``(K, D)`` of the accepted points within the horizon."""
        row = run.row(0)
        t, x = row.t[:, 0], row.x[:, 0]
        keep = row.accepted[:, 0] & (t > 0) & (t <= self.horizon) & np.isfinite(x).all(-1)
        return t[keep], x[keep]

    def deviation(self, run: Trajectory, flow: Trajectory | str) -> Deviation:
        """How far the accepted points of a run are from its flow."""
        t, x = self.points(run)
        nothing = np.empty(0)
        if isinstance(flow, str):
            return Deviation(nothing, nothing, f"no reference solution: {flow}")
        assert flow.dense is not None
        distance = np.linalg.norm(x - flow.dense(np.minimum(t, flow.t[-1, 0]))[:, 0], axis=-1)
        known = (t <= flow.t[-1, 0]) & np.isfinite(distance)
        note = ""
        if not known.all():
            note = f"the reference solution ends at t = {flow.t[-1, 0]:.4g}: {flow.message[0]}"
        elif run.t[-1, 0] > self.horizon:
            note = f"held against its flow up to the horizon t = {self.horizon:g} only"
        return Deviation(t[known], distance[known], note)

    def _solve(self, system: System, until: float) -> Trajectory | str:
        calls = itertools.count(1)
        problem = replace(
            self.problem,
            value=_limited(self.problem.value, calls),
            value_and_gradient=_limited(self.problem.value_and_gradient, calls),
        )
        times = np.geomspace(1e-6 * until, until, RECORDS)  # the first moments of a stiff flow are the fastest
        try:
            run = reference(
                problem, self.start, until, system=system, solver=SOLVER, t_eval=times, dense=True, rtol=RTOL, atol=ATOL
            )
        except FlowoptError as error:
            return str(error)
        if run.status[0] != Status.INTERRUPTED:
            return run
        if next(calls) <= MOST_EVALUATIONS:
            raise KeyboardInterrupt
        words = f"it took {SOLVER} {MOST_EVALUATIONS} evaluations to come to t = {run.t[-1, 0]:.4g}"
        return replace(run, status=np.array([Status.SOLVER_FAILED], dtype=run.status.dtype), message=[words])


Function = TypeVar("Function", bound=Callable[[Tensor], Any] | None)


def _limited(function: Function, calls: Iterator[int]) -> Function:
    """The function, leaving the reference solver through Interrupted at the call that is one too many."""
    if function is None:
        return function
    known = function

    def call(x: Tensor) -> Any:
        if next(calls) == MOST_EVALUATIONS:
            raise Interrupted
        return known(x)

    return cast(Function, call)
