"""What a parameter is, said where it is declared: ``lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3``.

Drivers ask for the role and never for the spelling: a study tunes whatever is declared as the step size, a driver that
knows how long an epoch is tells whatever is declared as its length. Of a number that is looked for the role says where:
from `low` to `high`, on a scale. `roles` reads the declarations of a function that builds a Method, and of a part:

>>> from flowopt.methods import METHODS
>>> roles(METHODS["gdm"].build, Range)["beta"].grid(4)
(0.0, 0.9, 0.99, 0.999)
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

from flowopt.core.errors import BadValue, check_choice
from flowopt.core.state import Number

Scale = Literal["log", "linear", "complement"]
"""Values that are even in powers of ten, even as they are, or whose 1 - value is even in powers of ten."""


class Role:
    """What a parameter is: the base of all that is declared."""


@dataclass(frozen=True)
class Range(Role):
    """A number that is looked for from `low` to `high`, both included; a whole one where both are written as int.

    A default of 0, infinity or None may lie outside: it is "none". Raises BadValue for a range that is not one, or that
    does not go with the scale: "log" asks for low > 0, "complement" for high < 1.
    """

    low: float
    high: float
    scale: Scale = "log"

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_choice(name, "scale", self.scale, typing.get_args(Scale))
        least = 0.0 if self.scale == "log" else -math.inf
        most = 1.0 if self.scale == "complement" else math.inf
        if not least < self.low < self.high < most:
            raise BadValue(
                f"{name}: a range on the scale {self.scale!r} is {least:g} < low < high < {most:g}, "
                f"not from {self.low!r} to {self.high!r}"
            )

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self, count: int) -> tuple[float, ...]:
        """So many values from low to high, even on the scale; one: the middle. Whole numbers that repeat stand once.

        >>> StepSize(1e-3, 10.0).grid(5), Range(1, 4).grid(9)
        ((0.001, 0.01, 0.1, 1.0, 10.0), (1, 2, 3, 4))
        """
        if count == 1:
            return (self.at(0.5),)
        # in 12 digits, so that a power of ten is the number that one would write
        values = (float(f"{self.at(k / (count - 1)):.12g}") for k in range(count))
        return tuple(dict.fromkeys(round(value) for value in values)) if self.whole else tuple(values)

    def at(self, share: float) -> float:
        """The value that has that share of the range, 0 to 1, below it."""
        low, high = self._on_scale(self.low), self._on_scale(self.high)
        place = low + (high - low) * share
        value = {"log": 10**place, "linear": place, "complement": 1 - 10**-place}[self.scale]
        return round(value) if self.whole else value

    def _on_scale(self, value: float) -> float:
        if self.scale == "linear":
            return value
        return math.log10(value) if self.scale == "log" else -math.log10(1 - value)


@dataclass(frozen=True)
class StepSize(Range):
    """The parameter that sets how far a step goes.

    A method has one: a step size or learning rate, or the tolerance or scale that takes its place.
    """


@dataclass(frozen=True)
class LearningRate(StepSize):
    """A step size > 0 that a network's parameter groups may set, each for itself: what torch calls their lr."""


@dataclass(frozen=True)
class Epsilon(Range):
    """A number > 0 in a denominator: at 0 what has no gradient would be 0/0."""


@dataclass(frozen=True)
class Average(Range):
    """What an average keeps of itself in a step, below 1: a step of length h makes it 1 - h / (time constant)."""

    scale: Scale = "complement"


@dataclass(frozen=True)
class MomentumFactor(Average):
    """What a momentum keeps of itself in a step: of an average of gradients, or of their sum."""


@dataclass(frozen=True)
class WeightDecay(Range):
    """The rate w of a weight decay, 0 for none: L2, which adds w/2 |q|^2 to the objective, unless it is decoupled."""

    low: float = 1e-6
    high: float = 0.1
    decoupled: bool = False
    """Every step takes h w q from q, and the objective knows nothing of it."""
    factor: str = ""
    """The parameter that holds what the paper calls weight decay, where that is a factor close to 1."""


@dataclass(frozen=True)
class LowerBound(Role):
    """A parameter that holds a lower bound of f; where the minimum is known, a comparison fills it in."""


@dataclass(frozen=True)
class EpochLength(Role):
    """Steps in an epoch: a driver that knows how long its epochs are fills it in."""

    unless: str = ""
    """The parameter that takes its place where it is given."""


@dataclass(frozen=True)
class Seed(Role):
    """The seed of random numbers: a driver that has a seed for everything hands it on."""


Kind = TypeVar("Kind", bound=Role)

GradientAverage = Annotated[Number, MomentumFactor(0.0, 0.999)]
"""beta1 of Adam and its relatives."""
SquareAverage = Annotated[Number, Average(0.9, 0.99999)]
"""beta2 of Adam and its relatives."""
Denominator = Annotated[Number, Epsilon(1e-16, 1.0)]
"""eps of Adam and its relatives."""
L2 = Annotated[Number, WeightDecay()]
"""A weight decay that is a term of the objective."""


def roles(declared: Callable[..., Any], kind: type[Kind]) -> dict[str, Kind]:
    """The parameters of a function, or of a part's class, that are declared with a role of that kind.

    >>> from flowopt.methods import METHODS
    >>> list(roles(METHODS["ecdsep"].build, StepSize)), list(roles(METHODS["ecdsep"].build, LowerBound))
    (['dt'], ['F0'])

    Raises BadValue where its annotations cannot be read.
    """
    target = getattr(declared, "func", declared)  # a functools.partial
    target = target if hasattr(target, "__annotations__") else type(target).__call__  # an object that is called
    return {name: role for name, role in _declarations(target) if isinstance(role, kind)}


def roles_of_parts(parts: Iterable[Any], kind: type[Kind]) -> dict[str, Kind]:
    """The same of the parts of a Method that was put together by hand; names are those of `Method.settings`.

    >>> from flowopt.methods import method
    >>> roles_of_parts(method("ecco").parts, StepSize)
    {'lte.eta': StepSize(low=1e-05, high=100.0, scale='log')}
    """
    return {f"{part.name}.{name}": role for part in parts for name, role in roles(type(part), kind).items()}


def values(part: Any, kind: type[Role]) -> dict[str, Any]:
    """The values of a part's parameters that are declared with a role of that kind.

    >>> from flowopt.systems import Adam
    >>> values(Adam(beta1=0.8), MomentumFactor)
    {'beta1': 0.8}
    """
    return {name: getattr(part, name) for name in roles(type(part), kind)}


@lru_cache(maxsize=512)
def _declarations(target: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise BadValue(
            f"the annotations of {getattr(target, '__qualname__', target)} cannot be read: {error}; import what they "
            "name where it is there at run time, not under TYPE_CHECKING"
        ) from error
    return tuple((name, role) for name, hint in hints.items() for role in getattr(hint, "__metadata__", ()))
