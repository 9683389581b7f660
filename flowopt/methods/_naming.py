"""Names of methods: where a function that builds a Method is entered, with whose it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowopt.core.method import Method


@dataclass(frozen=True)
class Entry:
    """A named method: how to build it, and whose it is."""

    build: Callable[..., Method]
    paper: str
    """Whose method it is, in a few words."""
    citation: str
    """BibTeX."""
    reading: str
    """Which reading of the paper the defaults follow."""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.build) or "").split("\n", 1)[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters with their defaults."""
        return {name: p.default for name, p in inspect.signature(self.build).parameters.items()}


METHODS: dict[str, Entry] = {}

Builder = Callable[..., Method]


def named(paper: str, citation: str, reading: str = "") -> Callable[[Builder], Builder]:
    """Enter a function that builds a Method under the function's name."""

    def enter(build: Builder) -> Builder:
        METHODS[build.__name__] = Entry(build, paper, citation, reading)
        return build

    return enter
