"""Errors that say what was wrong, what was expected and what to do; and the checks that raise them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

LONGEST = 60
"""Characters of a value that an error message shows."""


class FlowoptError(ValueError):
    """Base of every error that flowopt raises for bad input."""


class UnknownName(FlowoptError):
    """A method, part, problem or parameter that does not exist; `more` says what else may stand in its place."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "", more: str = "") -> None:
        known = sorted(known)
        folded = {candidate.lower(): candidate for candidate in known}
        near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
        guess = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
        super().__init__("; ".join(filter(None, (f"there is no {kind} named {name!r}", hint or guess, more))))
        self.near = near


class IncompatibleParts(FlowoptError):
    """A system, an integrator and a controller that make no sense together."""


class BadValue(FlowoptError):
    """A number outside its allowed range, or an array of the wrong shape."""


def check_range(
    owner: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
) -> None:
    """Raise BadValue unless ``low <= value <= high`` (``<`` where an end is open), in every row of a Tensor.

    A value must be finite, unless `infinite` says that infinity has a meaning (a bound that does not bound).
    """
    from torch import Tensor  # here, so that the command line can say what is wrong without waiting for torch

    numbers = value if isinstance(value, Tensor) else _number(owner, name, value)
    open_low = open_low or low == -math.inf
    open_high = open_high or (high == math.inf and not infinite)
    inside = (numbers > low if open_low else numbers >= low) & (numbers < high if open_high else numbers <= high)
    if not bool(inside.all() if isinstance(inside, Tensor) else inside):
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        told = f"{name} = {shown(value)}"
        if isinstance(value, Tensor) and isinstance(inside, Tensor) and value.numel() > 1:
            bad = int((~inside).flatten().int().argmax())
            told = f"{name}[{bad}] = {value.flatten()[bad].item()!r}, one of {value.numel()},"
        raise BadValue(f"{owner}: {told} is outside its range {left}{low:g}, {high:g}{right}")


def check_positive(owner: str, **values: Any) -> None:
    """Raise BadValue unless every value is a number above 0."""
    for name, value in values.items():
        check_range(owner, name, value, 0.0, open_low=True)


def check_limit(owner: str, **values: Any) -> None:
    """Raise BadValue unless every value is a number above 0, or infinity: no limit."""
    for name, value in values.items():
        check_range(owner, name, value, 0.0, open_low=True, infinite=True)


def check_count(owner: str, name: str, value: Any, least: int) -> None:
    """Raise BadValue unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise BadValue(f"{owner}: {name} = {shown(value)} must be a whole number >= {least}")


def check_choice(owner: str, name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise BadValue unless the value is one of the choices."""
    choices = tuple(choices)
    if getattr(value, "ndim", 0) > 0 or value not in choices:
        raise BadValue(f"{owner}: {name} = {shown(value)}; choose one of {', '.join(map(repr, choices))}")


def _number(owner: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadValue(f"{owner}: {name} = {shown(value)} is not a number")
    return float(value)


def shown(value: Any) -> str:
    """A value as an error message shows it: one line, and never a whole array.

    >>> shown(0.1), shown(list(range(1000)))
    ('0.1', '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, ...')
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0] or text[:LONGEST]} ..."
