"""What other packages bring along: methods, parts and problems, by the entry points of their distributions.

    [project.entry-points."flowopt.methods"]    # in the pyproject.toml of the other package
    mine = "mypackage.methods:mine"

An entry point is loaded when its name is asked for, or when everything is listed, and never before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class Plugins:
    """What is announced for one group of entry points: ``flowopt.methods``, ``flowopt.parts`` or ``flowopt.problems``.

    `ours` gives the names that are taken; `fault` what is wrong with an object that was loaded for a name, "" for
    nothing. What cannot be used is warned of once, with the distribution that announces it, and left out.
    """

    def __init__(self, group: str, ours: Callable[[], Container[str]], fault: Callable[[str, Any], str]) -> None:
        self.group, self._ours, self._fault = group, ours, fault
        self._loaded: dict[str, Any] = {}

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self._ours():
                self._warn(point, "flowopt has one of that name, which stays")
            elif (other := found.setdefault(point.name, point)).value != point.value:
                self._warn(point, f"{_distribution(other)} has one of that name, which stays")
        return found

    def names(self) -> list[str]:
        """What is announced; nothing is loaded for it."""
        return sorted(self._points)

    def source(self, name: str) -> str:
        """The distribution that brings it."""
        return _distribution(self._points[name])

    def get(self, name: str) -> Any:
        """What is announced by that name, loaded; None where there is nothing, or nothing that can be used."""
        if name not in self._points:
            return None
        if name not in self._loaded:
            self._loaded[name] = self._load(self._points[name])
        return self._loaded[name]

    def everything(self) -> dict[str, Any]:
        """All of it, loaded, by name."""
        found = {name: self.get(name) for name in self.names()}
        return {name: one for name, one in found.items() if one is not None}

    def _load(self, point: EntryPoint) -> Any:
        try:
            found = point.load()
        except Exception as error:  # whatever somebody else's module raises while it is imported
            self._warn(point, f"{type(error).__name__}: {error}")
            return None
        if fault := self._fault(point.name, found):
            self._warn(point, fault)
            return None
        return found

    def _warn(self, point: EntryPoint, reason: str) -> None:
        warnings.warn(
            f"flowopt: {_distribution(point)} announces {point.name} = {point.value!r} in {self.group}, which is left "
            f"out: {reason}",
            stacklevel=2,
        )


def _distribution(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
