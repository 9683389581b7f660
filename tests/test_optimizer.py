"""FlowOptimizer keeps the contract of torch.optim: calls, groups, schedulers, late and missing gradients, hooks.

Where torch has the same method, the same loop with torch's optimizer says what is right; for the others
flowopt.minimize does, which drives the same kernel on functions.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from catalogue import NAMES, same
from networks import (
    ADAPTIVE,
    CALLS_CLOSURE,
    GRADIENT_AT_HAND,
    GRADIENT_ONLY,
    NEEDS_LOSS,
    SECOND_ORDER,
    assert_same,
    build,
    closure,
    loss_of,
    network,
    train,
    vector,
)
from together import together
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Optimizer, lr_scheduler

import flowopt
from flowopt.core.errors import BadValue, UnknownName
from flowopt.networks._optimizer import FlowOptimizer

TORCH = {"gd": {}, "gdm": {"momentum": 0.9}}
"""Our methods that torch has too, and what makes SGD one of them."""
COUNTING = [name for name in ADAPTIVE if name not in ("adagrad", "rmsprop")]
"""Methods that count the steps of each parameter."""
QUIET = {"ecdsep": {"nu": 0.0}, "ecdsep_strang": {"nu": 0.0}}
"""Methods without their noise, which a function and a network draw from different streams."""


def twins(name: str, **given: Any) -> tuple[nn.Sequential, FlowOptimizer, nn.Sequential, SGD]:
    """The same network twice, under our method and under torch's; two groups of different lr and weight decay."""
    ours, theirs = network(), network()
    optimizer = build(groups(ours), name, **{"lr": 0.05, "weight_decay": 1e-3} | given)
    return ours, optimizer, theirs, SGD(groups(theirs), **{"lr": 0.05, "weight_decay": 1e-3} | TORCH[name] | given)


def groups(model: nn.Sequential) -> list[dict[str, Any]]:
    return [
        {"params": model[0].parameters(), "lr": 0.1, "weight_decay": 1e-2},
        {"params": model[2].parameters()},
    ]


def pairs(*optimizers: Any) -> list[tuple[Any, Any]]:
    """(model, optimizer) from a flat list of both."""
    return list(zip(optimizers[::2], optimizers[1::2], strict=True))


# --- calls


@together("name", GRADIENT_AT_HAND)
def test_the_gradient_at_hand_is_as_good_as_a_closure(name: str) -> None:
    models = [network() for _ in range(3)]
    called, told, bare = (build(model.parameters(), name) for model in models)
    for number in range(8):
        called.step(closure(models[0], called, number))
        told.step(loss=closure(models[1], told, number)())
        if name in GRADIENT_ONLY:
            closure(models[2], bare, number)()
            bare.step()
    assert not torch.equal(vector(models[0]), vector(network()))
    assert_same(models[0], models[1])
    if name in GRADIENT_ONLY:
        assert_same(models[0], models[2])


@together("name", NAMES)
def test_step_returns_the_loss(name: str) -> None:
    model = network()
    optimizer = build(model.parameters(), name)
    seen = []
    compute = closure(model, optimizer)

    def remembered() -> Tensor:
        seen.append(compute())
        return seen[-1]

    assert optimizer.step(remembered) is seen[0]
    if name in GRADIENT_AT_HAND:
        loss = compute()
        assert optimizer.step(loss=loss) is loss
    if name in GRADIENT_ONLY:
        assert optimizer.step() is None


