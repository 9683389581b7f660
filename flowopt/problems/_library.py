"""The library of named problems: every function marked `@library` in this folder."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, wraps
from typing import Any

from flowopt.core._importing import imported, needs_nothing
from flowopt.core._plugins import Plugins
from flowopt.core.errors import BadValue, UnknownName, shown
from flowopt.problems._batching import TRUSTED
from flowopt.problems._problem import Problem

_LIBRARY: dict[str, Callable[..., Problem]] = {}


def library(make: Callable[..., Problem]) -> Callable[..., Problem]:
    """Enter a problem into the library under its function's name."""
    if make.__name__ in _LIBRARY:
        raise TypeError(f"two problems are named {make.__name__!r}")

    @wraps(make)
    def trusted(*args: Any, **options: Any) -> Problem:
        return replace(make(*args, **options), batching=TRUSTED)

    _LIBRARY[make.__name__] = trusted
    return trusted


@cache
def problems() -> dict[str, Callable[..., Problem]]:
    """All named problems of ours, sorted."""
    package = importlib.import_module("flowopt.problems")
    for entry in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(entry.name)
    return dict(sorted(_LIBRARY.items()))


def everything() -> dict[str, tuple[Callable[..., Problem], str]]:
    """All named problems, sorted, those of other packages included: what builds each, and its source."""
    ours = {name: (make, make().source) for name, make in problems().items()}
    brought = {name: (_maker(name), OUTSIDE.source(name)) for name in OUTSIDE.everything()}
    return dict(sorted((ours | brought).items()))


def accepts(name: str) -> Mapping[str, inspect.Parameter]:
    """The options of a problem by name or ``module:name``.

    Raises UnknownName, with the nearest matches, for a name that does not exist, BadValue for what is not a problem.
    """
    return inspect.signature(_maker(name)).parameters


def problem(name: str, **options: Any) -> Problem:
    """The problem of that name, or the one that ``module:name`` names: a Problem, a function that builds one, or f.

    >>> problem("rosenbrock", dim=5).dim
    5

    A function of the user's own whose arguments all have defaults builds a Problem, and these are its options; any
    other is f itself, of ``(..., D)`` or ``(D,)``. Raises UnknownName (with the nearest matches) for a name or an
    option that does not exist, BadValue for an option out of its range and for what is not a problem.
    """
    make = _maker(name)
    accepted = inspect.signature(make).parameters
    for option in options:
        if option not in accepted:
            raise UnknownName(f"option of {name}", option, accepted) if accepted else BadValue(f"{name} has no options")
    return make(**options)


def _maker(name: str) -> Callable[..., Problem]:
    if name in problems():
        return problems()[name]
    if ":" in name:
        return _makes(name, imported(name))
    found = OUTSIDE.get(name)
    if found is None:
        known = {*problems(), *OUTSIDE.names()}
        raise UnknownName("problem", name, known, more="module:function of your own is taken as well")
    return _makes(name, found)


def _makes(name: str, found: Any) -> Callable[..., Problem]:
    """What builds the Problem that an object of somebody else's stands for. Raises BadValue for what is none."""
    if isinstance(found, Problem):
        return lambda: found
    if fault := _fault(name, found):
        raise BadValue(fault)
    if not needs_nothing(found):
        return lambda: Problem(name=getattr(found, "__name__", type(found).__name__), value=found, dim=None)

    @wraps(found)
    def make(**options: Any) -> Problem:
        made = found(**options)
        if not isinstance(made, Problem):
            raise BadValue(f"{name}() must build a Problem, not {shown(made)} (it can be called without an argument)")
        return made

    return make


def _fault(name: str, found: Any) -> str:
    return "" if isinstance(found, Problem) or callable(found) else f"{name} is neither a Problem nor a function"


OUTSIDE = Plugins("flowopt.problems", problems, _fault)
