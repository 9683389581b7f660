"""The papers' claims on test functions, held against what they gave on prototypes; and the faces of that table."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from together import together
from typer.testing import CliRunner

from flowopt.cli.main import app
from flowopt.controllers.lte import LTE
from flowopt.controllers.newton_step import NewtonStep
from flowopt.core.errors import BadValue
from flowopt.functions._minimize import minimize as plain_minimize
from flowopt.functions._trajectory import Trajectory
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.problems._own import as_problem
from flowopt.reproduce import EXPERIMENTS, Experiment, Fact, ecdsep_geometry, runs
from flowopt.reproduce import ecco_facts as ecco
from flowopt.reproduce import elra_facts as elra
from flowopt.reproduce import network_facts as networks
from flowopt.reproduce import tlr_facts as tlr
from flowopt.reproduce.facts import (
    LEFT_OUT,
    NEVER,
    NOT_MEASURED,
    OUTSIDE,
    Range,
    about,
    at_least,
    at_most,
    between,
    exactly,
    over,
    share,
)
from flowopt.reproduce.runs import grid, minimize
from flowopt.testing import nudged
from flowopt.transforms.energy_projection import EnergyProjection

ALL = [
    pytest.param(experiment, id=f"{paper}-{experiment.name}")
    for paper, experiments in EXPERIMENTS.items()
    for experiment in experiments
]
LONG = [case for case in ALL if case.values[0].quick]


def outside(facts: list[Fact]) -> list[str]:
    return [
        f"{fact.setting}, {fact.claim}: {fact.shown}, expected {fact.expected.text}"
        for fact in facts
        if fact.verdict == OUTSIDE
    ]


@pytest.mark.parametrize("experiment", ALL)
def test_facts(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """From starts that are nudged by one ulp: a fact that rounding decides would show itself here."""
    monkeypatch.setattr(runs.solve, "minimize", from_nudged_start)
    facts = experiment.facts(quick=True)
    assert facts
    assert outside(facts) == []
    assert all(fact.note for fact in facts if fact.verdict == NOT_MEASURED)


def from_nudged_start(of: Any, x0: Any = None, *arguments: Any, **options: Any) -> Trajectory:
    x0 = as_problem(of).start if x0 is None else x0
    return plain_minimize(of, x0 if x0 is None else nudged(x0), *arguments, **options)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", LONG)
def test_facts_at_full_size(experiment: Experiment) -> None:
    facts = experiment.facts(quick=False)
    assert outside(facts) == []
    assert all(fact.numbers for fact in facts)


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
        assert len(wrong) == 2
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
    assert fact.verdict == ""  # the paper prints no number
    printed = replace(fact, printed="7 (bowl)")
    assert printed.verdict == ""  # the printed number is one of another network
    assert replace(printed, paper=exactly(7)).verdict == "as in the paper"
    assert replace(printed, paper=exactly(9)).verdict == "not as in the paper"
    assert replace(fact, measured=(7.0, 8.0)).verdict == OUTSIDE
    assert replace(fact, measured=(math.nan,)).verdict == OUTSIDE
    assert replace(printed, paper=exactly(7), measured=()).verdict == NOT_MEASURED
    assert replace(fact, measured=(7.0, math.inf)).shown == "7 to never"
    with pytest.raises(BadValue, match="needs the number that it prints"):
        replace(fact, paper=exactly(7))


def test_verdicts_on_distributions() -> None:
    """The middle has to lie where it is expected; what the paper prints has to lie in the interval."""
    spread = over(float(value) for value in range(12))  # mean 5.5, at 95 % from 3.2 to 7.8
    fact = Fact("steps", "table 1", between(5, 6), spread, "7 (bowl)", exactly(7))
    assert fact.verdict == "as in the paper"
    assert replace(fact, paper=exactly(9)).verdict == "not as in the paper"
    assert replace(fact, expected=between(6, 9)).verdict == OUTSIDE
    assert fact.shown == "5.5 [3.2091, 7.7909] (mean of 12 seeds, 95 %)"
    assert fact.to_dict()["measured"] == {"numbers": list(range(12)), "text": fact.shown}
    some = replace(fact, expected=at_most(30), measured=share(value < 3 for value in range(12)), paper=exactly(50))
    assert (some.verdict, some.middle) == ("as in the paper", (25.0,))
    assert over([1.0] * 9) == share([True] * 9) == ()


def test_columns() -> None:
    """What is printed, what was made of it, and what was run stand apart."""
    fact = Fact("steps", "table 1", exactly(7), (7.0,), "9 (bowl)", exactly(9), "kappa 1")
    assert (fact.printed, fact.made, fact.ran) == ("9 (bowl)", "steps: 9", "kappa 1: 7 (expected 7)")
    fact = replace(fact, printed="", paper=None)
    assert (fact.made, fact.ran) == ("steps: 7", "kappa 1: 7")


def test_a_quick_look_says_what_it_left_out() -> None:
    """'More than 10^4 steps' cannot be said after 2000."""
    for fact in elra.EXPERIMENTS[2].facts(quick=True):
        if "never" in fact.expected.text:
            assert fact.verdict == NOT_MEASURED
            assert fact.note
    lost = networks.EXPERIMENTS[2].facts(quick=True)
    assert {(fact.verdict, fact.note) for fact in lost} == {(NOT_MEASURED, LEFT_OUT)}


def test_what_is_held_against_the_paper_can_fail() -> None:
    """Every range that a fact is held against leaves numbers of its own kind outside, on the side of its claim."""
    for experiments in EXPERIMENTS.values():
        for experiment in experiments:
            if experiment.quick.get("seeds") != 0:
                continue
            for fact in experiment.facts(quick=True):
                assert fact.expected.low > -math.inf or fact.expected.high < math.inf
                if fact.expected.low < 0 < fact.expected.high:  # of both signs: no difference is the claim
                    assert fact.expected.low in (-fact.expected.high, -math.inf), fact.claim


def test_grid() -> None:
    first, second = grid([1, 2], [3, 4, 5])
    assert first.tolist() == [1, 1, 1, 2, 2, 2]
    assert second.tolist() == [3, 4, 5, 3, 4, 5]


def test_half_a_run_is_no_measurement() -> None:
    with pytest.raises(KeyboardInterrupt):
        minimize("rosenbrock", method="gd", callback=lambda progress: progress.attempt == 3)


class TestCommandLine:
    @pytest.mark.slow
    def test_a_paper(self, tmp_path: Path) -> None:
        file = tmp_path / "new" / "tlr.json"
        done = subprocess.run(
            [sys.executable, "-m", "flowopt", "reproduce", "tlr", "--quick", "--json", str(file)],
            env=os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for head in ("printed number", "what we made of it", "what we ran", "verdict"):
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
        done = CliRunner().invoke(app, ["reproduce", "elra"])
        assert done.exit_code == 1
        assert OUTSIDE in done.stdout
        assert "1 of 2 numbers lie outside" in done.stderr

    def test_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def steps() -> Iterator[Fact]:
            """Steps."""
            raise KeyboardInterrupt
            yield

        monkeypatch.setitem(EXPERIMENTS, "elra", (Experiment(steps),))
        assert CliRunner().invoke(app, ["reproduce", "elra"]).exit_code == 130

    @pytest.mark.slow
    def test_unknown_paper(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "flowopt", "reproduce", "elr"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "'elra'" in done.stderr
        assert "Traceback" not in done.stderr
