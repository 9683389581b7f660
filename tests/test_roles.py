"""Roles: what a parameter is, is declared with it."""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from catalogue import ADAPTIVE, PARTS, accepts_numbers, build
from torch import Tensor, nn

import flowopt
from flowopt import FlowOptimizer, Method
from flowopt.cli._networks import with_epoch_length
from flowopt.controllers import Fixed
from flowopt.core import roles as declared
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.roles import (
    Average,
    EpochLength,
    Epsilon,
    LearningRate,
    LowerBound,
    MomentumFactor,
    Range,
    Role,
    Seed,
    StepSize,
    WeightDecay,
    roles,
    roles_of_parts,
)
from flowopt.integrators import ForwardEuler
from flowopt.methods import METHODS
from flowopt.methods._naming import named
from flowopt.systems import GradientFlow
from flowopt.training import datasets, models

BUILDERS = {name: entry.build for name, entry in METHODS.items()}


def test_every_method_declares_one_step_size_with_its_default_inside_and_takes_a_value_for_each_row():
    for name, entry in METHODS.items():
        ((parameter, step),) = roles(entry.build, StepSize).items()
        assert step.low < entry.defaults[parameter] < step.high, name
        values = torch.tensor(step.grid(3), dtype=torch.float64)
        run = flowopt.minimize("himmelblau", [[0.0, 0.0]] * 3, name, 5, **{parameter: values})
        for row, value in enumerate(values.tolist()):
            alone = flowopt.minimize("himmelblau", None, name, 5, seed=row, **{parameter: value})
            np.testing.assert_array_equal(run.row(row).x, alone.x, err_msg=f"{name} {parameter}={value}")


def numbers_of(build: Callable[..., Any]) -> list[str]:
    """Parameters that are numbers: not a choice of words or a switch, which say themselves what they can be."""
    hints = typing.get_type_hints(build)
    kinds = {name: {hints[name], *typing.get_args(hints[name])} for name in inspect.signature(build).parameters}
    return [name for name, kind in kinds.items() if kind & {int, float}]


def test_every_number_of_every_method_and_part_has_a_role():
    owners: list[tuple[Any, list[str]]] = [(make, numbers_of(make)) for make in BUILDERS.values()]
    for part in PARTS:
        owners.append((part, [f.name for f in dataclasses.fields(part) if accepts_numbers(part, f.name)]))
    for owner, names in owners:
        given = [(name, role) for name, role in _declarations(owner) if isinstance(role, Role)]
        assert sorted(name for name, _ in given) == sorted(names), owner


def _declarations(owner: Any) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(owner, include_extras=True).items():
        yield from ((name, role) for role in getattr(hint, "__metadata__", ()))


def test_a_default_lies_in_its_range_or_is_none():
    for name, entry in METHODS.items():
        for parameter, role in roles(entry.build, Range).items():
            default = entry.defaults[parameter]
            off = default in (None, 0, math.inf) or (role.scale == "complement" and default == 1)
            assert off or role.low <= default <= role.high, f"{name}: {parameter}"


def test_both_ends_of_a_range_can_be_set_and_whole_numbers_are_whole():
    for name, entry in METHODS.items():
        hints = typing.get_type_hints(entry.build)
        for parameter, role in roles(entry.build, Range).items():
            for end in role.grid(2):
                entry.build(**{parameter: end})
            kinds = {hints[parameter], *typing.get_args(hints[parameter])}
            assert role.whole == (float not in kinds), f"{name}: {parameter}"


