"""Sentences that are only put together when somebody reads them: ten thousand rows may stop at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

SHOWN = 6
"""Coordinates of a position that a message prints."""


def standing(x: Sequence[float], value: float, slope: float | None = None) -> str:
    """Where a row stands, for a message: the first SHOWN coordinates of x, f and, if it is given, |grad f|."""
    position = ", ".join(f"{number:.6g}" for number in x[:SHOWN]) + (", ..." if len(x) > SHOWN else "")
    text = f"at x = ({position}), f = {value:.6g}"
    return text if slope is None else f"{text}, |grad f| = {slope:.3g}"


def settings(values: Mapping[str, Any]) -> str:
    """Parameters in few words: ``lr=0.001, beta=0.9``."""
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )


class Sentences(Sequence[str]):
    """A sequence of texts whose items are made on demand; equal to any sequence of the same texts."""

    def sentence(self, index: int) -> str:
        """The text number `index`, counted from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        numbers = range(len(self))[index]
        return self.sentence(numbers) if isinstance(numbers, int) else [self.sentence(i) for i in numbers]

    def __repr__(self) -> str:
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list's: it compares by what it holds
