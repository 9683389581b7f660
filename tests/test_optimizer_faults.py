"""FlowOptimizer where something is wrong or unsettled: numbers that are none, F0 passed, trials still to be judged.

And what last_step tells of it all, against numbers worked out beside it.
"""

import copy
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from catalogue import NAMES, same
from networks import (
    GRADIENT_AT_HAND,
    NEEDS_LOSS,
    REJECTING,
    assert_same,
    build,
    closure,
    loss_of,
    network,
    train,
    trained,
    vector,
)
from together import together
from torch import Tensor, nn
from torch.optim import lr_scheduler

import flowopt
from flowopt.controllers.fixed import Fixed
from flowopt.core.errors import BadValue
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.runge_kutta import RK4, Heun
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.systems.adam import Adam
from flowopt.systems.gradient_flow import GradientFlow

STEADFAST = [name for name in NAMES if name not in REJECTING]
"""Methods that cannot go back."""
BAD = {
    "NaN in gradients": (1.0, math.nan),
    "inf in gradients": (1.0, math.inf),
    "NaN loss": (math.nan, 1.0),
    "inf loss": (math.inf, 1.0),
}
"""Factors of the loss and of the gradients of 0.bias and 2.weight."""


def spoilt(model: nn.Module, optimizer: FlowOptimizer, number: int, kind: str) -> Callable[[], Tensor]:
    """A closure like that of `closure`, whose loss or whose gradients of two parameters are not finite."""
    compute = closure(model, optimizer, number)
    of_loss, of_grad = BAD[kind]

    def wrong() -> Tensor:
        loss = compute()
        for name, parameter in model.named_parameters():
            if name in ("0.bias", "2.weight") and of_grad != 1:
                parameter.grad = parameter.grad * of_grad
        return loss * of_loss

    return wrong


def started(name: str, steps: int, **given: Any) -> tuple[nn.Sequential, FlowOptimizer]:
    model = network()
    optimizer = build(model.named_parameters(), name, **given)
    train(model, optimizer, steps)
    return model, optimizer


# --- numbers that are none


@pytest.mark.slow
@together(
    ("name", "steps", "kind"),
    [
        *itertools.product(NAMES, [0], ["NaN in gradients", "inf loss"]),
        *itertools.product(STEADFAST, [3], BAD),
    ],
)
def test_nothing_moves_and_it_goes_on_as_if_nothing_had_been(name: str, steps: int, kind: str) -> None:
    """At the first step of every method, and later of those that cannot go back."""
    (model, optimizer), (spared, other) = started(name, steps), started(name, steps)
    at, rate = vector(model), optimizer.param_groups[0]["lr"]
    optimizer.param_groups[0]["lr"] = 0.5 * rate  # of a move that is not made
    with pytest.warns(UserWarning, match="flowopt: .*: nonfinite at loss .*not a finite number") as caught:
        optimizer.step(spoilt(model, optimizer, steps, kind))
    optimizer.param_groups[0]["lr"] = rate
    assert torch.equal(vector(model), at)
    assert [str(warning.filename) for warning in caught] == [__file__]
    in_gradient = "gradients" in kind
    assert ("first in 0.bias" in str(caught[0].message)) == in_gradient
    last = optimizer.last_step
    assert (last.bad_parameter == "0.bias") == in_gradient
    assert (last.held, last.accepted, last.finite, last.ended) == (True, False, False, "")
    assert (last.steps, last.nonfinite, last.retraces) == (steps + 1, 1, 0)

    optimizer.step(spoilt(model, optimizer, steps, kind))  # said once, counted again
    assert optimizer.last_step.nonfinite == 2
    train(model, optimizer, 3, steps)
    train(spared, other, 3, steps)
    assert_same(model, spared)
    assert optimizer.last_step.bad_parameter == ""
    assert optimizer.last_step.steps == other.last_step.steps + 2


