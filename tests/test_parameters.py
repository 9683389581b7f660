"""One name, one meaning: the vocabulary, the page made of it, and what a name does in every method that has it."""

import inspect
import typing
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from catalogue import NAMES
from torch import Tensor, nn

import flowopt
from flowopt import FlowOptimizer, UnknownName, method, minimize
from flowopt.core.parameters import OTHER_NAMES, VOCABULARY
from flowopt.core.roles import LowerBound, WeightDecay, roles
from flowopt.methods import METHODS
from flowopt.methods.parameter_table import markdown

START = np.array([1.0, -0.6, 0.3])


def having(*names: str) -> list[str]:
    return [name for name in NAMES if set(names) <= METHODS[name].defaults.keys()]


def bowl(x: Tensor) -> Tensor:
    """x^2 + 2 y^2 + 3 z^2 + x^4 + 1."""
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)
    return (weights * x**2).sum(-1) + x[..., 0] ** 4 + 1


def slope(x: Tensor) -> Tensor:
    """x + y + z."""
    return x.sum(-1)


def moved(name: str, steps: int = 1, of: Any = bowl, **given: Any) -> flowopt.Trajectory:
    return minimize(of, START, name, max_steps=steps, gtol=0.0, **given)


def test_every_parameter_is_in_the_vocabulary_and_every_word_is_used() -> None:
    assert {key for entry in METHODS.values() for key in entry.defaults} == set(VOCABULARY)


def test_a_name_is_declared_alike_in_every_method() -> None:
    for key in VOCABULARY:
        hints = [typing.get_type_hints(METHODS[name].build)[key] for name in having(key)]
        choices = {typing.get_args(hint) for hint in hints if typing.get_origin(hint) is Literal}
        assert len(choices) <= 1, key
        assert len({hint is bool for hint in hints}) == 1, key


def test_the_page_is_what_the_code_says() -> None:
    page = Path(inspect.getfile(flowopt)).parents[1] / "docs" / "parameters.md"
    assert page.read_text() == markdown(), (
        "write it again: python -m flowopt.methods.parameter_table > docs/parameters.md"
    )


def test_an_other_name_leads_to_ours() -> None:
    for old, (ours, _) in OTHER_NAMES.items():
        tried = [name for name in having(ours) if old not in METHODS[name].defaults]
        assert tried, old
        for name in tried:
            with pytest.raises(UnknownName, match=f"{old} is called {ours} here"):
                method(name, **{old: 1.0})
    with pytest.raises(UnknownName, match="exponent here; eta is ECCO's error tolerance"):
        method("ecdsep", eta=2.0)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if any(not r.decoupled for r in roles(METHODS[n].build, WeightDecay).values())]
)
def test_weight_decay_is_a_term_of_the_objective(name: str) -> None:
    w, soon = 0.3, {"beta3": 0.9} if name == "adamod" else {}
    inside = moved(name, 12, weight_decay=w, **soon)
    outside = moved(name, 12, lambda x: bowl(x) + w / 2 * (x * x).sum(-1), weight_decay=0.0, **soon)
    np.testing.assert_allclose(inside.x, outside.x, rtol=1e-8, atol=1e-10)
    assert np.abs(inside.x - moved(name, 12, weight_decay=0.0, **soon).x).max() > 1e-7


def test_the_decay_of_adamw_is_decoupled() -> None:
    run = moved("adamw", 3, slope, lr=0.1, weight_decay=0.5)
    x = START
    for k in range(4):
        np.testing.assert_allclose(run.x[k, 0], x, atol=1e-7)
        x = x - 0.1 * 0.5 * x - 0.1  # where the gradient is 1 for ever, Adam makes steps of lr