LOSS, CLOSURE = r"needs the loss: call step\(loss=loss\)", r"call step\(closure\)"
WRONG_CALLS: list[tuple[str, Callable[[nn.Module, FlowOptimizer], dict[str, Any]], str]] = [
    *((name, lambda model, optimizer: {}, LOSS) for name in NEEDS_LOSS),
    *((name, lambda model, optimizer: {}, CLOSURE) for name in CALLS_CLOSURE),
    *((name, lambda model, optimizer: {"loss": loss_of(model)}, CLOSURE) for name in CALLS_CLOSURE),
    *((name, lambda model, optimizer: {"closure": lambda: None}, "the closure returned None") for name in NEEDS_LOSS),
    ("gd", lambda model, optimizer: {"closure": lambda: loss_of(model), "loss": loss_of(model)}, "not both"),
    ("gd", lambda model, optimizer: {"closure": loss_of(model)}, "is not a function"),
    ("gd", lambda model, optimizer: {"loss": torch.ones(2)}, r"one number, not a tensor of shape \(2,\)"),
    ("elra", lambda model, optimizer: {"closure": lambda: torch.ones(2, 1)}, r"one number.* \(2, 1\)"),
    ("flow", lambda model, optimizer: {"closure": lambda: torch.ones(2, 1)}, r"one number.* \(2, 1\)"),
]


@together(("name", "wrong", "message"), WRONG_CALLS)
def test_a_wrong_call_says_so_and_changes_nothing(name: str, wrong: Any, message: str) -> None:
    (model, optimizer), (spared, other) = [(m := network(), build(m.parameters(), name)) for _ in range(2)]
    for number in range(4):
        closure(model, optimizer, number)()
        with pytest.raises(BadValue, match=message):
            optimizer.step(**wrong(model, optimizer))
        train(model, optimizer, 1, number)
        train(spared, other, 1, number)
        assert_same(model, spared)


# --- torch's own methods, bit for bit

SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda optimizer: None,
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 30, 0.7),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 90),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, [0.2, 0.1], 200, cycle_momentum=False),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.7, patience=0, threshold=0.0, min_lr=0.03
    ),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer, 0.1, 1, 20), lr_scheduler.ExponentialLR(optimizer, 0.98)], [20]
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # SequentialLR's own
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize(
    ("scheduler", "maximize"), [*((scheduler, False) for scheduler in SCHEDULERS), ("none", True), ("StepLR", True)]
)
def test_200_steps_are_sgd_bit_for_bit(scheduler: str, name: str, maximize: bool) -> None:
    """With two groups, weight decay, a scheduler, gradients of two batches accumulated and then clipped."""
    everything = pairs(*twins(name, maximize=maximize))
    schedules = [SCHEDULERS[scheduler](optimizer) for _, optimizer in everything]
    sign, rates = (-1 if maximize else 1), set()
    for number in range(200):
        for (model, optimizer), schedule in zip(everything, schedules, strict=True):
            optimizer.zero_grad()
            for part in (2 * number, 2 * number + 1):
                loss = sign * loss_of(model, part) / 2
                loss.backward()
            clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
                schedule.step(sign * loss.item())
            elif schedule is not None:
                schedule.step()
        (ours, optimizer), (theirs, sgd) = everything
        rates.add(optimizer.param_groups[0]["lr"])
        assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in sgd.param_groups]
        assert_same(ours, theirs)
    assert loss_of(ours).item() < 0.1 * loss_of(network()).item()
    assert (len(rates) > 1) == (scheduler != "none")


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("set_to_none", [True, False])
def test_parameters_without_a_gradient_are_left_alone_as_by_sgd(name: str, set_to_none: bool) -> None:
    """Some come late, some stay away for a while, one never has a gradient; their momenta wait."""
    everything = pairs(*twins(name))
    for number in range(24):
        for model, optimizer in everything:
            optimizer.zero_grad(set_to_none)
            loss_of(model, number).backward()
            absent = [model[0].bias] if number < 5 or 9 < number < 12 else []
            for parameter in (*absent, model[2].bias, *(model[0].parameters() if number % 7 == 3 else ())):
                parameter.grad = None
            optimizer.step()
        assert_same(everything[0][0], everything[1][0])
    moved, start = dict(everything[0][0].named_parameters()), dict(network().named_parameters())
    assert [torch.equal(moved[key], start[key]) for key in start] == [False, False, False, True]