@together("kind", BAD)
@together("name", REJECTING)
def test_a_method_that_can_go_back_does(name: str, kind: str) -> None:
    model, optimizer = started(name, 0)
    for _ in range(4):
        optimizer.step(closure(model, optimizer))
    retraces = optimizer.last_step.retraces
    with optimizer.accepted():
        at = vector(model)
    h = optimizer.state["flow"]["h"].clone()
    optimizer.step(spoilt(model, optimizer, 4, kind))
    with optimizer.accepted():
        torch.testing.assert_close(vector(model), at, rtol=1e-12, atol=1e-14)
    assert bool(optimizer.state["flow"]["h"] < h)
    last = optimizer.last_step
    assert (last.bad_parameter == "0.bias") == ("gradients" in kind)
    assert (last.held, last.accepted, last.finite) == (False, False, False)
    assert (last.nonfinite, last.retraces) == (1, retraces + 1)
    train(model, optimizer, 6, 4)
    assert torch.isfinite(vector(model)).all()


@pytest.mark.parametrize("name", REJECTING)
def test_far_too_long_a_first_step_is_taken_back_until_it_will_do(name: str) -> None:
    """The objective is NaN outside the disc of radius 1, on whose edge the run starts nearly."""
    start = {"armijo": {"h0": 1e3}, "elra": {"alpha0": 1e3}, "flow": {"rtol": 1e-3}}[name]
    q = nn.Parameter(torch.tensor([0.6, -0.79], dtype=torch.float64))
    optimizer = FlowOptimizer([q], name, **start)
    holder = nn.ParameterList([q])

    def disc(model: Any, number: Any) -> Tensor:
        return (1 - q.square().sum()).sqrt().neg() + 0.1 * q.square() @ torch.tensor([1.0, 9.0], dtype=torch.float64)

    for _ in range(60):
        optimizer.step(closure(holder, optimizer, loss=disc))
        with optimizer.accepted():
            assert torch.isfinite(disc(None, None))
    if name != "flow":  # which starts with a step of its own choice
        assert optimizer.last_step.nonfinite >= 1
    with optimizer.accepted():
        assert disc(None, None).item() < -0.99


@together("name", NAMES)
def test_a_batch_without_a_slope_stops_nothing_for_good(name: str) -> None:
    """As of a network all of whose units are dead on that batch: the gradient is exactly 0."""
    model, optimizer = started(name, 3)
    for _ in range(2):
        optimizer.step(closure(model, optimizer, loss=lambda model, number: 0 * loss_of(model) + 1.0))
    for _ in range(3):
        at = vector(model)
        optimizer.step(closure(model, optimizer))
    assert torch.isfinite(vector(model)).all()
    assert (vector(model) - at).abs().max() > 1e-6
    assert optimizer.last_step.nonfinite == 0


def test_parameters_without_a_name_are_named_by_their_place() -> None:
    model = network()
    optimizer = FlowOptimizer([{"params": model[0].parameters()}, {"params": model[2].parameters()}], "gd")
    loss_of(model).backward()
    model[2].bias.grad[0] = math.nan
    with pytest.warns(UserWarning, match="first in parameter 1 of group 1"):
        optimizer.step()


@pytest.mark.parametrize("name", ["ecdsep", "ecdsep_strang", "bbi"])
def test_f0_above_the_loss_is_reported_as_that(name: str) -> None:
    """The flow waits until a batch is above F0 again."""
    level = loss_of(network()).item()
    floor = {"v0" if name == "bbi" else "F0": 0.3 * level}
    (model, optimizer), (spared, other) = started(name, 3, **floor), started(name, 3, **floor)
    at = vector(model)
    small = closure(model, optimizer, 3, lambda model, number: 1e-3 * loss_of(model, number))
    with pytest.warns(UserWarning, match=rf"{name}: below F0 at loss 0\.00\S*: F reached or fell below F0 .* Lower F0"):
        optimizer.step(small)
    assert torch.equal(vector(model), at)
    last = optimizer.last_step
    assert (last.ended, last.held, last.accepted, last.finite) == ("below F0", True, False, True)
    assert (last.nonfinite, last.retraces, last.bad_parameter) == (0, 0, "")
    above = lambda model, number: loss_of(model, number) + level  # noqa: E731
    for number in range(3, 6):
        optimizer.step(closure(model, optimizer, number, above))
        other.step(closure(spared, other, number, above))
    assert_same(model, spared)


