"""What a fact is: a claim, the expected number, the measured number, and a verdict computed from them."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

OUTSIDE = "OUTSIDE"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Range:
    """Where a number has to lie, in [low, high], and how people write that."""

    low: float
    high: float
    text: str

    def holds(self, numbers: Iterable[float]) -> bool:
        """Whether all of the numbers lie in the range; NaN never does."""
        return all(self.low <= value <= self.high for value in numbers)


def words(value: float) -> str:
    """A number in few digits, whole ones in all of theirs; infinite is never."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "never"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.5g}"


def exactly(value: float) -> Range:
    """That number and no other."""
    return Range(value, value, words(value))


def about(value: float, tolerance: float) -> Range:
    """Within an absolute tolerance of a value."""
    return Range(value - tolerance, value + tolerance, f"{words(value)} ± {words(tolerance)}")


def at_most(value: float) -> Range:
    """Not above a value."""
    return Range(-math.inf, value, f"<= {words(value)}")


def at_least(value: float) -> Range:
    """Not below a value, and finite."""
    return Range(value, sys.float_info.max, f">= {words(value)}")


def between(low: float, high: float) -> Range:
    """From low to high."""
    return Range(low, high, f"{words(low)} to {words(high)}")


NEVER = exactly(math.inf)
"""Steps of a run that does not arrive."""


@dataclass(frozen=True)
class Fact:
    """One line of a table.

    `expected` is what a prototype of the method gave in float64, with the tolerance that it is given here, or what
    theory says; `paper` is the paper's own number, where it has one. An empty `measured` says that nothing was
    measured, and the note why.
    """

    claim: str
    source: str
    expected: Range
    measured: tuple[float, ...]
    paper: Range | None = None
    note: str = ""
    """What the claim leaves open, or why the numbers differ."""

    @property
    def ok(self) -> bool:
        """Whether what was measured lies where it was expected."""
        return self.expected.holds(self.measured)

    @property
    def verdict(self) -> str:
        """Outside the tolerance, or else what became of the paper's number."""
        if not self.measured:
            return NOT_MEASURED
        if not self.ok:
            return OUTSIDE
        if self.paper is None:
            return "as expected"
        return "as in the paper" if self.paper.holds(self.measured) else "not as in the paper"

    @property
    def shown(self) -> str:
        """The measured number, or the smallest and the largest of several."""
        if not self.measured:
            return "-"
        low, high = words(min(self.measured)), words(max(self.measured))
        return low if low == high else f"{low} to {high}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python, ready for json."""
        return {
            "claim": self.claim,
            "source": self.source,
            "paper": self.paper.text if self.paper else None,
            "expected": {"low": self.expected.low, "high": self.expected.high, "text": self.expected.text},
            "measured": {"numbers": list(self.measured), "text": self.shown},
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(frozen=True)
class Experiment:
    """A function that runs claims and yields their facts, and the smaller sizes that make it quick."""

    run: Callable[..., Iterator[Fact]]
    quick: Mapping[str, int] = field(default_factory=dict)
    """Arguments of `run` for a quick look; none if it is quick as it is."""

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """What it is about, in one line."""
        return (inspect.getdoc(self.run) or "").split("\n", 1)[0]

    def facts(self, *, quick: bool) -> list[Fact]:
        """Run it."""
        return list(self.run(**self.quick) if quick else self.run())
