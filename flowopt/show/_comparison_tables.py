"""What a comparison says on a terminal: who came how low with which parameters, and how each moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from flowopt.core._numbers import number
from flowopt.core._sentences import settings
from flowopt.functions.comparison.result import FLOW
from flowopt.functions.comparison.trial import SETTLED
from flowopt.show.tables import numbers, table_of

if TYPE_CHECKING:
    from flowopt.functions.comparison import Comparison

AT_END = " (!)"
"""Behind a best value that is the first or last of its range."""
CHANCE = "~"
"""Before a result that rounding decides."""


def comparison_table(found: Comparison) -> Group:
    """Results as set and tuned, then how the runs as set went and ended, then what is to be said about them."""
    notes = _Notes()
    tables = [_results(found, notes), _runs(found, notes)]
    return Group(*tables, *notes.lines, *_method(found))


class _Notes:
    """Footnotes, each once however many it is about."""

    def __init__(self) -> None:
        self._about: dict[str, list[str]] = {}

    def mark(self, row: Mapping[str, Any]) -> Text:
        """The name of an entrant with the number of its note."""
        note = row["note"]
        if not note:
            return Text(row["name"])
        names = self._about.setdefault(note, [])
        if row["name"] not in names:
            names.append(row["name"])
        return Text(f"{row['name']} [{list(self._about).index(note) + 1}]")

    @property
    def lines(self) -> list[Text]:
        """All notes, with the names that they are about."""
        return [Text(f"[{i}] {', '.join(names)}: {note}") for i, (note, names) in enumerate(self._about.items(), 1)]


def _height(found: Comparison, f: float | None) -> str:
    if f is not None and math.isinf(f):
        return "diverged"
    return number(None if f is None else f - (found.problem.minimum or 0.0))


def _lowest(found: Comparison, trial: Mapping[str, Any]) -> str:
    return (CHANCE if trial["decided_by_rounding"] else "") + _height(found, trial["best_f"])


def _results(found: Comparison, notes: _Notes) -> Table:
    what = "f" if found.problem.minimum is None else "f - min"
    table = table_of(f"{found.problem.name}: lowest {what} within {found.max_evaluations} evaluations")
    table.add_column("method", no_wrap=True, style="bold")
    table.add_column("parameters", no_wrap=True)
    numbers(table, f"lowest\n{what}")
    if found.tune:
        table.add_column("tuned\nstep size", no_wrap=True)
        numbers(table, f"lowest\n{what}", "near the best:\ndecades", "\nvalues", "evals of\nthe tuning")
    for row in found.rows:
        default, tuning, tuned = row["default"], row["tuning"], row["tuned"]
        if default is None:
            table.add_row(notes.mark(row), "not run", *["-"] * (6 if found.tune else 1))
            continue
        cells = [settings(default["shown"]), _lowest(found, default)]
        if found.tune and tuning is None:
            cells += ["-"] * 5
        elif found.tune:
            best = tuned["parameters"][tuning["parameter"]]
            cells += [
                settings({tuning["parameter"]: best}) + (AT_END if tuning["at_end"] and best == tuning["best"] else ""),
                _lowest(found, tuned),
                *_sensitivity(tuning),
                str(tuning["evaluations"]),
            ]
        table.add_row(Text(row["name"]), *cells)
    return table


def _sensitivity(tuning: Mapping[str, Any]) -> tuple[str, str]:
    """The share of the values that do nearly as well as the best; dashes where it says nothing."""
    if len(tuning["values"]) < 2 or tuning["start_is_near"]:
        return "-", "-"
    return f"{tuning['decades']:.1f}", f"{tuning['share']:.0%}"


def _runs(found: Comparison, notes: _Notes) -> Table:
    what = "f" if found.problem.minimum is None else "f - min"
    table = table_of("the runs with these parameters" + ", before tuning" * bool(found.tune))
    table.add_column("method", no_wrap=True, style="bold")
    numbers(table, f"last\n{what}", "distance to\nminimiser", "grads", "evals", "steps")
    table.add_column("status", no_wrap=True)
    numbers(table, "from its\nflow: max", "\nmedian")
    for row in found.rows:
        ran, deviation = row["default"], row.get("deviation", {})
        if ran is None:
            table.add_row(notes.mark(row), *["-"] * 5, "not run", "-", "-")
            continue
        counts = (ran["evaluations"]["gradient"], ran["cost"], ran["steps"])
        table.add_row(
            notes.mark(row),
            _height(found, ran["final_f"]),
            number(ran["distance"]),
            *map(str, counts),
            ran["status"],
            *(number(deviation.get(key)) for key in ("max", "median")),
        )
    return table


def _method(found: Comparison) -> list[Text]:
    """How it was done, so that a reader can judge it."""
    lines = ["One start: another may order them otherwise."]
    if found.tune:
        many = "1 value" if found.tune == 1 else f"{found.tune} values"
        lines = [
            f"Tuned: {many} of the step size, spread over its range on a logarithmic grid, and the value before; the "
            "same budget for each, and the one that came lowest counts (of those that went all but "
            f"{SETTLED:.0e} of the way down, the fastest). Near the best: the share of the values (and of the range, "
            "in powers of ten) whose runs came within a factor 10 of the method's lowest; a dash where the start does."
            + (" The lowest f of this comparison stands for the minimum." if found.problem.minimum is None else ""),
            *lines,
        ]
        if any((row["tuning"] or {}).get("at_end") for row in found.rows):
            lines.append(f"{AT_END.strip()} the best value is at the end of its range: one outside may do better.")
        for why, names in _untuned(found).items():
            lines.append(f"Not tuned: {', '.join(names)} ({why}).")
    if any(trial and trial["decided_by_rounding"] for row in found.rows for trial in (row["default"], row["tuned"])):
        lines.append(
            f"{CHANCE} rounding decides it: from a start nudged by one ulp the lowest f is more than 10 times as high, "
            "or as low; another processor has another result."
        )
    if any(row["name"] == FLOW and row["default"] is not None for row in found.rows):
        lines.append(
            f"{FLOW}: what the methods are held against. No budget binds it, and its steps are the points recorded."
        )
    if found.falls_without_end:
        lines.append(f"f fell to {found.low:.3g}: it seems to have no minimum, and then the lowest is not the best.")
    return [Text(line) for line in lines]


def _untuned(found: Comparison) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for row in found.rows:
        if row["untuned"] and row["default"] is not None:
            reasons.setdefault(row["untuned"], []).append(row["name"])
    return reasons
