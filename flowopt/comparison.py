"""Every named method beside torch.optim, SciPy and the flow itself, on one problem from one start."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.baselines import as_baseline
from flowopt.errors import BadValue, FlowoptError, UnknownName, check_count, check_range
from flowopt.kernel import Method
from flowopt.ode_solvers import Interrupted
from flowopt.papers import METHODS, method
from flowopt.parts import System
from flowopt.problems.own import as_problem
from flowopt.problems.problem import Problem
from flowopt.progress import progress_bar
from flowopt.reference_solution import reference
from flowopt.solve import as_starts, minimize
from flowopt.state import Status
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]

BASELINES: dict[str, dict[str, Any]] = {
    "torch:SGD": {"lr": 1e-3, "momentum": 0.9, "nesterov": True},
    "torch:Adam": {"lr": 0.05},
    "torch:RMSprop": {"lr": 0.01},
    "torch:Rprop": {"lr": 0.01},
    "scipy:BFGS": {},
    "scipy:CG": {},
    "scipy:Nelder-Mead": {},
}
"""What the methods are compared with, and the parameters that differ from the libraries' defaults."""

LOWER_BOUNDS = ("f_star", "F0", "v0")
"""Parameters that hold a lower bound of f: a comparison fills in the problem's known minimum."""

HORIZON = 20.0
"""Time up to which a method is held against the reference solution of its flow, in the flow's units."""

SOLVER = "scipy:LSODA"
"""The reference solver; it turns to a stiff scheme where the flow is stiff, as gradient flow in a narrow valley is."""

RTOL, ATOL = 1e-8, 1e-10
RECORDS = 401
MOST_EVALUATIONS = 20_000
"""The reference solver stops here: near a minimum some flows (ECDSep's) become all rounding error, and it crawls."""

FLOW = "reference flow"


@dataclass(frozen=True)
class Deviation:
    """How far a run is from the reference solution of its own flow, at its own accepted points."""

    t: Array
    """Times of the accepted points, ``(K,)``, in the flow's units."""
    distance: Array
    """``|x(t_k) - x_ref(t_k)|``, ``(K,)``."""
    note: str = ""
    """Why there is no more of it."""

    @property
    def largest(self) -> float:
        """Maximum over the accepted points; NaN where there are none."""
        return float(self.distance.max()) if len(self.distance) else np.nan

    @property
    def median(self) -> float:
        """Median over the accepted points; NaN where there are none."""
        return float(np.median(self.distance)) if len(self.distance) else np.nan


