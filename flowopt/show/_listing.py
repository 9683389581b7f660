"""What there is to choose from: names, one line of explanation, and where each comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import NamedTuple

from flowopt.core._registry import discover
from flowopt.core.errors import UnknownName
from flowopt.core.parameters import VOCABULARY, Meaning
from flowopt.core.parts import Controller, Integrator, Part, System, Transform
from flowopt.methods import everything as every_method
from flowopt.methods.parameter_table import defaults
from flowopt.problems._library import everything as every_problem
from flowopt.training.datasets import DATASETS
from flowopt.training.models import MODELS


class Listed(NamedTuple):
    """One line of a list."""

    name: str
    summary: str
    source: str


def _methods() -> Iterator[Listed]:
    return (Listed(name, entry.summary, entry.paper) for name, entry in every_method().items())


def _parts(kind: type[Part]) -> Callable[[], Iterator[Listed]]:
    return lambda: (Listed(name, part.summary(), part.source) for name, part in discover(kind).items())


def _problems() -> Iterator[Listed]:
    return (Listed(name, _first_line(make), source) for name, (make, source) in every_problem().items())


def _datasets() -> Iterator[Listed]:
    for name, load in DATASETS.items():
        yield Listed(name, _first_line(getattr(load, "func", load)), "")  # one function reads several


def _models() -> Iterator[Listed]:
    for name, family in MODELS.items():
        yield Listed(name, f"{family.summary} As {family.example}.", family.source)


def _parameters() -> Iterator[Listed]:
    def words(meaning: Meaning) -> str:
        unit = f" [{meaning.unit}]" if meaning.unit else ""
        return f"{meaning.words[0].upper()}{meaning.words[1:]}{unit}."

    return (Listed(name, words(meaning), defaults(name)) for name, meaning in VOCABULARY.items())


def _first_line(function: Callable[..., object]) -> str:
    return (inspect.getdoc(function) or "").split("\n", 1)[0]


KINDS: dict[str, Callable[[], Iterator[Listed]]] = {
    "methods": _methods,
    "systems": _parts(System),
    "integrators": _parts(Integrator),
    "controllers": _parts(Controller),
    "transforms": _parts(Transform),
    "problems": _problems,
    "datasets": _datasets,
    "models": _models,
    "parameters": _parameters,
}


def listing(kind: str) -> list[Listed]:
    """Everything of a kind by name, what other packages bring along included: name, summary and source of each.

    >>> [line.name for line in listing("integrators")][:3]
    ['backtracking_euler', 'backward_euler', 'dormand_prince']

    The kinds are methods, systems, integrators, controllers, transforms, problems, datasets, models and parameters (of
    the named methods). Raises UnknownName for another one.
    """
    if kind not in KINDS:
        raise UnknownName("list", kind, KINDS)
    return sorted(KINDS[kind]())
