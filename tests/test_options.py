"""No dead options: every parameter of every named method, and of every part, changes where a run goes."""

from typing import Any

import numpy as np
import pytest
from catalogue import PARTS, build

from flowopt import Method, Trajectory, method, minimize
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.pi import PI
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.runge_kutta import Heun
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.papers import METHODS
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.transforms.iterate_averaging import IterateAveraging

Setting = tuple[Any, dict[str, Any]]
"""Another value of a parameter, and what else must be set for it to matter."""

EPOCH = {"retrace": "epoch", "epoch_length": 5, "alpha0": 0.1}
FALLING = {"F0": 5.0, "delta_energy": 1.0}
AVERAGES: dict[str, Setting] = {"lr": (2e-3, {}), "beta1": (0.8, {}), "beta2": (0.99, {}), "eps": (1e-4, {})}
ADAM: dict[str, Setting] = AVERAGES | {"weight_decay": (0.1, {})}
ALTERNATIVES: dict[str, dict[str, Setting]] = {
    "gd": {"lr": (2e-3, {})},
    "gdm": {"lr": (2e-3, {}), "beta": (0.5, {})},
    "nesterov": {"lr": (5e-4, {}), "r": (5.0, {})},
    "ecco": {
        "eta": (0.01, {}),
        "scaling": ("identity", {}),
        "difference": ("multiply", {}),
        "normalise": ("max", {}),
        "h_max": (1e-6, {}),
    },
    "ecco_stable": {"eta": (1e-3, {}), "safety": (0.25, {}), "h_max": (1e-3, {})},
    "ecdsep": {
        "exponent": (3.0, {}),
        "dt": (0.2, {}),
        "nu": (0.1, {}),
        "F0": (-1.0, {}),
        "delta_energy": (1.0, {}),
        "s": (0, {"delta_energy": 1.0}),
        "weight_decay": (0.1, {}),
        "conserve_energy": (False, {}),
        "tune_F0": (True, FALLING),
    },
    "ecdsep_strang": {
        "exponent": (3.0, {}),
        "dt": (0.2, {}),
        "nu": (0.1, {}),
        "F0": (-1.0, {}),
        "delta_energy": (1.0, {}),
        "s": (0, {"delta_energy": 1.0}),
        "weight_decay": (0.1, {}),
        "conserve_energy": (False, {}),
    },
    "bbi": {
        "dt": (5e-3, {}),
        "v0": (-1.0, {}),
        "added_energy": (1.0, {}),
        "conserve_energy": (False, {}),
        "fixed_bounces": (2, {"fixed_interval": 10}),
        "fixed_interval": (10, {"fixed_bounces": 2}),
        "progress_interval": (3, {}),
    },
    "elra": {
        "alpha0": (1e-4, {}),
        "kappa": ("auto", {}),
        "gamma_max": (2.0, {}),
        "retrace": (None, {"alpha0": 0.1}),
        "retrace_formula": ("printed", {"alpha0": 0.1}),
        "crop": (0.01, {}),
        "warmup": (0.1, {}),
        "shrink": (0.99, {}),
        "weight_decay": (0.1, {}),
        "epoch_length": (9, EPOCH),
        "average": (True, {}),
    },
    "tlr": {
        "lr": (1e-4, {}),
        "gamma": (0.1, {}),
        "K": (3, {}),
        "p": (0.5, {"batches_per_epoch": 20}),
        "batches_per_epoch": (30, {}),
        "schedule": ("lagged", {}),
        "guard": (False, {"K": 2}),
        "max_factor": (1.001, {}),
    },
    "tlr_gdm": {
        "lr": (1e-4, {}),
        "beta": (0.5, {}),
        "gamma": (0.1, {}),
        "K": (3, {}),
        "p": (0.5, {"batches_per_epoch": 20}),
        "batches_per_epoch": (30, {}),
        "schedule": ("lagged", {}),
        "guard": (False, {}),
        "max_factor": (1.001, {}),
    },
    "hypergradient": {"lr": (1e-4, {}), "hyper_lr": (1e-2, {}), "rule": ("additive", {"hyper_lr": 1e-9})},
    "armijo": {"h0": (0.3, {}), "c1": (0.5, {}), "backtrack": (0.3, {}), "grow": (1.5, {})},
    "polyak": {"f_star": (-1.0, {}), "scale": (0.5, {}), "h_max": (1e-3, {})},
    "step_decay": {"lr": (2e-3, {}), "factor": (0.5, {"every": 20}), "every": (20, {})},
    "sps": {
        "f_star": (-1.0, {}),
        "c": (1.0, {}),
        "epoch_growth": (1.5, {}),
        "batches_per_epoch": (10, {}),
        "h0": (1e-4, {}),
        "h_max": (1e-4, {}),
    },
    "sls": {
        "h0": (0.3, {}),
        "c1": (0.5, {}),
        "backtrack": (0.5, {}),
        "tries": (3, {}),
        "epoch_growth": (1.5, {}),
        "batches_per_epoch": (10, {}),
        "h_max": (1e-3, {}),
    },
    "bb": {"variant": (2, {}), "h0": (1e-4, {}), "grow": (2.0, {"h0": 1e-2})},
    "flow": {"rtol": (1e-3, {}), "atol": (1e-2, {})},
    "implicit": {"dt": (0.2, {})},
    "newton": {"dt": (0.5, {}), "damping": (1.0, {})},
    "adagrad": {"lr": (2e-3, {}), "eps": (1e-4, {}), "weight_decay": (0.1, {})},
    "rmsprop": {"lr": (2e-3, {}), "beta2": (0.9, {}), "eps": (1e-4, {}), "weight_decay": (0.1, {})},
    "adam": ADAM,
    "adamw": ADAM,
    "amsgrad": ADAM,
    "diffgrad": ADAM | {"form": ("library", {"eps": 1e-4})},
    "adamod": ADAM | {"beta3": (0.99, {}), "form": ("library", {})},
    "adabelief": ADAM,
    "madgrad": {
        "lr": (2e-3, {}),
        "beta1": (0.8, {}),
        "eps": (1e-4, {}),
        "weight_decay": (0.1, {}),
        "dual_averaging": (False, {}),
    },
    "eadam": ADAM,
    "adamomentum": ADAM,
    "tlr_adam": AVERAGES
    | {
        "gamma": (0.1, {}),
        "K": (3, {}),
        "p": (0.5, {"batches_per_epoch": 20}),
        "batches_per_epoch": (30, {}),
        "schedule": ("lagged", {}),
        "guard": (False, {}),
        "max_factor": (1.001, {}),
    },
    "hypergradient_adam": AVERAGES | {"hyper_lr": (1e-2, {}), "rule": ("multiplicative", {})},
}
CASES = [
    pytest.param(name, parameter, *setting, id=f"{name}-{parameter}")
    for name, parameters in ALTERNATIVES.items()
    for parameter, setting in parameters.items()
]


