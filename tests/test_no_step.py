"""Polyak's steps where the loss is not above f_star: nothing moves, and networks say so, once, with the cure."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowopt import Ensemble, FlowOptimizer
from flowopt.networks.tasks import Task


def said(optimizer: FlowOptimizer, parameter: nn.Parameter, loss_of: Any, steps: int = 3) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of(parameter)
            loss.backward()
            optimizer.step(loss=loss)
    return [str(warning.message) for warning in caught]


def bowl(x: Tensor) -> Tensor:
    return (x * x).sum()


@pytest.mark.parametrize("name", ["polyak", "sps"])
def test_a_loss_below_f_star_is_said_once_with_the_cure(name: str) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    messages = said(FlowOptimizer([parameter], name), parameter, lambda x: bowl(x) - 10)
    assert parameter.tolist() == [1.0, 2.0]
    (message,) = messages
    assert "f = -5 is not above f_star = 0" in message
    assert "give a lower f_star" in message
    assert said(FlowOptimizer([parameter], name, f_star=-10.0), parameter, lambda x: bowl(x) - 10) == []
    assert parameter.tolist() != [1.0, 2.0]


@pytest.mark.parametrize("name", ["polyak", "sps"])
def test_uphill_the_loss_has_the_other_sign(name: str) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    (message,) = said(FlowOptimizer([parameter], name, maximize=True), parameter, bowl)
    assert "f = -5 is not above f_star = 0 (with maximize, f is -loss)" in message
    hill = FlowOptimizer([parameter], name, maximize=True, f_star=-1.0)
    assert said(hill, parameter, lambda x: 1 - bowl(x) / 10) == []


@pytest.mark.parametrize("name", ["polyak", "sps"])
def test_nothing_is_said_of_a_flat_loss_above_f_star(name: str) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    assert said(FlowOptimizer([parameter], name), parameter, lambda x: bowl(x) + 1) == []


def test_an_ensemble_names_the_member() -> None:
    task = Task(lambda output, target: output.square().sum() + target.sum(), {})
    ensemble = Ensemble(lambda seed: nn.Linear(1, 1), 3, "polyak", {"f_star": [-9.0, 0.0, -9.0]}, task=task)
    x, y = torch.ones(1, 1), torch.full((1, 1), -8.0)
    with pytest.warns(UserWarning, match=r"member 1 of 3: the step size is 0, because .* is not above f_star = 0"):
        ensemble.step(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensemble.step(x, y)
