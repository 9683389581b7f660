"""Why a row stopped is said in one place: functions, networks and ensembles give the same code, reason and cure."""

import warnings
from typing import Any

import pytest
import torch
from catalogue import walk
from torch import Tensor, nn

from flowopt import Ensemble, FlowOptimizer, Method, Problem, Status, method, minimize
from flowopt.controllers import Fixed
from flowopt.core.endings import Endings, Standing, why
from flowopt.core.reasons import REASONS
from flowopt.integrators import BackwardEuler
from flowopt.networks.tasks import Task
from flowopt.systems import GradientFlow

FROM = 2.0


def f(x: Tensor, bad: float = 0.0) -> Tensor:
    """A steep valley; not a number to the left of `bad`."""
    value = (x**4).sum(-1)
    return torch.where(x[..., 0] < bad, torch.nan, value)


CASES = [
    pytest.param(Method(GradientFlow(), BackwardEuler(max_iterations=1), Fixed(50.0)), -99.0, Status.SOLVER_FAILED),
    pytest.param(method("gd", lr=0.5), -1.0, Status.NONFINITE),
    pytest.param(method("gd", lr=0.5), -1e99, Status.DIVERGED),
    pytest.param(method("ecdsep", F0=1.0, dt=1e-2, nu=0.0), -99.0, Status.BELOW_F0),
]


class Position(nn.Module):
    """A network whose output is its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([FROM], dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.x * torch.ones_like(inputs)


@pytest.mark.parametrize(("chosen", "bad", "status"), CASES)
def test_all_drivers_say_the_same(chosen: Method, bad: float, status: Status) -> None:
    run = minimize(lambda x: f(x, bad), [FROM], chosen, max_steps=3000)
    assert run.status.tolist() == [status], run.message
    assert run.message[0].startswith(REASONS[status].what)
    assert run.message[0].endswith(REASONS[status].cure)

    task = Task(lambda output, target: f(output.flatten()[:1], bad), {})
    ensemble = Ensemble(lambda seed: Position(), 1, chosen, task=task)
    data = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(3000):
        if not ensemble.endings:
            ensemble.step(data, data)
    assert ensemble.status == [status]
    assert ensemble.endings[0].why == REASONS[status]
    assert REASONS[status].what in str(ensemble.endings[0])

    assert ensemble.steps == run.steps[0] + 1, "a trial is measured at the beginning of the step after"
    said = network_says(chosen, bad)
    if status == Status.DIVERGED:  # a network waits for the next batch, so that it does not look for who is to blame
        status = Status.NONFINITE
    assert REASONS[status].what in said
    assert REASONS[status].cure.lower() in said.lower()


def network_says(chosen: Method, bad: float) -> str:
    model = Position()
    optimizer = FlowOptimizer(model.parameters(), chosen)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = f(model.x, bad)
        loss.backward(create_graph=chosen.needs_hvp)
        return loss

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3000):
            optimizer.step(closure)
            if optimizer.last_step.held:
                break
    return " ".join(str(warning.message) for warning in caught)


def test_a_driver_is_told_what_it_asks_for_and_nothing_else() -> None:
    """At a point of slope 1 and f = 1/2, with a step that is sent back to itself: all depends on what is asked."""
    armijo = method("armijo", h0=1e-3).for_rows(1, torch.float64)
    carry, last = [
        *walk(armijo, Problem("hill", lambda q: 0.5 * q.square().sum(-1), 1), torch.ones(1, 1, dtype=torch.float64), 1)
    ][-1]
    assert last is not None
    sent_back = last._replace(taken=~last.taken, h=carry.h)

    def code(last: Any, **asked: Any) -> int:
        return int(Endings(**asked).codes(armijo, carry, last, 1))

    assert code(last) == code(sent_back) == Status.RUNNING
    assert code(sent_back, same_objective=True) == Status.STEP_TOO_SMALL
    assert code(last, same_objective=True) == Status.RUNNING
    assert code(last, h_min=1.0) == Status.STEP_TOO_SMALL
    assert code(last, gtol=1.0) == code(last, f_target=0.5) == Status.CONVERGED
    assert code(last, gtol=0.9) == code(last, f_target=0.4) == Status.RUNNING
    assert code(last, t_end=1e-3) == Status.TIME_REACHED
    assert code(last, t_end=2e-3) == Status.RUNNING
    for asked in ({"h_min": 1.0}, {"gtol": 1.0}, {"f_target": 0.5}, {"t_end": 1e-3}, {"gtol": 0.9}):
        stopped = Endings(**asked).stopped(armijo, carry, last, 1)
        assert (stopped is not None) == (code(last, **asked) != Status.RUNNING), asked


def test_a_step_that_is_too_small_has_its_reason_from_the_rule() -> None:
    polyak, flow = method("polyak", f_star=1.0).controller, method("flow").controller

    def what(rule: Any, **standing: Any) -> str:
        return why(Status.STEP_TOO_SMALL, rule, Standing(**standing), 1e-30, 7).what

    assert "gave NaN" in what(polyak, h=float("nan"), f=0.0)
    assert "f = 0.5 is not above f_star = 1" in what(polyak, h=0.0, f=0.5)
    assert "below h_min = 1e-30" in what(polyak, h=1e-40, f=2.0)
    assert "would try the same one again" in what(flow, h=1e-3, f=2.0, again=True)
    assert "time no longer advances" in what(flow, h=1e-20, f=2.0, t=1.0)
    assert "at the start" in why(Status.NONFINITE, flow, Standing(1.0, 1.0), 0.0, 0).what