def run(chosen: Any, **parameters: Any) -> Trajectory:
    steps = 10 if chosen == "implicit" else 60
    return minimize("rosenbrock", [[-1.2, 1.0], [2.0, 2.0]], chosen, max_steps=steps, gtol=0.0, **parameters)


def differ(a: Trajectory, b: Trajectory) -> bool:
    """Whether two runs went elsewhere, or show another average."""
    moved = not np.array_equal(a.x, b.x)
    return moved or (a.average is None) != (b.average is None)


@pytest.mark.parametrize(("name", "parameter", "value", "context"), CASES)
def test_every_parameter_of_a_named_method_matters(
    name: str, parameter: str, value: Any, context: dict[str, Any]
) -> None:
    before = context.get(parameter, METHODS[name].defaults[parameter])
    assert before != value
    assert differ(run(name, **context), run(name, **(context | {parameter: value})))


def test_the_table_is_complete() -> None:
    assert {name: set(table) for name, table in ALTERNATIVES.items()} == {
        name: set(entry.defaults) for name, entry in METHODS.items()
    }


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_parameter_at_its_default_changes_nothing(name: str) -> None:
    assert np.array_equal(run(name).x, run(name, **METHODS[name].defaults).x)


def flow(**parameters: Any) -> Method:
    return Method(GradientFlow(), Heun(), PI(**{"rtol": 1e-2, "atol": 1e-2} | parameters))


def barzilai_borwein(**parameters: Any) -> Method:
    return Method(GradientFlow(), ForwardEuler(), BarzilaiBorwein(**parameters))


def implicit(**parameters: Any) -> Method:
    return Method(GradientFlow(), BackwardEuler(**parameters), Fixed(0.1))


def heavy_ball(**parameters: Any) -> Method:
    return Method(HeavyBall(**({"mass": 1e-3} | parameters)), SymplecticEuler(), Fixed(1e-3))


def averaged(**parameters: Any) -> Method:
    return Method(GradientFlow(), ForwardEuler(), Fixed(1e-3), (IterateAveraging(**parameters),))


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
    (heavy_ball, "mass", 2e-3),
    (heavy_ball, "friction", 0.1),
    (averaged, "window", 7),
]
"""Parameters of parts that no named method passes on."""


@pytest.mark.parametrize(("make", "parameter", "value"), OF_PARTS)
def test_every_parameter_of_a_part_matters(make: Any, parameter: str, value: Any) -> None:
    one, other = run(make()), run(make(**{parameter: value}))
    if parameter == "window":
        assert one.average is not None
        assert not np.array_equal(one.average, other.average)
    else:
        assert not np.array_equal(one.x, other.x)


def test_every_part_is_covered() -> None:
    """What differs between two methods of the tables above are the parameters of their parts."""
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

    for name, parameters in ALTERNATIVES.items():
        for parameter, (value, context) in parameters.items():
            compare(method(name, **context), method(name, **(context | {parameter: value})))
    for make, parameter, value in OF_PARTS:
        compare(make(), make(**{parameter: value}))
    assert changed == {(part.name, parameter) for part in PARTS for parameter in build(part).parameters}
