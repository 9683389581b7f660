"""Who is compared: candidates from what a user gives, with their parameters, and names that tell them apart."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch.optim import Optimizer

from flowopt.core._importing import imported, is_address, required
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.method import Method
from flowopt.core.parameters import hint
from flowopt.core.roles import LearningRate
from flowopt.functions.baselines import ScipyMinimizer, as_baseline
from flowopt.functions.comparison.candidates import (
    TORCH_STEP,
    Candidate,
    OfBuilder,
    OfFactory,
    OfMethod,
    OfScipy,
    OfTorch,
)
from flowopt.functions.comparison.twins import TWINS, Twin
from flowopt.methods import METHODS, Entry, entry

BASELINES = ("torch:Adam", "torch:SGD", "scipy:BFGS", "scipy:L-BFGS-B")
DEFAULTS = ("ecco", "ecco_stable", "ecdsep", "elra", "tlr", "gd", "gdm", "adam", *BASELINES)
"""Compared unless others are asked for: one or two of each paper, the classics, torch's and SciPy's."""
FORMS = (
    'a name, a formula, a Method, "module:name", an optimizer class, or a function that builds a Method or an optimizer'
)


def everything() -> tuple[str, ...]:
    """All named methods, and the baselines of a comparison."""
    return (*METHODS, *BASELINES)


def choose(given: Iterable[Any], parameters: Mapping[str, Mapping[str, Any]], minimum: float | None) -> list[Candidate]:
    """Candidates, ready to run: with the parameters that were set, those of their twins, and the known minimum.

    Raises UnknownName or BadValue for a name or a parameter that nobody here has.
    """
    named = [candidate(one) for one in _once(given)]
    for owner, values in parameters.items():
        if not any(_is_called(one, owner) for one in named):
            raise UnknownName("method in this comparison", owner, [one.name for one in named])
        named = [with_parameters(one, values) if _is_called(one, owner) else one for one in named]
    return told_apart(like_their_twins([one.bounded(minimum) for one in named]))


def _once(given: Iterable[Any]) -> list[Any]:
    """Without the names that were given before."""
    found: list[Any] = []
    for one in given:
        if not isinstance(one, str) or one not in found:
            found.append(one)
    return found


def _is_called(one: Candidate, owner: str) -> bool:
    return owner.lower() in (one.name.lower(), str(one.given).lower())


def with_parameters(one: Candidate, values: Mapping[str, Any]) -> Candidate:
    """The same with other parameters. Raises UnknownName or BadValue for one that it does not have."""
    for key in values:
        if one.accepts(key):
            continue
        if isinstance(one, OfMethod | OfFactory):
            raise BadValue(f"{one.name} is already built and takes no parameters ({key}); give the function or class")
        raise UnknownName(f"parameter of {one.name}", key, one.settings, hint(key, one.settings))
    return replace(one, parameters={**one.parameters, **values})


def candidate(given: Any, name: str = "") -> Candidate:
    """The Candidate that a name, a Method, an optimizer class or a function stands for.

    Raises UnknownName for a name that does not exist, BadValue for anything else.
    """
    if isinstance(given, str):
        return _by_name(given)
    if isinstance(given, Method):
        return OfMethod(name or given.name, given)
    if isinstance(given, type) and issubclass(given, Optimizer):
        package = given.__module__.partition(".")[0]
        ours = [METHODS[our] for our, twin in TWINS.items() if _is(given, twin)]
        ranges = [role for one in ours for role in one.roles(LearningRate).values()]
        return OfTorch(name or f"{package}:{given.__name__}", given, range=(*ranges, TORCH_STEP)[0])
    if not callable(given) or isinstance(given, type):
        raise BadValue(f"what can be compared is {FORMS}, not {given!r}")
    name = name or getattr(given, "__name__", type(given).__name__).strip("<>")
    return OfFactory(name, given) if required(given) else OfBuilder(name, given, entry=Entry(name, given))


def _by_name(name: str) -> Candidate:
    if is_address(name):
        found = imported(name)
        if isinstance(found, str):
            raise BadValue(f"{name} is {found!r}; what can be compared is {FORMS}")
        return candidate(found, name)
    baseline = as_baseline(name, {})
    if isinstance(baseline, ScipyMinimizer):
        return OfScipy(baseline.name, name)
    if baseline is not None:
        return candidate(getattr(torch.optim, baseline.label))
    known = entry(name)
    return OfBuilder(known.name, name, entry=known, source=known.paper)


def _is(optimizer: type[Optimizer], twin: Twin) -> bool:
    return optimizer is getattr(torch.optim, twin.optimizer)


def like_their_twins(candidates: list[Candidate]) -> list[Candidate]:
    """The same, each optimizer of torch with the parameters of the first of its twins among them.

    Where a parameter is torch's default anyway, or was set, it stays.
    """
    ours = [one for one in candidates if isinstance(one.given, str) and one.name in TWINS]
    return [_like(one, ours) if isinstance(one, OfTorch) else one for one in candidates]


def _like(one: OfTorch, ours: list[Candidate]) -> Candidate:
    for method_of_ours in ours:
        twin = TWINS[method_of_ours.name]
        if _is(one.given, twin):
            usual = inspect.signature(one.given).parameters
            theirs = twin.arguments(method_of_ours.settings)
            return replace(one, parameters={n: v for n, v in theirs.items() if v != usual[n].default} | one.parameters)
    return one


def told_apart(candidates: list[Candidate]) -> list[Candidate]:
    """The same, those of one name with the parameters in which they differ behind it, or else numbered."""
    named: list[Candidate] = []
    for one in candidates:
        others = [other for other in candidates if other is not one and other.name == one.name]
        label = one.name + (_difference(one, others) if others else "")
        taken = [other.name for other in named]
        number = next(n for n in count(1) if (label if n == 1 else f"{label} ({n})") not in taken)
        named.append(replace(one, name=label if number == 1 else f"{label} ({number})"))
    return named


def _difference(one: Candidate, others: list[Candidate]) -> str:
    """The parameters in which it differs from another, `` (lr=0.1)``: of those that matter, else of all."""
    for mine, theirs in (
        (one.shown, [other.shown for other in others]),
        (one.settings, [other.settings for other in others]),
    ):
        different = [key for key, value in mine.items() if any(other.get(key) != value for other in theirs)]
        if different:
            return " (" + ", ".join(f"{key.rpartition('.')[2]}={mine[key]}" for key in different) + ")"
    return ""
