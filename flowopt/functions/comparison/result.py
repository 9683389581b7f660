"""What a comparison found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowopt.core._display import html_table
from flowopt.core.drawers import drawer
from flowopt.functions._trajectory import Trajectory
from flowopt.functions.comparison.candidates import Candidate, OfFlow
from flowopt.functions.comparison.own_flow import Deviation
from flowopt.functions.comparison.trial import Trial
from flowopt.functions.comparison.tuning import Tuning
from flowopt.problems._problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOW = "reference flow"
"""The name of gradient flow itself in a comparison."""
ABYSS = 1e10
"""Where f falls below its start by this many times the start's size, it seems to fall without end."""


@dataclass(frozen=True)
class Entrant:
    """One line of a comparison."""

    candidate: Candidate
    default: Trial | None
    """With the parameters as they were set, or the defaults. None for what could not be run; the note says why."""
    tuning: Tuning | None = None
    """None for what has no step size to look for, or where none was looked for."""
    tuned: Trial | None = None
    """With the best step size of the grid, or with the parameters of `default` if those are better."""
    deviation: Deviation | None = None
    """How far `default` was from its flow; None for what has no flow of its own."""
    note: str = ""

    @property
    def name(self) -> str:
        """What it is called in tables and pictures."""
        return self.candidate.name

    def shown(self, trial: Trial) -> dict[str, Any]:
        """The parameters of one of its trials that matter to a reader: the step size, and what was set."""
        return {key: trial.parameters.get(key, value) for key, value in self.candidate.shown.items()}


def _cells(one: Entrant, trial: Trial | None) -> tuple[Any, ...]:
    if trial is None:
        return None, None, None
    return ", ".join(f"{name}={value}" for name, value in one.shown(trial).items()), trial.best_f, trial.words


def _best(one: Entrant) -> float:
    return min((trial.best_f for trial in (one.default, one.tuned) if trial is not None), default=math.inf)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: print it for the table, `figure()` for the picture, `to_dict()` for the numbers."""

    problem: Problem
    entrants: tuple[Entrant, ...]
    max_evaluations: int
    """The budget of each run."""
    tune: int
    """Values of the step size that each had."""
    interrupted: bool = False

    @property
    def ran(self) -> list[Entrant]:
        """The methods that ran; the reference flow is not one of them."""
        return [one for one in self.entrants if one.default is not None and not isinstance(one.candidate, OfFlow)]

    @property
    def flow(self) -> Trajectory | None:
        """The reference solution of gradient flow, if there is one."""
        return self.runs.get(FLOW)

    @property
    def runs(self) -> dict[str, Trajectory]:
        """The trajectories by name, of those that ran, with the parameters as they were set."""
        return {one.name: one.default.run for one in self.entrants if one.default is not None}

    @property
    def tuned_runs(self) -> dict[str, Trajectory]:
        """The trajectories by name with the best step sizes, of those that have one."""
        return {one.name: one.tuned.run for one in self.entrants if one.tuned is not None}

    @property
    def flat(self) -> bool:
        """Whether there are paths to draw: runs, in two coordinates."""
        return any(run.x.shape[-1] == 2 for run in self.runs.values())

    @property
    def low(self) -> float:
        """The minimum of f, or, where that is unknown, the lowest f that any of the runs reached."""
        if self.problem.minimum is not None:
            return self.problem.minimum
        trials = [trial for one in self.ran for trial in (one.default, one.tuned) if trial is not None]
        return min([self.f0, *(trial.best_f for trial in trials)])

    @property
    def f0(self) -> float:
        """f at the start."""
        return next((float(run.f[0, 0]) for run in self.runs.values()), float("nan"))

    @property
    def falls_without_end(self) -> bool:
        """Whether f fell so far that it seems to have no minimum."""
        return self.problem.minimum is None and self.low < self.f0 - ABYSS * max(1.0, abs(self.f0))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table: one dictionary an entrant."""
        return [self._row(one) for one in self.entrants]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trajectories."""
        return {
            "problem": self.problem.name,
            "minimum": self.problem.minimum,
            "f0": self.f0,
            "max_evaluations": self.max_evaluations,
            "tune": self.tune,
            "starts": 1,
            "interrupted": self.interrupted,
            "rows": self.rows,
        }

    def figure(self, path: str | Path | None = None) -> Figure:
        """Best f against evaluations, as set and tuned; the result over the step size; the distance from the own flow.

        At most eight lines, those that came lowest. Raises BadValue where nothing ran.
        """
        figure: Figure = drawer("comparison")(self, path)
        return figure

    def paths(self, path: str | Path | None = None) -> Figure:
        """For D = 2 the path of each, tuned where it was, over contours of f; at most twelve.

        Raises BadValue for any other D.
        """
        figure: Figure = drawer("comparison_paths")(self, path)
        return figure

    def __str__(self) -> str:
        return str(drawer("render")(drawer("comparison_table")(self)))

    def __repr__(self) -> str:
        best = min(self.ran, key=_best, default=None)
        lowest = "" if best is None else f", lowest f {_best(best):.6g} by {best.name}"
        return (
            f"<Comparison on {self.problem.name}: {len(self.ran)} methods, {self.max_evaluations} evaluations{lowest}>"
        )

    def _repr_html_(self) -> str:
        lines = [(one.name, *_cells(one, one.default), *_cells(one, one.tuned)) for one in self.ran]
        heads = ("method", "parameters", "best f", "status", "tuned", "best f", "status")
        return html_table(f"{self.problem.name}, {self.max_evaluations} evaluations each", heads, lines)

    def _row(self, one: Entrant) -> dict[str, Any]:
        def facts(trial: Trial | None) -> dict[str, Any] | None:
            if trial is None:
                return None
            chance = {"decided_by_rounding": trial.decided_by_rounding(self.low, self.f0)}
            return {"shown": one.shown(trial)} | trial.facts(self.problem) | chance

        row = {
            "name": one.name,
            "source": one.candidate.source,
            "default": facts(one.default),
            "tuned": facts(one.tuned),
            "tuning": None if one.tuning is None else one.tuning.facts(self.low, self.f0),
            "untuned": one.candidate.untuned if one.candidate.step is None else "",
        }
        if one.deviation is not None:
            row["deviation"] = one.deviation.facts()
        notes = [one.note, one.deviation.note if one.deviation is not None else ""]
        return row | {"note": "; ".join(filter(None, notes))}
