"""What there is to choose from: names, one line of explanation, and where each comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

from flowopt.core._registry import discover
from flowopt.core.errors import UnknownName
from flowopt.core.parameters import VOCABULARY, Meaning
from flowopt.core.parts import Controller, Integrator, Part, System, Transform
from flowopt.methods import METHODS
from flowopt.methods.parameter_table import defaults
from flowopt.problems import problems


class Listed(NamedTuple):
    """One line of a list."""

    name: str
    summary: str
    source: str


def _methods() -> list[Listed]:
    return [Listed(name, entry.summary, entry.paper) for name, entry in sorted(METHODS.items())]


def _parts(kind: type[Part]) -> Callable[[], list[Listed]]:
    return lambda: [Listed(name, part.summary(), part.source) for name, part in discover(kind).items()]


def _problems() -> list[Listed]:
    return [
        Listed(name, (inspect.getdoc(make) or "").split("\n", 1)[0], make().source) for name, make in problems().items()
    ]


def _parameters() -> list[Listed]:
    def words(meaning: Meaning) -> str:
        unit = f" [{meaning.unit}]" if meaning.unit else ""
        return f"{meaning.words[0].upper()}{meaning.words[1:]}{unit}."

    return [Listed(name, words(meaning), defaults(name)) for name, meaning in sorted(VOCABULARY.items())]


KINDS: dict[str, Callable[[], list[Listed]]] = {
    "methods": _methods,
    "systems": _parts(System),
    "integrators": _parts(Integrator),
    "controllers": _parts(Controller),
    "transforms": _parts(Transform),
    "problems": _problems,
    "parameters": _parameters,
}


def listing(kind: str) -> list[Listed]:
    """Everything of a kind ("methods", "systems", ..., "parameters"), sorted by name.

    Raises UnknownName for a kind that does not exist.
    """
    if kind not in KINDS:
        raise UnknownName("list", kind, KINDS)
    return KINDS[kind]()


def list_methods() -> list[str]:
    """Names that `flowopt.method` and `flowopt.minimize` take."""
    return [line.name for line in listing("methods")]


def list_systems() -> list[str]:
    """Names of the dynamical systems."""
    return [line.name for line in listing("systems")]


def list_integrators() -> list[str]:
    """Names of the integration schemes."""
    return [line.name for line in listing("integrators")]


def list_controllers() -> list[str]:
    """Names of the step-size rules."""
    return [line.name for line in listing("controllers")]


def list_problems() -> list[str]:
    """Names that `flowopt.problem` takes."""
    return [line.name for line in listing("problems")]
