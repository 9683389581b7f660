"""No dead options: every parameter of every named method, and of every part, changes where a run goes."""

import itertools
import typing
from functools import partial
from typing import Any

import numpy as np
import pytest
from catalogue import CONTROLLERS, INTEGRATORS, PARTS, SYSTEMS, build, fits
from together import together

from flowopt import Method, Trajectory, method, minimize
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.pi import PI
from flowopt.core.errors import BadValue
from flowopt.core.parts import Controller, Integrator, Part, System, Transform
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.runge_kutta import Heun
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods import METHODS
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.heavy_ball import HeavyBall

Setting = tuple[Any, dict[str, Any]]
"""Another value of a parameter, and what else must be set for it to matter."""

EPOCH = {"retrace": "epoch", "epoch_length": 5, "alpha0": 0.1}
FALLING = {"F0": 5.0, "delta_energy": 1.0}
NEWTON: dict[str, Setting] = {
    "K": (3, {}),
    "p": (0.5, {"batches_per_epoch": 20}),
    "batches_per_epoch": (30, {}),
    "max_factor": (1.001, {}),
}
ALTERNATIVES: dict[str, dict[str, Setting]] = {
    "ecco": {"h_max": (1e-6, {})},
    "ecco_stable": {"h_max": (1e-3, {})},
    "ecdsep": {"s": (0, {"delta_energy": 1.0}), "tune_F0": (True, FALLING)},
    "ecdsep_strang": {"s": (0, {"delta_energy": 1.0})},
    "bbi": {
        "fixed_bounces": (2, {"fixed_interval": 10}),
        "fixed_interval": (10, {"fixed_bounces": 2}),
        "progress_interval": (3, {}),
    },
    "elra": {
        "kappa": ("auto", {}),
        "retrace": (None, {"alpha0": 0.1}),
        "retrace_formula": ("printed", {"alpha0": 0.1}),
        "crop": (0.01, {}),
        "warmup": (0.1, {}),
        "epoch_length": (9, EPOCH),
    },
    "tlr": NEWTON | {"guard": (False, {"K": 2})},
    "tlr_gdm": NEWTON,
    "tlr_adam": NEWTON,
    "adabelief": {"eps": (1e-4, {})},
    "adamomentum": {"eps": (1e-4, {})},
    "armijo": {"c1": (0.5, {})},
    "hypergradient": {"rule": ("additive", {"hyper_lr": 1e-9})},
    "polyak": {"h_max": (1e-3, {})},
    "step_decay": {"factor": (0.5, {"every": 20}), "every": (20, {})},
    "sps": {"h0": (1e-4, {}), "batches_per_epoch": (10, {}), "h_max": (1e-4, {})},
    "sls": {"tries": (3, {}), "batches_per_epoch": (10, {}), "h_max": (1e-3, {})},
    "bb": {"grow": (2.0, {"h0": 1e-2})},
    "diffgrad": {"form": ("library", {"eps": 1e-4})},
}
"""Where another value alone does not do, or another value than `another` finds; a new method needs no line."""


def another(make: Any, owner: Any, name: str, default: Any) -> Any:
    """Another value of a parameter of `owner`: another choice, else twice as much, half, or a little more."""
    hint = typing.get_type_hints(owner)[name]
    choices = [choice for kind in (hint, *typing.get_args(hint)) for choice in _choices(kind)]
    numbers = [] if not isinstance(default, (int, float)) else [2 * default, default / 2, default + 0.1]
    for value in (*choices, *numbers):
        if value != default and _takes(make, name, value):
            return value
    raise AssertionError(f"no other value of {name} of {owner.__name__} is known; give one in a table of this file")