@dataclass(frozen=True)
class Contestant:
    """One line of a comparison."""

    name: str
    source: str
    """Paper or library."""
    parameters: dict[str, Any]
    """Those that differ from the defaults."""
    run: Trajectory | None
    """None for a method that could not be run; the note says why."""
    deviation: Deviation | None = None
    """None for what has no flow of its own."""
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: print it for the table, `figure()` for the picture, `to_dict()` for the numbers."""

    problem: Problem
    contestants: tuple[Contestant, ...]
    max_steps: int
    interrupted: bool = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table: one dictionary a contestant."""
        return [self._row(one) for one in self.contestants]

    @property
    def runs(self) -> dict[str, Trajectory]:
        """The trajectories by name, of those that ran."""
        return {one.name: one.run for one in self.contestants if one.run is not None}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trajectories."""
        return {
            "problem": self.problem.name,
            "minimum": self.problem.minimum,
            "max_steps": self.max_steps,
            "interrupted": self.interrupted,
            "rows": self.rows,
        }

    def figure(self, path: str | Path | None = None) -> Figure:
        """Best f against evaluations, distance from the own flow against time, and for D = 2 every path."""
        from flowopt import plots  # matplotlib is imported only when a picture is wanted

        deviations = {
            one.name: (one.deviation.t, one.deviation.distance)
            for one in self.contestants
            if one.deviation is not None and len(one.deviation.t)
        }
        return plots.comparison(self.runs, deviations, self.problem, reference=FLOW, path=path)

    def __str__(self) -> str:
        from flowopt.tables import comparison_table, render

        return render(comparison_table(self.rows, self.problem, self.max_steps))

    def _row(self, one: Contestant) -> dict[str, Any]:
        row: dict[str, Any] = {"name": one.name, "source": one.source, "parameters": one.parameters}
        if one.run is not None:
            final = torch.as_tensor(one.run.final_x[0])
            row |= {
                "final_f": float(one.run.final_f[0]),
                "best_f": float(one.run.best_f[0]),
                "distance": float(self.problem.distance(final)),
                "final_x": final.tolist(),
                "evaluations": {kind: int(count[0]) for kind, count in one.run.evaluations.items()},
                "cost": int(one.run.cost[-1, 0]),
                "steps": one.run.about.get("solver_steps", one.run.steps.tolist())[0],
                "status": Status(int(one.run.status[0])).words,
                "message": one.run.message[0],
            }
        if one.deviation is not None:
            row["deviation"] = {
                "max": one.deviation.largest,
                "median": one.deviation.median,
                "points": len(one.deviation.t),
                "until": float(one.deviation.t[-1]) if len(one.deviation.t) else None,
            }
        notes = [one.note, one.deviation.note if one.deviation is not None else ""]
        return row | {"note": "; ".join(filter(None, notes))}


def compare(
    problem: str | Problem | Callable[[Tensor], Tensor],
    x0: Any = None,
    max_steps: int = 1000,
    methods: Sequence[str] | None = None,
    baselines: Mapping[str, Mapping[str, Any]] | None = None,
    horizon: float = HORIZON,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Run the named methods, baselines and the reference gradient flow from one start, and hold each against its flow.

    problem     as for `minimize`.
    x0          the start ``(D,)``; the problem's standard start if None.
    methods     names from `flowopt.list_methods()`; all of them if None. They run with their default parameters,
                except that a lower bound of f (f_star, F0, v0) is set to the problem's minimum where that is known.
    baselines   parameters by name, ``{"torch:Adam": {"lr": 0.05}}``; `BASELINES` if None.
    horizon     time, in a flow's own units, up to which a method is held against the reference solution of its flow.

    A method that cannot be run on the problem is listed with the reason. Ctrl-C ends the comparison with what was done.
    Raises BadValue or UnknownName for bad input.
    """
    problem = as_problem(problem)
    start = as_starts(problem, x0, None)
    if start.shape[0] != 1:
        raise BadValue(f"compare takes one start (D,), not {start.shape[0]}")
    check_range("compare", "horizon", horizon, 0.0, open_low=True)
    check_count("compare", "max_steps", max_steps, 0)
    entries = _entries(problem, list(METHODS) if methods is None else methods)
    built = {name: method(name, **parameters) for name, parameters in entries.items()}
    others = BASELINES if baselines is None else baselines
    for name, parameters in others.items():
        if as_baseline(name, dict(parameters)) is None:
            raise UnknownName("baseline", name, BASELINES)
    flows = _distinct([GradientFlow(), *(chosen.system for chosen in built.values())])
    contest = _Contest(problem, start[0], max_steps, horizon, seed)
    total = (len(built) + len(others) + len(flows)) * max_steps
    with progress_bar(progress, f"compare on {problem.name}", total) as bar:
        contest.bar = bar
        try:
            for name, chosen in built.items():
                contest.enter(name, METHODS[name].paper, entries[name], chosen)
            for name, parameters in others.items():
                contest.enter(name, "torch.optim" if name.startswith("torch:") else "SciPy", dict(parameters), name)
            contest.hold_against(flows)
        except KeyboardInterrupt:
            return Comparison(problem, tuple(contest.entered), max_steps, interrupted=True)
    return Comparison(problem, tuple(contest.entered), max_steps)