def test_a_part_has_the_roles_that_the_methods_give_its_parameters():
    """What a builder hands to a part under the same name is the same thing there, looked for in the same places."""
    seen = 0
    for name, make in BUILDERS.items():
        of_parts = {full.partition(".")[2]: role for full, role in roles_of_parts(make().parts, Role).items()}
        for parameter, role in roles(make, Role).items():
            if parameter not in of_parts or (isinstance(role, WeightDecay) and role.decoupled):
                continue  # a decoupled decay is another thing than the system's, whatever the name
            there, seen = of_parts[parameter], seen + 1
            assert isinstance(role, type(there)) or isinstance(there, type(role)), f"{name}: {parameter}"
            if isinstance(role, Range) and not isinstance(role, StepSize):
                assert (role.low, role.high, role.scale) == (there.low, there.high, there.scale), f"{name}: {parameter}"
    assert seen > 100


def test_the_lower_bounds_are_declared():
    declared = {(name, one) for name, build in BUILDERS.items() for one in roles(build, LowerBound)}
    ours = {("ecdsep", "F0"), ("ecdsep_strang", "F0"), ("bbi", "v0"), ("polyak", "f_star"), ("sps", "f_star")}
    assert declared >= ours
    assert not {name for name, _ in declared} & {"adam", "elra", "gd", "sls"}


def test_seeds_are_declared_wherever_there_is_one():
    drivers = [flowopt.minimize, flowopt.compare, FlowOptimizer.__init__, flowopt.Ensemble.__init__]
    makers = [flowopt.training.fit, models.build, datasets.load, datasets.DATASETS["digits"]]
    for function in (*drivers, *makers, flowopt.problems.quadratic, flowopt.problems.rotated):
        names = [name for name in inspect.signature(function).parameters if name.startswith("seed")]
        assert names == list(roles(function, Seed)) != [], function
    assert roles(datasets.DATASETS["mnist"], Seed) == {}
    with pytest.raises(UnknownName, match="seed"):
        datasets.load("mnist", seed=1)


def test_a_grid_is_even_in_powers_and_its_ends_are_the_range():
    grid = StepSize(1e-6, 10.0).grid(16)
    assert (grid[0], grid[-1]) == (1e-6, 10.0)
    np.testing.assert_allclose(np.diff(np.log10(grid)), 7 / 15, rtol=1e-9)
    assert StepSize(0.01, 1.0).grid(1) == pytest.approx((0.1,))


def test_other_scales_are_even_in_what_they_say():
    assert Range(0.1, 0.9, "linear").grid(5) == pytest.approx((0.1, 0.3, 0.5, 0.7, 0.9))
    assert Average(0.9, 0.99999).grid(5) == (0.9, 0.99, 0.999, 0.9999, 0.99999)
    assert Range(1, 1000).grid(4) == (1, 10, 100, 1000)
    assert [type(value) for value in Range(2, 9).grid(3)] == [int] * 3
    assert Range(1, 3).grid(20) == (1, 2, 3)
    assert Range(-1.0, 1.0, "linear").at(0.75) == 0.5


def test_a_range_that_is_not_one_is_refused():
    for low, high in ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (-1.0, 1.0)):
        with pytest.raises(BadValue, match="0 < low < high"):
            StepSize(low, high)
    with pytest.raises(BadValue, match=r"low < high < 1, not from 0\.5 to 1\.0"):
        Average(0.5, 1.0)
    with pytest.raises(BadValue, match="low < high"):
        Range(0.0, math.nan, "linear")
    with pytest.raises(BadValue, match="scale = 'cubic'; choose one of"):
        Range(0.0, 1.0, "cubic")


def test_an_object_that_can_be_called_has_roles_as_a_function_has():
    class Builder:
        def __call__(self, lr: Annotated[float, StepSize(0.1, 1.0)] = 0.5):
            return lr

    assert roles(Builder(), StepSize) == {"lr": StepSize(0.1, 1.0)}
    assert roles(partial(Builder.__call__, None), StepSize) == {"lr": StepSize(0.1, 1.0)}
    assert roles(lambda lr=1: lr, StepSize) == {}


def test_annotations_that_cannot_be_read_are_refused_with_the_reason():
    def build(lr: "Nowhere" = 1):  # noqa: F821
        return lr

    with pytest.raises(BadValue, match=r"annotations of .*build cannot be read: .*Nowhere"):
        roles(build, Role)


