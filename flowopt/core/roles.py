"""What a parameter of a method is, said where it is declared: ``lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3``.

Drivers ask for the role and never for the spelling: a study tunes whatever is declared as the step size.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flowopt.core.errors import BadValue


@dataclass(frozen=True)
class StepSize:
    """The parameter that sets how far a step goes, and the range in which it is looked for, on a logarithmic grid.

    A method has one: a step size or learning rate, or the tolerance or scale that takes its place.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise BadValue(f"StepSize: the range must be 0 < low < high, not {self.low!r} to {self.high!r}")

    def grid(self, count: int) -> tuple[float, ...]:
        """So many values from low to high, each the same multiple of the one before; one: their geometric mean.

        >>> StepSize(1e-3, 10.0).grid(5)
        (0.001, 0.01, 0.1, 1.0, 10.0)
        """
        low, high = math.log10(self.low), math.log10(self.high)
        if count == 1:
            return (10 ** ((low + high) / 2),)
        # in 12 digits, so that a power of ten is the number that one would write
        return tuple(float(f"{10 ** (low + (high - low) * k / (count - 1)):.12g}") for k in range(count))


@dataclass(frozen=True)
class LowerBound:
    """A parameter that holds a lower bound of f; where the minimum is known, a comparison fills it in."""


Role = StepSize | LowerBound
Kind = TypeVar("Kind", StepSize, LowerBound)


def roles(build: Callable[..., Any], kind: type[Kind]) -> dict[str, Kind]:
    """The parameters of a function that are declared with a role of that kind.

    >>> from flowopt.methods import METHODS
    >>> list(roles(METHODS["ecdsep"].build, StepSize)), list(roles(METHODS["ecdsep"].build, LowerBound))
    (['dt'], ['F0'])
    """
    target = build if hasattr(build, "__annotations__") else type(build).__call__  # an object that can be called
    hints = typing.get_type_hints(target, include_extras=True)
    return {
        name: role
        for name, hint in hints.items()
        for role in getattr(hint, "__metadata__", ())
        if isinstance(role, kind)
    }