def test_f0_above_the_first_loss() -> None:
    model = network()
    optimizer = build(model.parameters(), "ecdsep", F0=100.0)
    with pytest.warns(UserWarning, match="below F0"):
        train(model, optimizer, 1)
    assert_same(model, network())
    assert optimizer.last_step.ended == "below F0"


def test_equations_that_are_not_solved_are_reported_and_nothing_moves() -> None:
    method = flowopt.Method(GradientFlow(), BackwardEuler(max_iterations=1), Fixed(5.0))
    model = network()
    optimizer = FlowOptimizer(model.parameters(), method)
    with pytest.warns(UserWarning, match="equations of the step were not solved") as caught:
        train(model, optimizer, 3)
    assert len(caught) == 1
    assert_same(model, network())
    last = optimizer.last_step
    assert (last.held, last.accepted, last.finite, last.nonfinite, last.steps) == (True, False, True, 0, 3)


def test_one_step_that_is_not_solved_does_not_stop_the_rest() -> None:
    (model, optimizer), (spared, other) = started("implicit", 3), started("implicit", 3)
    at = vector(model)
    steep = closure(model, optimizer, 3, lambda model, number: 1e7 * loss_of(model, number) ** 4)
    with pytest.warns(UserWarning, match="equations of the step were not solved"):
        optimizer.step(steep)
    assert torch.equal(vector(model), at)
    train(model, optimizer, 3, 3)
    train(spared, other, 3, 3)
    assert_same(model, spared)


# --- accepted(): trials that wait for judgement


@together("late", [False, True])
@together("name", REJECTING)
def test_inside_accepted_are_the_last_accepted_parameters(name: str, late: bool) -> None:
    """Those at which the closure was called when a step was last accepted; with schedulers, groups, newcomers."""
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.7, "weight_decay": 0.1}, {"params": model[2].parameters()}]
    optimizer = build(groups, name)
    scheduler = lr_scheduler.StepLR(optimizer, 3, 0.8)
    with optimizer.accepted():  # nothing is pending yet
        assert_same(model, network())
    point, accepted = vector(model), 0
    for number in range(20):
        model[2].requires_grad_(number >= 5 or not late)
        trial = vector(model)
        wrong = number == 12
        optimizer.step(spoilt(model, optimizer, number, "NaN loss") if wrong else closure(model, optimizer, number))
        scheduler.step()
        if optimizer.last_step.accepted:
            point, accepted = trial, accepted + 1
        pending = vector(model)
        with optimizer.accepted():
            torch.testing.assert_close(vector(model), point, rtol=1e-11, atol=1e-12)
            assert not torch.equal(vector(model), pending)
            inside = vector(model)
            with optimizer.accepted():  # of somebody who does not know of the other
                assert torch.equal(vector(model), inside)
            assert torch.equal(vector(model), inside)
        assert torch.equal(vector(model), pending)
    assert 1 < accepted < 20
    assert optimizer.last_step.retraces == 20 - accepted


@together("name", REJECTING)
def test_the_pending_parameters_come_back_from_an_exception(name: str) -> None:
    model, optimizer = trained(name, 5)
    pending = vector(model)
    with pytest.raises(AssertionError, match="shown"), optimizer.accepted():
        assert torch.equal(vector(model), pending), "shown are others"
    assert torch.equal(vector(model), pending)
    train(model, optimizer, 1, 5)