def _choices(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return (False, True) if hint is bool else ()


def _takes(make: Any, name: str, value: Any) -> bool:
    try:
        make(**{name: value})
    except BadValue:
        return False
    return True


def settings(name: str) -> dict[str, Setting]:
    """For every parameter of a named method another value, and what else must be set for it to matter."""
    made, known = METHODS[name].build, ALTERNATIVES.get(name, {})
    return {
        parameter: known.get(parameter) or (another(made, made, parameter, default), {})
        for parameter, default in METHODS[name].defaults.items()
    }


SETTINGS = {name: settings(name) for name in METHODS}
CASES = [
    (name, parameter, *setting) for name, parameters in SETTINGS.items() for parameter, setting in parameters.items()
]


def run(chosen: Any, **parameters: Any) -> Trajectory:
    steps = 10 if chosen == "implicit" else 60
    return minimize("rosenbrock", [[-1.2, 1.0], [2.0, 2.0]], chosen, max_steps=steps, gtol=0.0, **parameters)


def differ(a: Trajectory, b: Trajectory) -> bool:
    """Whether two runs went elsewhere, or show another average."""
    moved = not np.array_equal(a.x, b.x)
    return moved or not np.array_equal(a.average, b.average)


@pytest.mark.slow
@together(("name", "parameter", "value", "context"), CASES)
def test_every_parameter_of_a_named_method_matters(
    name: str, parameter: str, value: Any, context: dict[str, Any]
) -> None:
    before = context.get(parameter, METHODS[name].defaults[parameter])
    assert before != value
    assert differ(run(name, **context), run(name, **(context | {parameter: value})))


def test_the_table_is_of_parameters_that_there_are() -> None:
    assert [name for name, table in ALTERNATIVES.items() if not set(table) <= set(METHODS[name].defaults)] == []


@together("name", sorted(METHODS))
def test_a_parameter_at_its_default_changes_nothing(name: str) -> None:
    assert np.array_equal(run(name).x, run(name, **METHODS[name].defaults).x)


def flow(**parameters: Any) -> Method:
    return Method(GradientFlow(), Heun(), PI(**{"rtol": 1e-2, "atol": 1e-2} | parameters))


def barzilai_borwein(**parameters: Any) -> Method:
    return Method(GradientFlow(), ForwardEuler(), BarzilaiBorwein(**parameters))


def implicit(**parameters: Any) -> Method:
    return Method(GradientFlow(), BackwardEuler(**parameters), Fixed(0.1))


OF_PARTS: list[tuple[Any, str, Any]] = [
    (flow, "h0", 1e-5),
    (flow, "h_max", 1e-4),
    (flow, "safety", 0.5),
    (flow, "factor_min", 0.8),
    (flow, "factor_max", 1.1),
    (barzilai_borwein, "h_min", 0.1),
    (barzilai_borwein, "h_max", 1e-3),
    (implicit, "tolerance", 1e-1),
    (implicit, "max_iterations", 2),
]
"""Parameters of parts that no named method passes on, and that matter in a certain method only."""


@together(("make", "parameter", "value"), OF_PARTS)
def test_every_parameter_of_a_part_matters(make: Any, parameter: str, value: Any) -> None:
    assert differ(run(make()), run(make(**{parameter: value})))


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


def test_every_parameter_of_every_other_part_matters() -> None:
    there_is = {(part, name) for part in PARTS for name in build(part).parameters}
    tables = covered()
    others = {(part, name) for part, name in there_is if (part.name, name) not in tables}
    for part, name in others:
        here = build(part)
        there = build(part, **{name: another(partial(build, part), part, name, here.parameters[name])})
        assert differ(run(in_company(here)), run(in_company(there))), (part, name)
    assert (HeavyBall, "friction") in others


def covered() -> set[tuple[str, str]]:
    """What differs between two methods of the tables above: (part, parameter)."""
    changed: set[tuple[str, str]] = set()

    def compare(one: Method, other: Method) -> None:
        there = {part.name: part.parameters for part in other.parts}
        for part in one.parts:
            for parameter, value in part.parameters.items():
                if part.name in there and there[part.name][parameter] != value:
                    changed.add((part.name, parameter))
        for part in other.parts:  # a transform that comes in with its parameter
            if part.name not in {here.name for here in one.parts}:
                changed.update((part.name, parameter) for parameter in part.parameters)

    for name, parameters in SETTINGS.items():
        for parameter, (value, context) in parameters.items():
            compare(method(name, **context), method(name, **(context | {parameter: value})))
    for make, parameter, value in OF_PARTS:
        compare(make(), make(**{parameter: value}))
    return changed
