"""Finds the parts: every class with a name in a folder's modules is there for the asking."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TypeVar

from flowopt.errors import UnknownName
from flowopt.parts import Controller, Integrator, Part, System, Transform

P = TypeVar("P", bound=Part)

FOLDERS: dict[type[Part], str] = {
    System: "systems",
    Integrator: "integrators",
    Controller: "controllers",
    Transform: "transforms",
}


@cache
def discover(kind: type[P]) -> dict[str, type[P]]:
    """All parts of a kind by name, sorted; importing them is all the registration there is."""
    package = importlib.import_module(f"flowopt.{FOLDERS[kind]}")
    found: dict[str, type[P]] = {}
    for entry in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for part in vars(importlib.import_module(entry.name)).values():
            if isinstance(part, type) and issubclass(part, kind) and "name" in vars(part):
                if found.setdefault(part.name, part) is not part:
                    raise TypeError(f"two {FOLDERS[kind]} are named {part.name!r}: {found[part.name]} and {part}")
    return dict(sorted(found.items()))


def lookup(kind: type[P], name: str) -> type[P]:
    """The part with that name; UnknownName with the nearest matches if there is none."""
    known = discover(kind)
    if name not in known:
        raise UnknownName(kind.__name__.lower(), name, known)
    return known[name]