@pytest.mark.parametrize("name", TORCH)
def test_zeroed_gradients_go_on_like_those_of_sgd(name: str) -> None:
    everything = pairs(*twins(name))
    for number in range(12):
        for model, optimizer in everything:
            optimizer.zero_grad(set_to_none=False)
            if number % 3:
                loss_of(model, number).backward()
            optimizer.step()
        assert_same(everything[0][0], everything[1][0])


@pytest.mark.parametrize("name", TORCH)
def test_a_group_added_on_the_way_is_as_in_sgd(name: str) -> None:
    ours, theirs = network(), network()
    everything = [
        (ours, build(ours[0].parameters(), name, lr=0.1)),
        (theirs, SGD(theirs[0].parameters(), 0.1, **TORCH[name])),
    ]
    for number in range(20):
        for model, optimizer in everything:
            if number == 7:
                optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.03, "weight_decay": 0.1})
            model.zero_grad()
            loss_of(model, number).backward()
            optimizer.step()
        assert_same(ours, theirs)
    assert not torch.equal(ours[2].bias, network()[2].bias)


class Tied(nn.Module):
    """Encoder and decoder share a matrix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.code, self.decode = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
        self.decode.weight = self.code.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(torch.tanh(self.code(x)))[:, :1]


@pytest.mark.parametrize("name", TORCH)
def test_tied_weights_move_once_as_in_sgd(name: str) -> None:
    ours, theirs = Tied(), Tied()
    train(ours, build(ours.parameters(), name, lr=0.1), 20)
    train(theirs, SGD(theirs.parameters(), 0.1, **TORCH[name]), 20)
    assert_same(ours, theirs)
    assert ours.code.weight is ours.decode.weight


@pytest.mark.parametrize("name", TORCH)
def test_a_learning_rate_may_be_a_tensor(name: str) -> None:
    everything = pairs(*twins(name, lr=torch.tensor(0.05, dtype=torch.float64)))
    for number in range(10):
        for model, optimizer in everything:
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(0.1 / (1 + number), dtype=torch.float64)
            train(model, optimizer, 1, number)
        assert_same(everything[0][0], everything[1][0])


# --- no second implementation: a vector under FlowOptimizer is the run of flowopt.minimize


class Point(nn.Module):
    """A point of the plane, in one parameter or in one for each coordinate."""

    def __init__(self, x: list[float], split: bool) -> None:
        super().__init__()
        start = torch.tensor(x, dtype=torch.float64)
        self.x = nn.ParameterList(start.split(1) if split else [start])


def valley(q: Tensor) -> Tensor:
    """Rosenbrock's, less steep and above 1, ``(..., 2)``."""
    x, y = q.unbind(-1)
    return 5 * (y - x**2) ** 2 + (1 - x) ** 2 + torch.cosh(0.3 * x + y)


@together("split", [False, True])
@together("name", NAMES)
def test_a_vector_is_the_run_of_minimize(name: str, split: bool) -> None:
    """Where the old position is worked out anew it may differ in its last bits; all else is equal bit for bit."""
    start = [0.5, 0.4]
    run = flowopt.minimize(valley, start, name, max_steps=10, gtol=0.0, **QUIET.get(name, {}))
    steps = int(run.steps[0])
    assert steps == 10 or run.converged[0], run.message
    model = Point(start, split)
    optimizer = FlowOptimizer(model.parameters(), name, **QUIET.get(name, {}))
    rejects, looks_back = optimizer.method.rejects, optimizer.method.looks_back
    near = {"rtol": 1e-7, "atol": 1e-9} if looks_back else {"rtol": 0.0, "atol": 0.0}
    for k in range(steps + 1):
        if not rejects:  # the point that the step judges is where it arrived
            torch.testing.assert_close(vector(model), torch.from_numpy(run.x[k, 0]), **near)
        optimizer.step(closure(model, optimizer, loss=lambda model, _: valley(torch.cat([*model.parameters()]))))
        with optimizer.accepted():
            if rejects:
                torch.testing.assert_close(vector(model), torch.from_numpy(run.x[k, 0]), **near)
        last = optimizer.last_step
        torch.testing.assert_close(last.h, float(run.h[k, 0]), equal_nan=True, **near)
        energy = run.energy if optimizer.method.system.cheap_energy else run.f * torch.nan
        torch.testing.assert_close(last.energy, float(energy[k, 0]), **near, equal_nan=True)
        if looks_back:
            torch.testing.assert_close(last.error, float(run.error[k, 0]), equal_nan=True, rtol=1e-6, atol=1e-9)
        assert last.accepted == run.accepted[k, 0]
    assert optimizer.last_step.steps == steps + 1
    assert optimizer.last_step.retraces == run.rejected[0]


