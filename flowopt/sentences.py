"""Sentences that are only put together when somebody reads them: ten thousand rows may stop at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


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
