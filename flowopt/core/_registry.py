"""Finds the parts: every class with a name in a folder's modules, and what other packages announce."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any, TypeVar

from flowopt.core._plugins import Plugins
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


def _ours() -> set[str]:
    return {part.name for folder in FOLDERS.values() for part in _named_parts(folder)}


def _fault(name: str, found: Any) -> str:
    if not (isinstance(found, type) and issubclass(found, Part) and kind_of(found) is not Part):
        return "it is not the class of a system, integrator, controller or transform"
    return "" if found.name == name else f"the part calls itself {found.name!r}; announce it by that name"


OUTSIDE = Plugins("flowopt.parts", _ours, _fault)


def discover(kind: type[P]) -> dict[str, type[P]]:
    """All parts of a kind by name, sorted, those of other packages included."""
    outside = {name: part for name, part in OUTSIDE.everything().items() if issubclass(part, kind)}
    return dict(sorted((own(kind) | outside).items()))


def own(kind: type[P]) -> dict[str, type[P]]:
    """Our parts of a kind by name, sorted; importing them is all the registration there is."""
    found: dict[str, type[P]] = {}
    for part in _named_parts(FOLDERS[kind]):
        if issubclass(part, kind) and found.setdefault(part.name, part) is not part:
            raise TypeError(f"two {FOLDERS[kind]} are named {part.name!r}: {found[part.name]} and {part}")
    return dict(sorted(found.items()))


def lookup(kind: type[P], name: str) -> type[P]:
    """The part with that name; UnknownName with the nearest matches if there is none."""
    known = own(kind)
    if name not in known:
        known = discover(kind)
    if name not in known:
        elsewhere = [other.__name__.lower() for other in FOLDERS if name in discover(other)]
        hint = f"that is the name of another kind of part ({elsewhere[0]})" if elsewhere else ""
        raise UnknownName(kind.__name__.lower(), name, known, hint)
    return known[name]


def kind_of(part: type[Part]) -> type[Part]:
    """System, Integrator, Controller or Transform, whichever it is; Part for none of them."""
    return next((kind for kind in FOLDERS if issubclass(part, kind)), Part)