@together("name", STEADFAST)
def test_nothing_is_pending_where_nothing_goes_back(name: str) -> None:
    model, optimizer = trained(name, 5)
    at = vector(model)
    with optimizer.accepted():
        assert torch.equal(vector(model), at)


# --- last_step


def test_last_step_by_hand() -> None:
    """Forward Euler under LTE control: h, the error h/2 max|d_k - d_(k-1)|, energy, loss and |grad|."""
    model = network()
    optimizer = FlowOptimizer(model.parameters(), "ecco", scaling="identity", eta=0.05, h_max=0.5, weight_decay=0.1)
    expected_h, grads = math.nan, []
    for number in range(6):
        value = loss_of(model, number)
        grads.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]))
        grads[-1] = grads[-1] + 0.1 * vector(model)
        objective = value.item() + 0.05 * float(vector(model) @ vector(model))
        train(model, optimizer, 1, number)
        last = optimizer.last_step
        change = math.nan if number == 0 else float((grads[-1] - grads[-2]).abs().max())
        assert last.h == pytest.approx(expected_h, rel=1e-12, nan_ok=True)
        assert last.error == pytest.approx(expected_h / 2 * change, rel=1e-12, nan_ok=True)
        assert last.energy == pytest.approx(objective, rel=1e-12)
        assert last.loss == pytest.approx(value.item(), rel=1e-15)
        assert last.grad_norm == pytest.approx(float(grads[-1].norm()), rel=1e-12)
        assert (last.accepted, last.held, last.finite, last.steps) == (True, False, True, number + 1)
        longest = 2 * 0.05 / float(grads[-1].abs().max()) if number == 0 else 2 * 0.05 / change
        expected_h = min(longest, 0.5)


@pytest.mark.parametrize("name", ["gd", "ecdsep"])
def test_the_h_of_a_step_has_the_lr_that_it_was_made_with(name: str) -> None:
    model = network()
    optimizer = build(model.parameters(), name)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    unit = 0.2  # lr of gd, dt of ecdsep
    for number in range(5):
        train(model, optimizer, 1, number)
        made = unit * 0.5 ** (number - 1) if number else math.nan
        assert optimizer.last_step.h == pytest.approx(made, rel=1e-12, nan_ok=True)
        scheduler.step()


def test_a_record_stays_as_it_was() -> None:
    model, optimizer = trained("elra", 3)
    record = optimizer.last_step
    kept = record.to_dict()
    train(model, optimizer, 5)
    assert repr(record.to_dict()) == repr(kept)
    assert record.steps == 3
    assert optimizer.last_step.steps == 8


def test_to_dict_and_repr_hold_everything() -> None:
    _, optimizer = trained("ecdsep", 3)
    last = optimizer.last_step
    found = last.to_dict()
    assert found.keys() == {
        *("h", "error", "energy", "loss", "grad_norm", "accepted", "held", "finite", "ended"),
        *("bad_parameter", "steps", "retraces", "nonfinite"),
    }
    assert all(isinstance(value, float | bool | str | int) for value in found.values())
    assert repr(last) == f"LastStep({', '.join(f'{name}={value!r}' for name, value in found.items())})"
    assert found["h"] == pytest.approx(0.2)


@together("name", NAMES)
def test_every_method_fills_the_record(name: str) -> None:
    model = network()
    optimizer = build(model.parameters(), name)
    with pytest.raises(BadValue, match="no last step yet"):
        _ = optimizer.last_step
    for _ in range(5):
        optimizer.step(closure(model, optimizer))
    last = optimizer.last_step
    costly = not optimizer.method.system.cheap_energy
    assert costly == isinstance(optimizer.method.system, Adam)
    numbers = [last.h, last.loss, last.grad_norm, *([] if costly else [last.energy])]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert math.isnan(last.energy) == costly
    assert (last.steps, last.nonfinite, last.held, last.ended) == (5, 0, False, "")


