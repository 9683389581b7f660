"""A function, a network of one parameter or of several, an ensemble: every method moves alike, whatever its options.

The options are those of the methods' signatures, so a new method or a new option is tested as soon as it exists.
"""

import inspect
import itertools
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
import torch
from catalogue import NAMES
from numpy.typing import NDArray
from torch import Tensor, nn

from flowopt import Ensemble, FlowOptimizer, Method, minimize
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.growing import Growing
from flowopt.controllers.lte import LTE
from flowopt.controllers.orthogonal import OrthogonalGradient
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.methods import METHODS
from flowopt.networks.tasks import Task
from flowopt.systems.adam import Adam
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.testing import reproducible_length

STARTS = np.array([[1.0, 2.0, -0.5, 0.7], [-0.4, 0.9, 1.3, -1.1]])
PIECES = (1, 2, 1)
STEPS = 6
LIMITS: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-8}
"""Of the comparison; a run is compared as long as its replay agrees a hundred times better."""

NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("elra", "retrace"): {"epoch_length": 2},
    ("elra", "epoch_length"): {"retrace": "epoch"},
    ("bbi", "fixed_bounces"): {"fixed_interval": 2},
    ("bbi", "fixed_interval"): {"fixed_bounces": 2},
    ("ecdsep", "weight_decay"): {"delta_energy": 1.0},
    ("ecdsep_strang", "weight_decay"): {"delta_energy": 1.0},
    ("hypergradient", "rule"): {"hyper_lr": 1e-6},
    ("sls", "tries"): {"h0": 0.1},
}
"""What an option goes with: without it, it would be refused, change nothing, or go to where rounding decides."""
COARSE = {"flow": {"rtol": 1e-4, "atol": 1e-4}}
"""Tolerances at which an error estimate is more than rounding."""
RANDOM = ("nu", "fixed_bounces", "fixed_interval", "progress_interval")
"""Options that draw random numbers: of several parameters each has its own, so that these drivers cannot agree."""


def valley(q: Tensor) -> Tensor:
    """(3a - b)^2 + (b - c)^2 / 2 + (c - d)^4 / 10 + |q|^2 / 5 + 1, of points ``(..., 4)``: convex, and above F0."""
    a, b, c, d = q.unbind(-1)
    return (3 * a - b) ** 2 + 0.5 * (b - c) ** 2 + 0.1 * (c - d) ** 4 + 0.2 * (q * q).sum(-1) + 1


class Point(nn.Module):
    """The valley as a network whose weights are a point, in pieces."""

    def __init__(self, start: Any, pieces: tuple[int, ...]) -> None:
        super().__init__()
        parts = torch.as_tensor(start, dtype=torch.float64).split(pieces)
        self.pieces = nn.ParameterList(part.clone() for part in parts)

    @property
    def q(self) -> Tensor:
        return torch.cat(list(self.pieces))

    def forward(self, inputs: Tensor) -> Tensor:
        return valley(self.q).expand(len(inputs), 1)


def options(name: str) -> Iterator[dict[str, Any]]:
    """The defaults, then every option of the method by itself with every other value that it is tried with."""
    base = COARSE.get(name, {})
    yield base
    build = METHODS[name].build
    hints = typing.get_type_hints(build)
    for key, parameter in inspect.signature(build).parameters.items():
        for value in values(hints[key], parameter.default):
            yield base | {key: value} | NEEDED.get((name, key), {})