# --- groups


def test_what_no_optimizer_takes() -> None:
    model = network()
    with pytest.raises(ValueError, match="empty parameter list"):
        FlowOptimizer([], "gd")
    with pytest.raises(TypeError, match="iterable"):
        FlowOptimizer(model[0].weight, "gd")
    with pytest.raises(ValueError, match="more than one parameter group"):
        FlowOptimizer([{"params": model[0].parameters()}, {"params": [model[0].weight]}], "gd")
    with pytest.raises(UnknownName, match="did you mean 'ecdsep'"):
        FlowOptimizer(model.parameters(), "ecdsp")
    with pytest.raises(UnknownName, match="there is no parameter of gdm named 'momentum'"):
        FlowOptimizer(model.parameters(), "gdm", momentum=0.9)
    with pytest.raises(BadValue, match="maximize = 'yes'; choose one of True, False"):
        FlowOptimizer(model.parameters(), "gd", maximize="yes")


@together(
    ("option", "message"),
    [
        ({"eta": 0.1}, "eta belongs to the whole flow"),
        ({"momentum": 0.9}, "momentum"),
        ({"maximize": True}, "maximize belongs to the whole flow"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1 is outside its range"),
        ({"lr": -0.1}, "lr = -0.1 is outside its range"),
        ({"lr": "fast"}, "lr = 'fast' is not a number"),
    ],
)
def test_a_group_with_a_wrong_option_is_refused_and_not_added(option: dict[str, Any], message: str) -> None:
    model = network()
    with pytest.raises(BadValue, match=message):
        FlowOptimizer([{"params": model.parameters(), **option}], "ecco")
    optimizer = FlowOptimizer(model[0].parameters(), "ecco")
    with pytest.raises(BadValue, match=message):
        optimizer.add_param_group({"params": model[2].parameters(), **option})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": model[2].parameters(), "name": "head", "initial_lr": 1.0})


def test_the_learning_rate_is_the_step_size_where_the_method_has_one_else_a_factor() -> None:
    model = network()
    rates = {name: FlowOptimizer(model.parameters(), name).param_groups[0]["lr"] for name in ("gd", "tlr", "ecdsep")}
    assert rates == {"gd": 1e-3, "tlr": 1e-3, "ecdsep": 1.0}
    assert FlowOptimizer(model.parameters(), "ecdsep", lr=0.5).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("name", ["ecdsep", "ecdsep_strang", "bbi", "gd", "gdm"])
def test_lr_scales_the_time_of_a_fixed_step(name: str) -> None:
    step = "lr" if name in TORCH else "dt"
    whole, half = network(), network()
    slow = build(half.parameters(), name, **QUIET.get(name, {}), **{step: 0.1})
    slow.param_groups[0]["lr"] *= 0.5
    train(whole, build(whole.parameters(), name, **QUIET.get(name, {}), **{step: 0.05}), 30)
    train(half, slow, 30)
    torch.testing.assert_close(vector(half), vector(whole), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["gd", "gdm", "armijo", "sls"])
def test_lr_of_a_group_is_a_change_of_units(name: str) -> None:
    """q = sqrt(lr) u turns the flow u' = -grad_u f into q' = -lr grad_q f; these methods do not feel the units."""
    scales = (2.0, 0.25)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()
            with torch.no_grad():
                for layer, scale in zip((0, 2), scales, strict=True):
                    for parameter in self.inner[layer].parameters():
                        parameter.div_(scale)

        def true(self) -> dict[str, Tensor]:
            factors = {"0": scales[0], "2": scales[1]}
            return {key: factors[key[0]] * p for key, p in self.inner.named_parameters()}

        def forward(self, x: Tensor) -> Tensor:
            return torch.func.functional_call(self.inner, self.true(), (x,))

    plain, scaled = network(), Scaled()
    unit = 0.05 if name in TORCH else 1.0
    given = {"lr": unit} if name in TORCH else {}
    paced = [{"params": plain[k].parameters(), "lr": unit * s**2} for k, s in zip((0, 2), scales, strict=True)]
    train(plain, build(paced, name, **given), 20)
    train(scaled, build(scaled.parameters(), name, **given), 20)
    for key, parameter in plain.named_parameters():
        torch.testing.assert_close(parameter.data, scaled.true()[key].data, rtol=1e-9, atol=1e-10)


@together("name", NAMES)
def test_a_group_whose_lr_is_zero_rests_and_then_goes_on(name: str) -> None:
    """As warm-up starts and cosine annealing ends."""
    model = network()
    optimizer = build([{"params": layer.parameters()} for layer in (model[0], model[2])], name)
    rate = optimizer.param_groups[0]["lr"]
    optimizer.param_groups[0]["lr"] = 0.0
    resting = vector(model[0])
    start = vector(model[2])
    for _ in range(4):
        optimizer.step(closure(model, optimizer))
    assert torch.equal(vector(model[0]), resting)
    assert not torch.equal(vector(model[2]), start)
    optimizer.param_groups[0]["lr"] = rate
    for _ in range(4):
        optimizer.step(closure(model, optimizer))
    assert not torch.equal(vector(model[0]), resting)
    assert torch.isfinite(vector(model)).all()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step(closure(model, optimizer))
    everything = vector(model)
    optimizer.step(closure(model, optimizer))
    assert torch.equal(vector(model), everything) == (name != "madgrad")  # whose momentum does not ask for the rate


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@together("name", [name for name in NAMES if flowopt.method(name).looks_back])
def test_a_method_that_looks_back_waits_while_every_lr_is_zero(name: str) -> None:
    """Else a move of nothing would count as one: warm-up that starts from 0 would spoil the step size for good."""
    (model, optimizer), (spared, other) = [(m := network(), build(m.parameters(), name)) for _ in range(2)]
    rate = optimizer.param_groups[0]["lr"]
    for number in range(8):
        resting = number in (0, 1, 5)
        set_rate(optimizer, 0.0 if resting else rate)
        at = vector(model)
        train(model, optimizer, 1, number)
        if resting:
            assert torch.equal(vector(model), at)
            assert (optimizer.last_step.held, optimizer.last_step.finite) == (True, True)
        else:
            train(spared, other, 1, number)
        assert_same(model, spared)
    assert optimizer.last_step.steps == 8
    assert optimizer.last_step.retraces == other.last_step.retraces


@pytest.mark.parametrize("name", TORCH)
def test_momentum_gathers_at_a_learning_rate_of_zero_as_in_sgd(name: str) -> None:
    everything = pairs(*twins(name))
    for number in range(9):
        for model, optimizer in everything:
            set_rate(optimizer, 0.0 if number in (0, 1, 5) else 0.1)
            train(model, optimizer, 1, number)
        assert_same(everything[0][0], everything[1][0])


@together("name", [name for name in NAMES if name not in (*SECOND_ORDER, "flow", *COUNTING)])
def test_late_parameters_were_there_all_along_with_a_gradient_of_zero(name: str) -> None:
    """Of the same group, and of one that is added later. (The error norm of flow is a mean over all that are there.)

    Averages that are corrected for their start begin with their parameter, as in torch: see test_optimizer_adaptive.
    """
    late, added, early = network(), network(), network()
    given = QUIET.get(name, {})
    everything = {
        "late": (late, build(late.parameters(), name, **given)),
        "added": (added, build(added[0].parameters(), name, **given)),
        "early": (early, build(early.parameters(), name, **given)),
    }

    def with_zeros(model: nn.Module, optimizer: Optimizer, number: int) -> Callable[[], Tensor]:
        compute = closure(model, optimizer, number)

        def zeros_where_none() -> Tensor:
            loss = compute()
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            return loss

        return zeros_where_none

    for number in range(10):
        for kind, (model, optimizer) in everything.items():
            model[2].requires_grad_(number >= 4)
            if number == 4 and kind == "added":
                optimizer.add_param_group({"params": model[2].parameters()})
            optimizer.step((with_zeros if kind == "early" else closure)(model, optimizer, number))
        if number < 4:
            assert torch.equal(vector(early[2]), vector(network()[2]))
        assert_same(late, early)
        assert_same(added, early)
    assert not torch.equal(vector(early[2]), vector(network()[2]))


@pytest.mark.parametrize("name", [*SECOND_ORDER, "flow"])
def test_late_parameters_join_methods_that_look_around(name: str) -> None:
    model = network()
    optimizer = build(model.parameters(), name)
    for number in range(8):
        model[2].requires_grad_(number >= 4)
        optimizer.step(closure(model, optimizer))
        assert torch.equal(vector(model[2]), vector(network()[2])) == (number < 4)
    with optimizer.accepted():
        assert loss_of(model).item() < loss_of(network()).item()


def test_a_direction_without_curvature_is_no_missing_graph() -> None:
    """The gradient of a linear term is a constant, which autograd cannot differentiate again: its Hessian is 0."""
    model = network()
    model.register_parameter("slope", nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    optimizer = FlowOptimizer(model.parameters(), "newton", dt=0.5, damping=2.0)
    for number in range(3):
        optimizer.step(
            closure(model, optimizer, number, lambda model, number: loss_of(model, number) + 0.4 * model.slope)
        )
    assert model.slope.item() == pytest.approx(-3 * 0.5 * 0.4 / 2.0, rel=1e-12)


def test_curvature_of_parameters_that_stay_away() -> None:
    model = network()
    optimizer = FlowOptimizer(model.parameters(), "ecco", scaling="curvature", eta=0.05)
    train(model, optimizer, 3)
    at = vector(model[2])
    model[2].requires_grad_(False)
    optimizer.zero_grad()
    before = loss_of(model).item()
    for _ in range(10):
        optimizer.step(closure(model, optimizer))
    torch.testing.assert_close(vector(model[2]), at, rtol=0.0, atol=0.0)
    assert loss_of(model).item() < before


@together("name", NAMES)
def test_frozen_parameters_stay_and_the_rest_moves(name: str) -> None:
    model, alone = network(), network()
    for each in (model, alone):
        each[0].requires_grad_(False)
    optimizer, other = build(model.parameters(), name), build(alone[2].parameters(), name)
    train(model, optimizer, 6)
    train(alone, other, 6)
    assert torch.equal(vector(model[0]), vector(network()[0]))
    assert not torch.equal(vector(model[2]), vector(network()[2]))
    assert_same(model, alone)
    assert not any(parameter in optimizer.state for parameter in model[0].parameters())


def test_a_step_without_any_gradient_does_nothing() -> None:
    model = network()
    optimizer = build(model.parameters(), "gd")
    optimizer.step()
    assert_same(model, network())
    with pytest.raises(BadValue, match="no last step yet"):
        _ = optimizer.last_step


@together("name", NAMES)
def test_empty_and_single_numbers_are_parameters_too(name: str) -> None:
    """nn.Linear(3, 0) has a weight without elements; a scale is often a tensor of no dimensions."""
    model = nn.Module()
    model.scale, model.none = nn.Parameter(torch.tensor(2.0).double()), nn.Parameter(torch.empty(0, 3).double())
    optimizer = build(model.parameters(), name)
    for _ in range(5):
        optimizer.step(closure(model, optimizer, loss=lambda m, _: (m.scale - 1) ** 2 + m.none.sum() + 0.1))
    assert model.scale.shape == ()
    assert model.scale.item() != 2.0
    assert torch.isfinite(model.scale)


# --- weight decay, maximize, gradients


@together("name", [name for name in NAMES if name != "adamw"])  # whose decay is decoupled
def test_weight_decay_is_a_term_of_the_objective(name: str) -> None:
    weight = 0.1

    def regularised(model: nn.Module, number: int | None) -> Tensor:
        return loss_of(model, number) + 0.5 * weight * sum((p**2).sum() for p in model.parameters())

    decayed, explicit = network(), network()
    params = [{"params": decayed.parameters(), "weight_decay": weight}]
    first, second = (
        build(params, name, **QUIET.get(name, {})),
        build(explicit.parameters(), name, **QUIET.get(name, {})),
    )
    assert build(decayed.parameters(), name, weight_decay=weight).param_groups[0]["weight_decay"] == weight
    for number in range(10):
        first.step(closure(decayed, first, number))
        second.step(closure(explicit, second, number, regularised))
        torch.testing.assert_close(vector(decayed), vector(explicit), rtol=1e-9, atol=1e-10)
        assert first.last_step.grad_norm == pytest.approx(second.last_step.grad_norm)


@together("name", NAMES)
def test_maximize_goes_up_where_the_negative_goes_down(name: str) -> None:
    up, down = network(), network()
    first, second = build(up.parameters(), name, maximize=True), build(down.parameters(), name)
    for number in range(8):
        first.step(closure(up, first, number, lambda model, number: -loss_of(model, number)))
        train(down, second, 1, number)
        assert_same(up, down)
        assert first.last_step.loss == -second.last_step.loss
        assert first.last_step.h == pytest.approx(second.last_step.h, nan_ok=True)


@together("maximize", [False, True])
@together("name", NAMES)
def test_gradients_are_never_written_to(name: str, maximize: bool) -> None:
    """Weight decay and all: they are what the last backward pass left, in the tensors where it left them."""
    model = network()
    optimizer = build([{"params": model.parameters(), "weight_decay": 0.1}], name, maximize=maximize)
    sign = -1 if maximize else 1
    compute = closure(model, optimizer, 0, lambda model, number: sign * loss_of(model, number))
    left: list[tuple[Tensor, Tensor]] = []

    def remembered() -> Tensor:
        loss = compute()
        left[:] = [(p.grad, p.grad.detach().clone()) for p in model.parameters()]
        return loss

    for _ in range(4):
        optimizer.step(remembered)
        for parameter, (grad, copy) in zip(model.parameters(), left, strict=True):
            assert parameter.grad is grad
            assert same(grad.detach(), copy)


# --- hooks


def test_hooks_run_as_in_torch() -> None:
    everything = pairs(*twins("gdm"))
    calls: dict[int, list[Any]] = {}
    for model, optimizer in everything:
        seen = calls[id(optimizer)] = []
        before, after = vector(model), []
        optimizer.register_step_pre_hook(lambda o, args, kwargs, seen=seen: seen.append(("pre", len(args), [*kwargs])))
        optimizer.register_step_post_hook(
            lambda o, args, kwargs, seen=seen, model=model: seen.append(("post", vector(model).tolist()))
        )
        removed = optimizer.register_step_post_hook(lambda o, args, kwargs, after=after: after.append(1))
        train(model, optimizer, 2)
        removed.remove()
        train(model, optimizer, 1)
        assert len(after) == 2
        assert not torch.equal(before, vector(model))
    ours, theirs = calls.values()
    assert ours == theirs
    assert [kind for kind, *_ in ours] == ["pre", "post"] * 3


def test_a_pre_hook_may_replace_the_arguments() -> None:
    model, plain = network(), network()
    optimizer, other = build(model.parameters(), "elra"), build(plain.parameters(), "elra")
    losses: list[Tensor] = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o,), {"loss": losses[-1]}))
    for number in range(5):
        losses.append(closure(model, optimizer, number)())
        optimizer.step()
        train(plain, other, 1, number)
    assert_same(model, plain)