# --- drivers ask for the role, whatever it is called


@pytest.fixture
def odd() -> Iterator[str]:
    """A method whose parameters have names that nobody has heard of."""

    @dataclass(frozen=True)
    class Own(GradientFlow):
        """Gradient flow whose start needs a number above 0."""

        tiny: Annotated[float, Epsilon(1e-9, 1.0)] = 1e-3
        name = "own_flow"

    @named("nobody", "")
    def odd_names(
        pace: Annotated[float | Tensor, LearningRate(1e-3, 1.0)] = 0.1,
        pull: Annotated[float | Tensor, WeightDecay()] = 0.0,
        tiny: Annotated[float, Epsilon(1e-9, 1.0)] = 1e-3,
        round_: Annotated[int, EpochLength(unless="tiny")] = 7,
    ) -> Method:
        return Method(Own(pull, tiny), ForwardEuler(), Fixed(pace))

    yield "odd_names"
    del METHODS["odd_names"]


def test_a_network_finds_learning_rate_and_weight_decay_by_their_roles(odd: str):
    model = nn.Linear(2, 1)
    optimizer = FlowOptimizer(model.parameters(), odd, pace=0.25, pull=0.5)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.25, 0.5)
    assert optimizer.method.system.weight_decay == 0.0, "it would count twice"
    before = model.weight.detach().clone()
    loss = model(torch.ones(3, 2)).mean()
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(model.weight, before - 0.25 * (1 + 0.5 * before))
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    with pytest.raises(BadValue, match=r"odd_names: pace = -1\.0"):
        FlowOptimizer(model.parameters(), odd, pace=-1.0)


def test_what_must_be_positive_is_known_by_its_role(odd: str):
    for name in ("pace", "tiny"):
        with pytest.raises(BadValue, match=rf"odd_names: {name} = 0.0 is outside its range \(0, inf\)"):
            flowopt.method(odd, **{name: 0.0})
    assert flowopt.method(odd, pull=0.0).system.weight_decay == 0.0


def test_the_length_of_an_epoch_is_filled_in_unless_something_else_is_given(odd: str):
    assert with_epoch_length(odd, {}, 45) == {"round_": 45}
    assert with_epoch_length(odd, {"round_": 3}, 45) == {"round_": 3}
    assert with_epoch_length(odd, {"tiny": 0.1}, 45) == {"tiny": 0.1}
    assert with_epoch_length("tlr", {"K": 3}, 45) == {"K": 3}
    assert with_epoch_length("tlr", {}, 45) == {"batches_per_epoch": 45}
    assert with_epoch_length("elra", {}, 45) == {"epoch_length": 45}
    assert with_epoch_length("gd", {}, 45) == {}


def test_a_method_put_together_by_hand_knows_its_roles():
    method = Method(GradientFlow(0.1), ForwardEuler(), Fixed(0.5))
    assert list(roles_of_parts(method.parts, StepSize)) == ["fixed.h"]
    assert list(roles_of_parts(method.parts, WeightDecay)) == ["gradient_flow.weight_decay"]
    assert set(roles_of_parts(method.parts, Role)) == set(method.settings)
    adam = build(flowopt.systems.Adam, beta1=0.8)
    assert declared.values(adam, MomentumFactor) == {"beta1": 0.8}
    assert declared.values(flowopt.systems.RMSprop(), MomentumFactor) == {}


def test_a_system_says_its_rate_at_a_large_eps_as_it_computes_it():
    for name, kind in ADAPTIVE.items():
        system = build(kind, eps=0.5)
        said = eval(system.plain_formula, {"sqrt": math.sqrt, "alpha": 0.3} | system.parameters)
        assert system.plain_rate(0.3) == pytest.approx(said, rel=1e-14), name
    assert {kind.plain_formula for kind in ADAPTIVE.values()} > {"alpha / eps"}
