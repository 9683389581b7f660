"""What a fact is: the number that a paper prints, what was made of it, what was run, and a verdict from these."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flowopt.core.errors import BadValue
from flowopt.testing import LEAST, Distribution, Share

OUTSIDE = "OUTSIDE"
NOT_MEASURED = "not measured"
Measured = tuple[float, ...] | Distribution | Share
"""Numbers, all of which count; a distribution over seeds, or a share of them; none is not measured."""
LEFT_OUT = "left out by --quick"


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
    """One line of a table: what a paper prints, what we made of it, what we ran.

    `expected` is what theory or a prototype of the method says, with a tolerance that no rounding decides. `paper`
    is where the same number has to lie to count as the printed one. It needs a `printed` number; where the paper
    prints words, or a number of another network, there is nothing to judge. An empty `measured` says that nothing was
    measured, and the note why. Raises BadValue for a `paper` without `printed`.
    """

    claim: str
    """What we made of it: the number that is taken."""
    source: str
    expected: Range
    measured: Measured
    printed: str = ""
    """The paper's own number, verbatim, with its function or network."""
    paper: Range | None = None
    setting: str = ""
    """What we ran, as far as the headline of the experiment does not say it."""
    note: str = ""
    """What the claim leaves open, or why the numbers differ."""

    def __post_init__(self) -> None:
        if self.paper is not None and not self.printed:
            raise BadValue(f"{self.claim}: a verdict on the paper needs the number that it prints")

    @property
    def middle(self) -> tuple[float, ...]:
        """What has to lie in the expected range: all of the numbers, or the middle of a distribution."""
        if isinstance(self.measured, Distribution | Share):
            return (self.measured.middle,)
        return self.measured

    @property
    def ok(self) -> bool:
        """Whether what was measured lies where it was expected."""
        return self.expected.holds(self.middle)

    @property
    def verdict(self) -> str:
        """Outside the tolerance, or else what became of the number that the paper prints; empty if it prints none."""
        if not self.numbers:
            return NOT_MEASURED
        if not self.ok:
            return OUTSIDE
        if self.paper is None:
            return ""
        return "as in the paper" if self._as_printed(self.paper) else "not as in the paper"

    @property
    def numbers(self) -> tuple[float, ...]:
        """Every number that was measured."""
        return self.measured.values if isinstance(self.measured, Distribution | Share) else self.measured

    @property
    def shown(self) -> str:
        """The measured number, the smallest and the largest of several, or a distribution with its interval."""
        if isinstance(self.measured, Distribution | Share):
            return str(self.measured)
        if not self.measured:
            return "-"
        low, high = words(min(self.measured)), words(max(self.measured))
        return low if low == high else f"{low} to {high}"

    @property
    def made(self) -> str:
        """What was made of the printed number: the quantity, and where it has to lie."""
        criterion = self.expected if self.paper is None else self.paper
        return f"{self.claim}: {criterion.text}"

    @property
    def ran(self) -> str:
        """The setting and what it gave; what we expected, where that is not the paper's number."""
        result = f"{self.setting}: {self.shown}" if self.setting else self.shown
        return result if self.paper in (None, self.expected) else f"{result} (expected {self.expected.text})"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python, ready for json."""
        return {
            "source": self.source,
            "printed": self.printed or None,
            "claim": self.claim,
            "paper": _plain(self.paper),
            "expected": _plain(self.expected),
            "setting": self.setting,
            "measured": {"numbers": list(self.numbers), "text": self.shown},
            "verdict": self.verdict,
            "note": self.note,
        }

    def _as_printed(self, paper: Range) -> bool:
        """A distribution is as printed where its interval meets the range, single numbers where all lie in it."""
        if not isinstance(self.measured, Distribution | Share):
            return paper.holds(self.measured)
        low, high = self.measured.interval
        return low <= paper.high and high >= paper.low


def share(hits: Iterable[bool]) -> Measured:
    """How many seeds did something: a share, and nothing (not measured) if they are too few for one."""
    found = list(hits)
    return Share(sum(found), len(found)) if len(found) >= LEAST else ()


def _plain(where: Range | None) -> dict[str, Any] | None:
    return None if where is None else {"low": where.low, "high": where.high, "text": where.text}


def over(values: Iterable[float]) -> Measured:
    """Numbers of different seeds: a distribution, and nothing (not measured) if they are too few to be one."""
    found = tuple(map(float, values))
    return Distribution(found) if len(found) >= LEAST else ()


@dataclass(frozen=True)
class Experiment:
    """A function that runs claims and yields their facts, and the smaller sizes that make it quick."""

    run: Callable[..., Iterator[Fact]]
    quick: Mapping[str, int] = field(default_factory=dict)
    """Arguments of `run` for a quick look, which leaves out or shortens; none if it is quick as it is."""

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """What it is about, in one line."""
        return (inspect.getdoc(self.run) or "").split("\n", 1)[0]

    def facts(self, *, quick: bool) -> list[Fact]:
        """Run it. Where a quick look measures nothing, the note says so."""
        if not quick:
            return list(self.run())
        return [fact if fact.numbers or fact.note else replace(fact, note=LEFT_OUT) for fact in self.run(**self.quick)]
