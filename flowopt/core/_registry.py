"""Finds the parts: every class with a name in a folder's modules is there for the asking."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TypeVar

from flowopt.core.errors import UnknownName
from flowopt.core.parts import Controller, Integrator, Part, System, Transform

P = TypeVar("P", bound=Part)

FOLDERS: dict[type[Part], str] = {
    System: "systems",
    Integrator: "integrators",
    Controller: "controllers",
    Transform: "transforms",
}


@cache
def _named_parts(folder: str) -> tuple[type[Part], ...]:
    package = importlib.import_module(f"flowopt.{folder}")
    modules = [
        importlib.import_module(entry.name) for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    return tuple(
        member
        for module in modules
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Part) and "name" in vars(member)
    )


def discover(kind: type[P]) -> dict[str, type[P]]:
    """All parts of a kind by name, sorted; importing them is all the registration there is."""
    found: dict[str, type[P]] = {}
    for part in _named_parts(FOLDERS[kind]):
        if issubclass(part, kind) and found.setdefault(part.name, part) is not part:
            raise TypeError(f"two {FOLDERS[kind]} are named {part.name!r}: {found[part.name]} and {part}")
    return dict(sorted(found.items()))


def lookup(kind: type[P], name: str) -> type[P]:
    """The part with that name; UnknownName with the nearest matches if there is none."""
    known = discover(kind)
    if name not in known:
        elsewhere = [other.__name__.lower() for other in FOLDERS if name in discover(other)]
        hint = f"that is the name of another kind of part ({elsewhere[0]})" if elsewhere else ""
        raise UnknownName(kind.__name__.lower(), name, known, hint)
    return known[name]


def kind_of(part: type[Part]) -> type[Part]:
    """System, Integrator, Controller or Transform, whichever it is; Part for none of them."""
    return next((kind for kind in FOLDERS if issubclass(part, kind)), Part)
