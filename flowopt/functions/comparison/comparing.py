"""Run the candidates, tune them, and hold each against its own flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from flowopt.core._progress import progress_bar
from flowopt.core._rounding import nudged
from flowopt.core.errors import BadValue, FlowoptError, check_count, check_range
from flowopt.core.parts import System
from flowopt.core.roles import Seed
from flowopt.functions._minimize import as_starts
from flowopt.functions.comparison.candidates import Candidate, OfFlow
from flowopt.functions.comparison.choosing import DEFAULTS, choose
from flowopt.functions.comparison.own_flow import ATOL, HORIZON, MOST_EVALUATIONS, RTOL, SOLVER, OwnFlows
from flowopt.functions.comparison.result import FLOW, Comparison, Entrant
from flowopt.functions.comparison.trial import Trial, height, reached, spend
from flowopt.functions.comparison.tuning import Tuning, first_settled, tune
from flowopt.problems._own import as_problem
from flowopt.problems._problem import Problem
from flowopt.systems.gradient_flow import GradientFlow

REPLAYS = 2
"""Runs from nudged starts beside each run that the table shows."""


def compare(
    problem: str | Problem | Callable[[Tensor], Tensor],
    x0: Any = None,
    methods: Sequence[Any] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    max_evaluations: int = 1000,
    tune: int = 16,
    horizon: float = HORIZON,
    seed: Annotated[int, Seed()] = 0,
    progress: bool = False,
) -> Comparison:
    """Compare methods on one problem from one start, with the same budget and the same chance to be tuned.

    problem     as for `minimize`.
    x0          the start ``(D,)``; the problem's standard start if None.
    methods     names, formulas (see `flowopt.method`), ``"torch:Adam"``, ``"scipy:BFGS"``, Methods, optimizer classes,
                or functions that build a Method or, from parameters, an optimizer, also as ``"module:function"``.
                If None, a dozen: `flowopt.functions.comparison.DEFAULTS`.
    parameters  by name, ``{"adam": {"lr": 0.05}}``. Otherwise everyone has its defaults, except that a lower bound of
                f is the problem's minimum where that is known, and that an optimizer of torch runs with the parameters
                of its twin here (`flowopt.functions.comparison.TWINS`).
    max_evaluations   what each run may spend: a value with its gradient, a value alone and a Hessian-vector product
                count one each, differences of values count each value.
    tune        values of its step size that each has, on a logarithmic grid over the range that is declared with the
                parameter, as the rows of one run; 0: none. The best one came lowest within the budget (of those that
                went all but 1e-10 of the way to the minimum: did so first); runs that diverged come last.
    horizon     time, in a flow's own units, up to which a method is held against the reference solution of its flow.

    Each run that is shown is made again from two starts nudged by one ulp. Where these end more than 10 times as high,
    or as low, the table says so (~): that result is a matter of rounding, another processor has another.

    All of it is one start: what holds for it need not hold for another. A method that cannot be run on the problem is
    listed with the reason. Ctrl-C ends the comparison with what was done.

    >>> found = compare("rosenbrock", methods=["gd", "torch:SGD"], max_evaluations=100, tune=4)
    >>> [round(row["default"]["best_f"], 6) for row in found.rows[:2]]  # twins
    [3.805191, 3.805191]

    Raises BadValue or UnknownName for bad input, before any work is done.
    """
    problem = as_problem(problem, x0)
    start = as_starts(problem, x0, None)
    if start.shape[0] != 1:
        raise BadValue(f"compare takes one start (D,), not {start.shape[0]}")
    if methods is not None and (isinstance(methods, str) or not methods):
        raise BadValue(f"compare: methods is a list of what to compare, not {methods!r}")
    check_range("compare", "horizon", horizon, 0.0, open_low=True)
    check_count("compare", "max_evaluations", max_evaluations, 1)
    check_count("compare", "tune", tune, 0)
    chosen = choose(DEFAULTS if methods is None else methods, parameters or {}, problem.minimum)
    for one in chosen:
        one.check(start)
    flows = _distinct([GradientFlow(), *(system for one in chosen if (system := one.system()) is not None)])
    work = _Comparing(problem, start[0], max_evaluations, tune, seed)
    total = 3 * len(chosen) + len(flows)
    interrupted = False
    with progress_bar(progress, f"compare on {problem.name}", total) as work.bar:
        try:
            for one in chosen:
                work.enter(one)
            work.hold_against(flows, OwnFlows(problem, start[0], horizon))
        except KeyboardInterrupt:
            interrupted = True
    return Comparison(problem, tuple(work.entered), max_evaluations, tune, interrupted)


def _distinct(systems: Sequence[System]) -> list[System]:
    found: list[System] = []
    for system in systems:
        if system not in found:
            found.append(system)
    return found


class _Comparing:
    """A comparison in the making."""

    def __init__(self, problem: Problem, start: Tensor, budget: int, values: int, seed: int) -> None:
        self.problem, self.start, self.budget, self.values, self.seed = problem, start, budget, values, seed
        self.entered: list[Entrant] = []
        self.bar: Callable[[int], None] = lambda done: None
        self._done = 0

    def enter(self, one: Candidate) -> None:
        """Run one candidate as it is set, tune it, and run it tuned; KeyboardInterrupt if it was interrupted."""
        try:
            default = self._run(one, self.seed)
        except KeyboardInterrupt as stop:
            self.entered.extend(Entrant(one, trial) for trial in stop.args)
            raise
        except FlowoptError as error:
            self.entered.append(Entrant(one, None, note=f"not run: {error}"))
            self._advance(3)
            return
        self.entered.append(Entrant(one, default))
        self._advance()
        if self.values and one.step is not None:
            tuning = tune(one, self.problem, self.start, self.values, self.budget, self.seed)
            self._advance()
            self.entered[-1] = replace(self.entered[-1], tuning=tuning, tuned=self._tuned(one, default, tuning))

    def hold_against(self, flows: Sequence[System], own: OwnFlows) -> None:
        """Measure how far each is from its flow; gradient flow, the first, is listed beside the methods."""
        runs = [one for one in self.entered if one.default is not None]
        for number, flow in enumerate(flows):
            of_it = [one for one in runs if one.candidate.system() == flow]
            solution = own.solution(flow, [one.default.run for one in of_it if one.default], whole=number == 0)
            for one in of_it:
                assert one.default is not None
                at = self.entered.index(one)
                self.entered[at] = replace(one, deviation=own.deviation(one.default.run, solution))
            if number == 0:
                listed = OfFlow(FLOW, flow, {"solver": SOLVER, "rtol": RTOL, "atol": ATOL})
                trial = None if isinstance(solution, str) else Trial(solution, listed.settings, 2 * MOST_EVALUATIONS)
                note = f"not run: {solution}" if isinstance(solution, str) else ""
            self._advance()
        self.entered.append(Entrant(listed, trial, note=note))

    def _run(self, one: Candidate, seed: int, **changes: Any) -> Trial:
        """The run and its replays; KeyboardInterrupt, with what was done as its argument, if it was interrupted."""
        trial = partial(Trial, parameters=one.settings | changes, budget=self.budget)
        try:
            run = spend(one.call(**changes), self.problem, self.start, self.budget, seed)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(*map(trial, stop.args)) from None
        try:
            again = [
                spend(one.call(**changes), self.problem, nudged(self.start, replay), self.budget, seed)
                for replay in range(REPLAYS)
            ]
        except KeyboardInterrupt:
            raise KeyboardInterrupt(trial(run)) from None
        return trial(run, nudged=tuple(float(reached(other, self.budget)[0]) for other in again))

    def _tuned(self, one: Candidate, default: Trial, tuning: Tuning) -> Trial:
        """The run with the best step size; of its row alone, which is the same bit for bit."""
        f0 = float(default.run.f[0, 0])
        low = self.problem.minimum
        if low is None:
            low = min(f0, default.best_f, float(tuning.best_f.min()))
        as_set = (height(np.array(default.best_f), low, f0), first_settled(default.run, low)[0])
        if tuning.best < 0 or as_set <= (height(tuning.best_f[tuning.best], low, f0), tuning.first[tuning.best]):
            return default
        return self._run(one, self.seed + tuning.best, **{tuning.parameter: float(tuning.values[tuning.best])})

    def _advance(self, steps: int = 1) -> None:
        self._done += steps
        self.bar(self._done)
