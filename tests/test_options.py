"""No dead options: every parameter of every named method, and of every part, changes where a run goes.

Other values, and settings of the other parameters under which one matters, are drawn from what is declared: the ranges,
the choices, the switches. So a new method or part needs no line here.
"""

import itertools
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from catalogue import CONTROLLERS, INTEGRATORS, PARTS, SYSTEMS, build, fits
from together import together

from flowopt import Method, Trajectory, minimize
from flowopt.controllers.fixed import Fixed
from flowopt.core.errors import BadValue
from flowopt.core.parts import Controller, Integrator, Part, System, Transform
from flowopt.core.roles import EpochLength, LowerBound, Range, Role, roles
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods import METHODS
from flowopt.systems.gradient_flow import GradientFlow

Settings = dict[str, Any]
TRIES = 200
"""Settings of the other parameters under which one may matter; of most the first few do."""


def values(owner: Any, name: str, default: Any) -> list[Any]:
    """Values of a parameter of a function or a class."""
    hint, role = typing.get_type_hints(owner)[name], roles(owner, Role).get(name)
    found = [choice for kind in (hint, *typing.get_args(hint)) for choice in _choices(kind)]
    if isinstance(role, Range):
        found += role.grid(5)
    elif isinstance(role, EpochLength):
        found += [2, 9, 30]
    elif isinstance(role, LowerBound):
        found += [-1.0, 5.0, 20.0]  # the last two are passed on the way
    elif isinstance(default, (int, float)):
        found += [2 * default, default / 2, default + 0.1]
    return found


def _choices(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return {bool: (False, True), type(None): (None,)}.get(hint, ())


def contexts(domain: dict[str, list[Any]], parameter: str, tries: int) -> Iterator[Settings]:
    """The defaults, then settings of about half of the other parameters, the same every time."""
    random = Random(parameter)
    yield {}
    for _ in range(tries):
        yield {n: random.choice(v) for n, v in domain.items() if v and n != parameter and random.random() < 0.5}


def matters(make: Callable[..., Method], domain: dict[str, list[Any]], parameter: str, tries: int = TRIES) -> bool:
    """Whether runs go elsewhere with another value of the parameter, whatever it takes for it to matter."""
    for context in contexts(domain, parameter, tries):
        runs: list[Trajectory] = []
        for given in ({}, *({parameter: value} for value in domain[parameter])):
            try:
                method = make(**context, **given)
            except BadValue:  # settings that do not go together
                continue
            runs.append(run(method))
            if differ(runs[0], runs[-1]):
                return True
    return False


def run(method: Method | str, **parameters: Any) -> Trajectory:
    steps = 10 if isinstance(method, Method) and method.integrator.name == "backward_euler" else 60
    return minimize("rosenbrock", [[-1.2, 1.0], [2.0, 2.0]], method, max_steps=steps, gtol=0.0, **parameters)


def differ(a: Trajectory, b: Trajectory) -> bool:
    """Whether two runs went elsewhere, or show another average."""
    shown = [a.x if run.average is None else run.average for run in (a, b)]
    return not (np.array_equal(a.x, b.x, equal_nan=True) and np.array_equal(*shown, equal_nan=True))


@pytest.mark.slow
@together(("name", "parameter"), [(name, parameter) for name in METHODS for parameter in METHODS[name].defaults])
def test_every_parameter_of_a_named_method_matters(name: str, parameter: str) -> None:
    make, defaults = METHODS[name].build, METHODS[name].defaults
    domain = {one: [v for v in values(make, one, default) if v != default] for one, default in defaults.items()}
    assert domain[parameter], "no other value is known: declare its range"
    assert matters(make, domain, parameter)


@together("name", sorted(METHODS))
def test_a_parameter_at_its_default_changes_nothing(name: str) -> None:
    assert np.array_equal(run(name).x, run(name, **METHODS[name].defaults).x)


def in_company(part: Part) -> Method:
    """A method with that part in it, and other parts, simple ones first, that it goes with."""
    systems = [part] if isinstance(part, System) else [GradientFlow(), *map(build, SYSTEMS)]
    integrators = (
        [part] if isinstance(part, Integrator) else [ForwardEuler(), SymplecticEuler(), *map(build, INTEGRATORS)]
    )
    controllers = [part] if isinstance(part, Controller) else [Fixed(1e-3), *map(build, CONTROLLERS)]
    transforms = (part,) if isinstance(part, Transform) else ()
    parts = itertools.product(systems, integrators, controllers, [transforms])
    return next(Method(*chosen) for chosen in parts if fits(*chosen))


def rebuilt(method: Method, **given: Any) -> Method:
    """The method with parameters of its parts, ``{"fixed.h": 0.1}``."""

    def changed(part: Any) -> Any:
        own = {name: given[f"{part.name}.{name}"] for name in part.parameters if f"{part.name}.{name}" in given}
        return replace(part, **own)

    return replace(
        method,
        system=changed(method.system),
        integrator=changed(method.integrator),
        controller=changed(method.controller),
        transforms=tuple(map(changed, method.transforms)),
    )


def parameters_matter(part: Part, tries: int = TRIES) -> dict[str, bool]:
    """Whether each parameter of a part does."""
    method = in_company(part)
    domain = {
        f"{one.name}.{name}": [value for value in values(type(one), name, default) if value != default]
        for one in method.parts
        for name, default in one.parameters.items()
    }
    return {name: matters(partial(rebuilt, method), domain, f"{part.name}.{name}", tries) for name in part.parameters}


@pytest.mark.slow
@together("part", PARTS)
def test_every_parameter_of_a_part_matters(part: type[Part]) -> None:
    found = parameters_matter(build(part))
    assert all(found.values()), found


def test_a_dead_option_is_found() -> None:
    @dataclass(frozen=True)
    class Idle(Fixed):
        """A fixed step with an option that changes nothing."""

        idle: float = 1.0
        name = "idle"

    assert parameters_matter(Idle(0.01), tries=3) == {"h": True, "idle": False}