@pytest.mark.parametrize("name", having("weight_decay"))
def test_weight_decay_means_on_a_network_what_it_means_on_a_function(name: str) -> None:
    parameter = nn.Parameter(torch.tensor(START))
    optimizer = FlowOptimizer([parameter], name, weight_decay=0.3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = bowl(parameter)
        loss.backward()
        optimizer.step(loss=loss)
    with optimizer.accepted():
        path = moved(name, 2, weight_decay=0.3).x[:, 0]
        assert np.abs(path - parameter.detach().numpy()).max(-1).min() < 1e-10


def test_elra_warns_of_a_rate_that_was_meant_as_a_factor() -> None:
    for make in (
        lambda w: method("elra", weight_decay=w),
        lambda w: FlowOptimizer([nn.Parameter(torch.ones(2))], "elra", weight_decay=w),
    ):
        with pytest.warns(UserWarning, match=r"0.9997 is a rate of L2.* is called shrink"):
            make(0.9997)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make(1e-4)
    run = moved("elra", 1, slope, shrink=0.9, alpha0=0.5)
    np.testing.assert_allclose(run.x[1, 0], 0.9 * START - 0.5, rtol=1e-14)


@pytest.mark.parametrize("name", having("lr"))
def test_lr_is_the_factor_of_the_first_step(name: str) -> None:
    def first(lr: float) -> Any:
        return moved(name, lr=lr).x[1, 0] - START

    factor = 2 ** (2 / 3) if name == "madgrad" else 2
    np.testing.assert_allclose(first(2e-3), factor * first(1e-3), rtol=1e-5)


@pytest.mark.parametrize("name", having("dt"))
def test_dt_is_the_step_size_of_every_step(name: str) -> None:
    assert np.all(moved(name, 3, dt=0.02).h[1:] == 0.02)


@pytest.mark.parametrize("name", [*having("h0"), *having("alpha0")])
def test_h0_is_where_the_step_size_starts(name: str) -> None:
    key, first = ("alpha0" if name == "elra" else "h0"), 1e-3
    growth = {"epoch_growth": 1.5, "batches_per_epoch": 1} if name == "sps" else {}
    expected = first * growth.get("epoch_growth", 1.0)
    assert moved(name, **{key: first}, **growth).h[1, 0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", having("h_max"))
def test_h_max_bounds_every_step(name: str) -> None:
    free, bound = moved(name, 8).h[1:], moved(name, 8, h_max=1e-3).h[1:]
    assert bound.max() == 1e-3 < free.max()


@pytest.mark.parametrize("name", having("eta"))
def test_eta_is_the_error_tolerated_in_the_first_step(name: str) -> None:
    assert moved(name, eta=1e-3).h[1, 0] == pytest.approx(2e-3 / 6, rel=1e-14)  # of the gradient (6, -2.4, 1.8)


@pytest.mark.parametrize("name", [name for name in NAMES if roles(METHODS[name].build, LowerBound)])
def test_a_lower_bound_of_f_is_one(name: str) -> None:
    (key,) = roles(METHODS[name].build, LowerBound)
    above, below = moved(name, 3, **{key: 100.0}), moved(name, 3, **{key: 0.5})
    assert np.all(above.x[-1] == START), "nothing moves where f is below it"
    assert np.any(below.x[-1] != START)


def test_without_memory_a_momentum_is_gradient_descent() -> None:
    for name, plain in (("gdm", "gd"), ("tlr_gdm", "tlr")):
        assert np.array_equal(moved(name, 5, beta=0.0, lr=0.01).x, moved(plain, 5, lr=0.01).x)


@pytest.mark.parametrize("name", having("conserve_energy"))
def test_conserve_energy_keeps_the_energy_of_the_start(name: str) -> None:
    more = {"added_energy": 1.0} if name == "bbi" else {"delta_energy": 1.0, "nu": 0.0}

    def drift(keep: bool) -> float:
        return float(np.ptp(moved(name, 30, dt=0.05, conserve_energy=keep, **more).energy))

    assert drift(True) < 0.5 * drift(False)  # the recorded energy is that on arrival, before it is put back


@pytest.mark.parametrize("name", having("K", "p", "batches_per_epoch"))
def test_an_epoch_is_as_long_as_it_has_batches(name: str) -> None:
    by_share, by_count = moved(name, 30, p=0.2, batches_per_epoch=25), moved(name, 30, K=5)
    assert np.array_equal(by_share.x, by_count.x)
    assert not np.array_equal(by_share.x, moved(name, 30, K=3).x)


@pytest.mark.parametrize("name", having("epoch_growth", "batches_per_epoch"))
def test_a_step_size_grows_by_its_factor_in_an_epoch(name: str) -> None:
    options = {"h0": 1e-6, "epoch_growth": 3.0, "batches_per_epoch": 4}
    h = moved(name, 9, **options).h[1:, 0]
    assert h[5] / h[1] == pytest.approx(3.0, rel=1e-12)
