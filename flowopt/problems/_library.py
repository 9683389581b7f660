"""The library of named problems: every function marked `@library` in this folder."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, wraps
from typing import Any

from flowopt.core.errors import BadValue, UnknownName
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
    """All named problems, sorted."""
    package = importlib.import_module("flowopt.problems")
    for entry in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(entry.name)
    return dict(sorted(_LIBRARY.items()))


def accepts(name: str) -> Mapping[str, inspect.Parameter]:
    """The options of a named problem. Raises UnknownName, with the nearest matches, for a name that does not exist."""
    known = problems()
    if name not in known:
        raise UnknownName("problem", name, known)
    return inspect.signature(known[name]).parameters


def problem(name: str, **options: Any) -> Problem:
    """The problem with that name.

    >>> problem("rosenbrock", dim=5).dim
    5

    Raises UnknownName (with the nearest matches) for a name or an option that does not exist, BadValue for an option
    out of its range.
    """
    accepted = accepts(name)
    for option in options:
        if option not in accepted:
            raise UnknownName(f"option of {name}", option, accepted) if accepted else BadValue(f"{name} has no options")
    return problems()[name](**options)