def _entries(problem: Problem, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each method its parameters that differ from the defaults."""
    entries = {}
    for name in names:
        method(name)  # an unknown name is an error before any work is done
        known = [] if problem.minimum is None else [p for p in METHODS[name].defaults if p in LOWER_BOUNDS]
        entries[name] = {parameter: problem.minimum for parameter in known if problem.minimum != 0}
    return entries


def _distinct(systems: Sequence[System]) -> list[System]:
    found: list[System] = []
    for system in systems:
        if system not in found:
            found.append(system)
    return found


class _Contest:
    """A comparison in the making."""

    def __init__(self, problem: Problem, start: Tensor, max_steps: int, horizon: float, seed: int) -> None:
        self.problem, self.start, self.max_steps, self.horizon, self.seed = problem, start, max_steps, horizon, seed
        self.entered: list[Contestant] = []
        self.bar: Callable[[int], None] = lambda done: None
        self._systems: dict[str, System] = {}

    def enter(self, name: str, source: str, parameters: dict[str, Any], chosen: Method | str) -> None:
        """Run one contestant; KeyboardInterrupt if it was interrupted, after what it did was noted."""
        begun = len(self.entered) * self.max_steps
        overrides = parameters if isinstance(chosen, str) else {}
        try:
            run = minimize(
                self.problem,
                self.start,
                chosen,
                self.max_steps,
                seed=self.seed,
                callback=lambda seen: self.bar(begun + seen.attempt),
                **overrides,
            )
        except FlowoptError as error:
            self.entered.append(Contestant(name, source, parameters, None, note=f"not run: {error}"))
            return
        self.entered.append(Contestant(name, source, parameters, run))
        if isinstance(chosen, Method):
            self._systems[name] = chosen.system
        if run.status[0] == Status.INTERRUPTED:
            raise KeyboardInterrupt

    def hold_against(self, flows: Sequence[System]) -> None:
        """Solve each flow once, up to the last time that is wanted of it, and measure the distances from it.

        The first one is gradient flow; it is listed beside the methods, up to the horizon.
        """
        runs = len(self.entered)
        for number, flow in enumerate(flows):
            self.bar((runs + number) * self.max_steps)
            own = [i for i in range(runs) if self._systems.get(self.entered[i].name) == flow]
            times = np.concatenate([self._points(self.entered[i])[0] for i in own] or [np.empty(0)])
            until = self.horizon if number == 0 else times.max(initial=0.0)
            solution = self._solve(flow, until) if until else "no accepted point within the horizon"
            for i in own:
                self.entered[i] = replace(self.entered[i], deviation=self._deviation(self.entered[i], solution))
            if number == 0:
                run, note = (None, f"not run: {solution}") if isinstance(solution, str) else (solution, "")
        self.entered.append(Contestant(FLOW, SOLVER, {}, run, note=note))

    def _points(self, one: Contestant) -> tuple[Array, Array]:
        """Times ``(K,)`` and positions ``(K, D)`` of the accepted points within the horizon."""
        assert one.run is not None
        run = one.run.row(0)
        t, x = run.t[:, 0], run.x[:, 0]
        keep = run.accepted[:, 0] & (t > 0) & (t <= self.horizon) & np.isfinite(x).all(-1)
        return t[keep], x[keep]

    def _solve(self, system: System, until: float) -> Trajectory | str:
        """The reference solution, up to where the solver came; or why there is none."""
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

    def _deviation(self, one: Contestant, flow: Trajectory | str) -> Deviation:
        t, x = self._points(one)
        nothing = np.empty(0)
        if isinstance(flow, str):
            return Deviation(nothing, nothing, f"no reference solution: {flow}")
        assert flow.dense is not None and one.run is not None
        distance = np.linalg.norm(x - flow.dense(np.minimum(t, flow.t[-1, 0]))[:, 0], axis=-1)
        known = (t <= flow.t[-1, 0]) & np.isfinite(distance)
        note = ""
        if not known.all():
            note = f"the reference solution ends at t = {flow.t[-1, 0]:.4g}: {flow.message[0]}"
        elif one.run.t[-1, 0] > self.horizon:
            note = f"held against its flow up to the horizon t = {self.horizon:g} only"
        return Deviation(t[known], distance[known], note)


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
