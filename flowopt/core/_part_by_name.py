"""What may stand where a part stands: a part, its name, or ``module:name``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowopt.core._importing import imported, required
from flowopt.core._registry import FOLDERS, discover, kind_of, lookup
from flowopt.core.errors import BadValue, IncompatibleParts, shown
from flowopt.core.parts import Part
from flowopt.core.roles import Kind, roles

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Maker(Generic[P]):
    """How a part that is known by name is built."""

    kind: type[P]
    name: str
    """What stands before the dot of its parameters, ``pi.rtol``."""
    build: Callable[..., Any]

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Its parameters, with `REQUIRED` for the default of one that must be given."""
        return {name: parameter.default for name, parameter in inspect.signature(self.build).parameters.items()}

    def roles(self, kind: type[Kind]) -> dict[str, Kind]:
        """Those of its parameters that are declared with a role of that kind."""
        return roles(self.build, kind)

    def make(self, parameters: Mapping[str, Any]) -> P:
        """The part. Raises BadValue where a parameter without a default is left out."""
        missing = [name for name in required(self.build) if name not in parameters]
        if missing:
            raise BadValue(f"{self.name} needs {', '.join(missing)}: give the part itself, {_call(self.build)}")
        return _checked(self.kind, self.build(**parameters))


def maker(kind: type[P], name: str) -> Maker[P]:
    """What builds the part of that kind and that name, or the class, function or part that ``module:name`` names.

    Raises UnknownName for a name that no part of that kind has, BadValue for what cannot be imported.
    """
    if ":" not in name:
        return Maker(kind, name, lookup(kind, name))
    found = imported(name)
    if isinstance(found, type) and issubclass(found, kind):
        return Maker(kind, found.name, found)
    if not callable(found) or isinstance(found, type):
        part = _checked(kind, found)
        return Maker(kind, part.name, lambda: part)
    return Maker(kind, name.partition(":")[2], found)


def as_part(kind: type[P], given: Any) -> P:
    """A part of that kind: as it is, or from its name with its defaults.

    Raises UnknownName for a name that no part of that kind has, IncompatibleParts for anything else.
    """
    return maker(kind, given).make({}) if isinstance(given, str) else _checked(kind, given)


def _checked(kind: type[P], given: Any) -> P:
    if isinstance(given, kind):
        return given
    place = f"and stands where {_with_article(kind)} does"
    if isinstance(given, Part):
        raise IncompatibleParts(
            f"{shown(given)} is {_with_article(kind_of(type(given)))} {place}; the order is Method(system, integrator, "
            "controller, transforms), the transforms in a tuple"
        )
    if isinstance(given, type) and issubclass(given, kind):
        raise IncompatibleParts(f"{given.__name__} is a class {place}; build the part: {_call(given)}")
    names = ", ".join(discover(kind))
    raise IncompatibleParts(
        f"{_with_article(kind)} is a part of flowopt.{FOLDERS[kind]} or the name of one ({names}), not {shown(given)}"
    )


def _call(build: Callable[..., Any]) -> str:
    """How a part is built, with the parameters that it needs: ``Fixed(h=...)``."""
    return f"{getattr(build, '__name__', 'it')}({', '.join(f'{name}=...' for name in required(build))})"


def _with_article(kind: type[Part]) -> str:
    return ("an " if kind.__name__[0] in "AEIOU" else "a ") + kind.__name__.lower()
