"""What need not be done is not done: a method is checked once, an energy is worked out where it is recorded."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import flowopt
from flowopt import Ensemble, FlowOptimizer, Method, Trajectory, minimize
from flowopt.functions._columns import COLUMNS
from flowopt.systems.adam import Adam
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian

STARTS = np.random.default_rng(0).uniform(-2, 2, (500, 2))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], list[Any]]:
    """Count the calls of a method of a class from now on."""

    def counted(owner: type, name: str) -> list[Any]:
        seen: list[Any] = []
        original = getattr(owner, name)

        def counting(self: Any, *args: Any, **options: Any) -> Any:
            seen.append(self)
            return original(self, *args, **options)

        monkeypatch.setattr(owner, name, counting)
        return seen

    return counted


def test_a_method_is_checked_once(calls: Any) -> None:
    checks = calls(Method, "_check_requirements")
    run = minimize("rosenbrock", STARTS, "elra", max_steps=150, record_every=0)
    assert len({*run.steps.tolist()}) > 50, "rows stop at different steps, and the method is cut down with them"
    assert len(checks) == 1
    ready = flowopt.method("ecco_stable", h_max=torch.linspace(1e-3, 1e-2, 500))
    checks.clear()
    minimize("rosenbrock", STARTS, ready, max_steps=5)
    FlowOptimizer([nn.Parameter(torch.ones(2))], ready.select(torch.tensor([3])))
    assert not checks


def test_traits_are_those_of_the_parts_and_stay_with_the_rows() -> None:
    for name in ("gd", "elra", "armijo", "implicit", "newton", "flow"):
        method = flowopt.method(name)
        few = method.for_rows(5, torch.float64).select(torch.tensor([1, 2]))
        for chosen in (method, few, dataclasses.replace(method, name="other")):
            assert chosen.needs_hvp == (chosen.system.needs_hvp or chosen.integrator.needs_hvp)
            assert chosen.rejects == chosen.controller.rejects
            assert chosen.looks_back == (chosen.controller.looks_back or chosen.controller.rejects)
            assert chosen.looks_ahead == (chosen.needs_hvp or chosen.integrator.stages > 1)
            assert chosen.needs_value == any(part.needs_value for part in chosen.parts)
    method = flowopt.method("ecco", eta=torch.tensor([0.1, 0.2, 0.3]))
    assert method.settings["lte.eta"] == pytest.approx([0.1, 0.2, 0.3])
    assert method.select(torch.tensor([2])).settings["lte.eta"] == pytest.approx([0.3])


def test_a_function_pays_for_the_energies_that_it_records(calls: Any) -> None:
    energies = calls(GradientFlow, "energy")
    for every, count in ((1, 21), (5, 5), (0, 1)):  # the start as well, and the end, which stands in the last record
        energies.clear()
        minimize("rosenbrock", None, "gd", lr=1e-4, max_steps=20, record_every=every)
        assert len(energies) == count + 1


def test_an_ensemble_pays_for_the_energies_that_it_records(calls: Any) -> None:
    energies = calls(SeparableHamiltonian, "energy")
    inputs, targets = torch.randn(8, 3), torch.randn(8, 1)
    for every, count in ((0, 0), (1, 6), (3, 2)):
        energies.clear()
        ensemble = Ensemble(lambda seed: nn.Linear(3, 1), 4, "ecdsep", task="regression", record_every=every)
        for _ in range(6):
            ensemble.step(inputs, targets)
        assert len(energies) == count * len(ensemble._members)
        assert ensemble.record.energy.shape == (count, 4)
        assert np.isfinite(ensemble.record.energy).all()


def test_a_network_asks_for_no_energy_that_costs_a_pass(calls: Any) -> None:
    energies = calls(Adam, "energy")
    weight = nn.Parameter(torch.ones(3))
    optimizer = FlowOptimizer([weight], "adam")
    for _ in range(3):
        weight.grad = torch.ones(3)
        optimizer.step(loss=1.0)
    assert not energies
    assert np.isnan(optimizer.last_step.energy)


def test_the_columns_of_a_record_are_those_of_the_list() -> None:
    assert tuple(field.name for field in dataclasses.fields(Trajectory))[: len(COLUMNS)] == COLUMNS
    run = minimize("rosenbrock", None, "ecco", max_steps=3)
    assert [*run.to_dict()][: len(COLUMNS)] == [*COLUMNS]
    assert [*run.to_dataframe()][: 2 + 2 + 8] == ["attempt", "row", "x0", "x1", *COLUMNS[1:]]