@together("name", sorted({*GRADIENT_AT_HAND} - {*NEEDS_LOSS}))
def test_what_was_not_handed_in_is_not_made_up(name: str) -> None:
    model = network()
    optimizer = build(model.parameters(), name)
    closure(model, optimizer)()
    optimizer.step()
    assert math.isnan(optimizer.last_step.loss)
    assert math.isnan(optimizer.last_step.energy)
    assert optimizer.last_step.finite


def test_no_warning_without_a_cause() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            _, optimizer = trained(name, 3)
            assert same(optimizer.state["flow"]["nonfinite"], torch.tensor([0]))


# --- exceptions and numbers from outside


@pytest.mark.parametrize("name", ["flow", "sls"])
def test_an_exception_in_the_closure_leaves_the_parameters_where_they_were(name: str) -> None:
    model = network()
    optimizer = FlowOptimizer(model.parameters(), name)
    train(model, optimizer, 2)
    before = vector(model).clone()
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("out of memory, say")
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    assert torch.equal(vector(model), before)
    train(model, optimizer, 1)
    assert not torch.equal(vector(model), before)


@pytest.mark.filterwarnings("ignore:flowopt", "ignore:Using backward")  # torch warns of a cycle that ends with the test
def test_a_step_to_nowhere_is_not_made() -> None:
    """Newton's step where the curvature all but vanishes: beyond all numbers."""
    q = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = FlowOptimizer([q], "newton")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (q + 1e-300 * q**2).sum()
        torch.autograd.backward(loss, create_graph=True, inputs=[q])
        return loss

    for _ in range(2):
        optimizer.step(closure)
    assert q.item() == 1.0
    assert optimizer.last_step.held
    q.grad = None


def test_numbers_from_outside() -> None:
    model = network()
    for seed in (-1, 1.5, None):
        with pytest.raises(BadValue, match="seed"):
            FlowOptimizer(model.parameters(), "gd", seed=seed)
    optimizer = FlowOptimizer(model.parameters(), "ecdsep", exponent=torch.tensor(2.0))
    plain = FlowOptimizer(copy.deepcopy(model).parameters(), "ecdsep", exponent=2.0)
    assert [part.parameters.keys() for part in optimizer.method.parts] == [
        part.parameters.keys() for part in plain.method.parts
    ]
    train(model, optimizer, 1)
    optimizer.param_groups[0]["lr"] = float("nan")
    before = vector(model).clone()
    with pytest.raises(BadValue, match="lr = nan"):
        train(model, optimizer, 1)
    assert torch.equal(vector(model), before)
    assert "ecdsep: separable_hamiltonian x symplectic_euler [fixed]" in repr(optimizer)


@pytest.mark.parametrize("method", ["flow", "heun", "rk4"])
@pytest.mark.parametrize("bad", [0, 2])
def test_a_step_that_finds_no_numbers_on_its_way_leaves_numbers_behind(method: str, bad: int) -> None:
    """The loss is NaN within one step only, at its first call or on its way; the network does not become NaN."""
    weight = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    schemes = {"heun": Heun, "rk4": RK4}
    chosen = flowopt.Method(GradientFlow(), schemes[method](), Fixed(0.1)) if method in schemes else method
    for first_call in (1, 2):
        optimizer = FlowOptimizer([weight], chosen)
        for number in range(6):
            calls = 0

            def loss(number: int = number, optimizer: FlowOptimizer = optimizer) -> Tensor:
                nonlocal calls
                calls += 1
                optimizer.zero_grad()
                value = weight.square().sum() * (math.nan if number == bad and calls >= first_call else 1.0)  # noqa: B023
                value.backward()
                return value

            before = weight.detach().clone()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                optimizer.step(loss)
            assert bool(torch.isfinite(weight).all())
        assert float(weight.detach().norm()) < float(before.norm()), "it goes on"
