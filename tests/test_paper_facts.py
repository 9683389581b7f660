"""The papers' claims on test functions, held against what they gave on prototypes; and the faces of that table."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from together import together
from typer.testing import CliRunner

from flowopt.controllers.lte import LTE
from flowopt.controllers.newton_step import NewtonStep
from flowopt.experiments import EXPERIMENTS, Experiment, Fact, ecco, ecdsep_geometry, tlr
from flowopt.experiments.__main__ import app
from flowopt.experiments.facts import NEVER, NOT_MEASURED, OUTSIDE, Range, about, at_least, at_most, between, exactly
from flowopt.experiments.runs import grid, minimize
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.transforms.energy_projection import EnergyProjection

ALL = [
    pytest.param(experiment, id=f"{paper}-{experiment.name}")
    for paper, experiments in EXPERIMENTS.items()
    for experiment in experiments
]
LONG = [case for case in ALL if case.values[0].quick]


def outside(facts: list[Fact]) -> list[str]:
    return [f"{fact.claim}: {fact.shown}, expected {fact.expected.text}" for fact in facts if fact.verdict == OUTSIDE]


@pytest.mark.parametrize("experiment", ALL)
def test_facts(experiment: Experiment) -> None:
    facts = experiment.facts(quick=True)
    assert facts
    assert outside(facts) == []
    assert all(fact.note for fact in facts if fact.verdict == NOT_MEASURED)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", LONG)
def test_facts_at_full_size(experiment: Experiment) -> None:
    assert outside(experiment.facts(quick=False)) == []


def test_claims_are_told_apart() -> None:
    for experiments in EXPERIMENTS.values():
        assert len({experiment.name for experiment in experiments}) == len(experiments)
        assert all(experiment.summary for experiment in experiments)


class TestMutants:
    """A wrong method moves its numbers out of their tolerances."""

    def test_first_step_of_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(LTE, "start", lambda self, point: (torch.ones_like(point.evaluation.value), {}))
        assert len(outside(list(ecco.first_step()))) == 1

    def test_drift_with_the_old_momentum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def move(self, system, point, h, measure):
            kicked = system.kick(point.state, point.evaluation, h)
            right = SymplecticEuler_move(self, system, point, h, measure)
            return right._replace(trial=system.drift(point.state, point.evaluation, h) | {"p": kicked["p"]})

        SymplecticEuler_move = SymplecticEuler.move
        monkeypatch.setattr(SymplecticEuler, "move", move)
        wrong = outside(list(ecdsep_geometry.symplecticity()))
        assert len(wrong) == 4
        assert all(line.startswith("symplectic Euler, bare") for line in wrong)

    def test_verlet_without_its_second_kick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(StoermerVerlet, "complete", lambda self, system, trial, evaluation, h: trial)
        assert len(outside(list(ecdsep_geometry.energy_order()))) == 1
        assert len(outside(list(ecdsep_geometry.reversibility()))) == 1

    def test_no_projection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(EnergyProjection, "settle", lambda self, system, state, evaluation, memory: (state, memory))
        assert len(outside(list(ecdsep_geometry.symplecticity()))) == 2

    def test_inverted_factor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        factor = NewtonStep._factor
        monkeypatch.setattr(NewtonStep, "_factor", lambda self, new, fall: 1 / factor(self, new, fall))
        assert len(outside(list(tlr.identity()))) == 1


@together(
    ("expected", "inside", "beyond"),
    [
        (exactly(3), [3.0], [2.999, math.inf]),
        (about(2, 0.5), [1.5, 2.5], [1.4, 2.6]),
        (at_most(1), [1.0, -1e300], [1.1, math.inf]),
        (at_least(1), [1.0, 1e300], [0.9, math.inf]),
        (between(1, 2), [1.0, 2.0], [0.5, 2.5]),
        (NEVER, [math.inf], [20_000.0]),
    ],
)
def test_ranges(expected: Range, inside: list[float], beyond: list[float]) -> None:
    assert expected.holds(inside)
    assert not any(expected.holds([*inside, value]) for value in (*beyond, math.nan))


def test_verdicts() -> None:
    fact = Fact("steps", "table 1", exactly(7), (7.0,))
    assert fact.verdict == "as expected"
    assert replace(fact, paper=exactly(7)).verdict == "as in the paper"
    assert replace(fact, paper=exactly(9)).verdict == "not as in the paper"
    assert replace(fact, measured=(7.0, 8.0)).verdict == OUTSIDE
    assert replace(fact, measured=(math.nan,)).verdict == OUTSIDE
    assert replace(fact, measured=()).verdict == NOT_MEASURED
    assert replace(fact, measured=(7.0, math.inf)).shown == "7 to never"


def test_grid() -> None:
    first, second = grid([1, 2], [3, 4, 5])
    assert first.tolist() == [1, 1, 1, 2, 2, 2]
    assert second.tolist() == [3, 4, 5, 3, 4, 5]


def test_half_a_run_is_no_measurement() -> None:
    with pytest.raises(KeyboardInterrupt):
        minimize("rosenbrock", method="gd", callback=lambda progress: progress.attempt == 3)


class TestCommandLine:
    def test_a_paper(self, tmp_path: Path) -> None:
        file = tmp_path / "new" / "tlr.json"
        done = subprocess.run(
            [sys.executable, "-m", "flowopt.experiments", "tlr", "--quick", "--json", str(file)],
            env=os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for head in ("claim", "paper", "expected", "measured", "verdict"):
            assert head in done.stdout
        facts = json.loads(file.read_text(encoding="utf-8"))["tlr"]
        assert len(facts) == sum(len(experiment.facts(quick=True)) for experiment in EXPERIMENTS["tlr"])
        assert all(fact["claim"].split()[0] in done.stdout and fact["verdict"] in done.stdout for fact in facts)
        assert {"numbers": [10.0], "text": "10"} in [fact["measured"] for fact in facts]

    def test_a_number_outside_its_tolerance(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def steps() -> Iterator[Fact]:
            """Steps."""
            yield Fact("some", "table 1", exactly(7), (7.0,))
            yield Fact("more", "table 1", exactly(7), (8.0,))

        monkeypatch.setitem(EXPERIMENTS, "elra", (Experiment(steps),))
        done = CliRunner().invoke(app, ["elra"])
        assert done.exit_code == 1
        assert OUTSIDE in done.stdout
        assert "1 of 2 numbers lie outside" in done.stderr

    def test_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def steps() -> Iterator[Fact]:
            """Steps."""
            raise KeyboardInterrupt
            yield

        monkeypatch.setitem(EXPERIMENTS, "elra", (Experiment(steps),))
        assert CliRunner().invoke(app, ["elra"]).exit_code == 130

    def test_unknown_paper(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "flowopt.experiments", "elr"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "'elra'" in done.stderr
        assert "Traceback" not in done.stderr