def values(hint: Any, default: Any) -> Iterator[Any]:
    """Values of a type other than the default: all there are, or one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = itertools.chain.from_iterable(values(one, default) for one in typing.get_args(hint))
    elif typing.get_origin(hint) is Literal:
        found = iter(typing.get_args(hint))
    elif hint is bool:
        found = iter((False, True))
    elif hint is type(None):
        found = iter((None,))
    elif hint is int:
        found = iter((2,))
    elif hint is float:
        found = iter((0.05 if default is None or default == 0 or math.isinf(default) else 0.9 * default,))
    else:
        found = iter(())  # a tensor: numbers of the rows
    return (value for value in found if value != default)


def on_a_function(name: str | Method, given: dict[str, Any], start: NDArray[Any]) -> NDArray[Any]:
    run = minimize(valley, start, name, max_steps=STEPS, gtol=0.0, seed=3, **given)
    return run.x


def on_a_network(
    name: str | Method, given: dict[str, Any], start: NDArray[Any], seed: int, pieces: tuple[int, ...]
) -> Any:
    """The accepted points of one optimizer: a trial that may be sent back shows one call later."""
    model = Point(start, pieces)
    optimizer = FlowOptimizer(model.parameters(), name, seed=seed, **given)
    path = [start]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = valley(model.q)
        loss.backward(create_graph=optimizer.method.needs_hvp)
        return loss

    if optimizer.method.rejects:
        optimizer.step(closure)
    for _ in range(STEPS):
        optimizer.step(closure)
        with optimizer.accepted():
            path.append(model.q.detach().numpy())
    return np.array(path)


def in_an_ensemble(name: str | Method, given: dict[str, Any], pieces: tuple[int, ...]) -> NDArray[Any]:
    """The accepted points of both rows, ``(STEPS + 1, 2, 4)``."""
    task = Task(lambda output, target: output.mean(), {})
    members = Ensemble(
        lambda seed: Point(STARTS[seed - 3], pieces), 2, name, given, seeds=[3, 4], task=task, dtype=torch.float64
    )
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    path = [STARTS]
    if members.method.rejects:
        members.step(nothing, nothing)
    for _ in range(STEPS):
        members.step(nothing, nothing)
        path.append(np.array([members.member(row).q.detach().numpy() for row in range(2)]))
    return np.array(path)


def networks(name: str | Method, given: dict[str, Any], pieces: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """The path of the drivers of networks, ``(STEPS + 1, 2, 4)``."""
    alone = [on_a_network(name, given, start, 3 + row, pieces) for row, start in enumerate(STARTS)]
    return {"optimizer": np.stack(alone, axis=1), "ensemble": in_an_ensemble(name, given, pieces)}


@pytest.mark.filterwarnings("ignore:Using backward")  # torch's, of create_graph
@pytest.mark.parametrize("name", NAMES)
def test_every_driver_moves_alike_with_every_option(name: str) -> None:
    for given in options(name):
        paths = {"one parameter": (given, (4,))}
        if not given.keys() & set(RANDOM):
            quiet = {"nu": 0.0} if "nu" in METHODS[name].defaults else {}
            paths["several parameters"] = (given | quiet, PIECES)
        for what, (parameters, pieces) in paths.items():
            run = partial(on_a_function, name, parameters)
            length = reproducible_length(run, STARTS, rtol=1e-8, atol=1e-10, at_least=4)
            expected = run(STARTS)[:length]
            for driver, path in networks(name, parameters, pieces).items():
                message = f"{driver} of {what}, {parameters}"
                np.testing.assert_allclose(path[:length], expected, err_msg=message, **LIMITS)


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("name", [name for name in NAMES if "weight_decay" not in METHODS[name].defaults])
def test_a_weight_decay_that_only_networks_know_is_the_term_of_the_objective(name: str) -> None:
    w, base = 0.3, COARSE.get(name, {})
    run = minimize(lambda q: valley(q) + w / 2 * (q * q).sum(-1), STARTS, name, max_steps=3, gtol=0.0, **base)
    for driver, path in networks(name, base | {"weight_decay": w}, PIECES).items():
        np.testing.assert_allclose(path[:4], run.x, err_msg=driver, **LIMITS)


DECAYING = [
    Method(GradientFlow(0.3), ForwardEuler(), Fixed(0.05)),
    Method(GradientFlow(0.3), ForwardEuler(), BarzilaiBorwein()),
    Method(GradientFlow(0.3), ForwardEuler(), OrthogonalGradient()),
    Method(GradientFlow(0.3), BacktrackingEuler(), Growing()),
    Method(GradientFlow(0.3), BackwardEuler(), Fixed(0.1)),
    Method(Adam(weight_decay=0.3, step=0.1), ForwardEuler(), LTE(0.01, 0.1)),
]


@pytest.mark.filterwarnings("ignore:Using backward")
def test_systems_with_a_weight_decay_move_alike_whatever_they_are_combined_with() -> None:
    """Also where the old field cannot be had again from the old gradient alone."""
    for combined in DECAYING:
        expected = on_a_function(combined, {}, STARTS)
        for pieces in ((4,), PIECES):
            for driver, path in networks(combined, {}, pieces).items():
                np.testing.assert_allclose(path, expected, err_msg=f"{driver}, {combined.name}", **LIMITS)
    for plain in DECAYING[:5]:
        without = replace(plain, system=GradientFlow(), name="")
        explicit = minimize(lambda q: valley(q) + 0.15 * (q * q).sum(-1), STARTS, without, max_steps=STEPS, gtol=0.0)
        np.testing.assert_allclose(on_a_function(plain, {}, STARTS), explicit.x, err_msg=plain.name, **LIMITS)


def test_ecdsep_starts_along_the_gradient_without_its_weight_decay() -> None:
    """F = (3x - y)^2 + 1 from (1, 2) with s = 0, w = 1, nu = 0, dt = 0.1, by Algorithm 1 (not (0.826923, 2))."""

    def bowl(x: Tensor) -> Tensor:
        return (3 * x[..., 0] - x[..., 1]) ** 2 + 1

    given = {"s": 0, "weight_decay": 1.0, "nu": 0.0, "dt": 0.1}
    assert minimize(bowl, [1.0, 2.0], "ecdsep", max_steps=1, **given).x[1, 0] == pytest.approx(
        [0.832608, 2.047937], abs=1e-6
    )
    parameter = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = FlowOptimizer([parameter], "ecdsep", **given)
    loss = bowl(parameter)
    loss.backward()
    optimizer.step(loss=loss)
    assert parameter.tolist() == pytest.approx([0.832608, 2.047937], abs=1e-6)
