"""The driver: why rows stop, what is recorded of them, what they pay, and how a run is interrupted."""

import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import NAMES
from hypothesis import given
from hypothesis import strategies as st
from together import together
from torch import Tensor

from flowopt import BadValue, Method, Problem, Status, UnknownName, minimize, problem
from flowopt.controllers.fixed import Fixed
from flowopt.core._progress import Progress
from flowopt.integrators.euler import ForwardEuler
from flowopt.methods import METHODS
from flowopt.problems._numpy_functions import from_numpy
from flowopt.systems.gradient_flow import GradientFlow


def parabola(q: Tensor) -> Tensor:
    return 0.5 * q.square().sum(-1)


# --- why rows stop ---


def ended(expected: Status, *words: str, **arguments: Any) -> Any:
    run = minimize(**({"problem": parabola, "x0": [1.0, 2.0], "method": "gd"} | arguments))
    assert [Status(code) for code in run.status] == [expected]
    for word in words:
        assert word in run.message[0]
    assert f"after {run.steps[0]} steps" in run.message[0]
    return run


def test_converged_by_gradient() -> None:
    run = ended(Status.CONVERGED, "converged", lr=0.5, gtol=1e-3)
    assert run.grad_norm[-1, 0] <= 1e-3 < run.grad_norm[-2, 0]
    assert run.converged.tolist() == [True]


def test_converged_by_value() -> None:
    run = ended(Status.CONVERGED, method="gd", lr=0.5, f_target=1e-2, gtol=0.0)
    assert run.f[-1, 0] <= 1e-2 < run.f[-2, 0]
    run = ended(Status.CONVERGED, problem="booth", x0=None, lr=0.05, ftol=1e-2, gtol=0.0)
    assert run.f[-1, 0] <= 1e-2 < run.f[-2, 0]


def test_max_steps() -> None:
    run = ended(Status.MAX_STEPS, "reached max_steps", lr=0.1, max_steps=7)
    assert run.steps.tolist() == [7]
    assert ended(Status.MAX_STEPS, max_steps=0).x.shape[0] == 1


def test_time_reached() -> None:
    run = ended(Status.TIME_REACHED, "reached t_end", "t = 0.25", lr=0.1, t_end=0.25)
    assert run.h[1:, 0] == pytest.approx([0.1, 0.1, 0.05])


def test_step_too_small() -> None:
    run = ended(Status.STEP_TOO_SMALL, "fell below h_min", problem="rosenbrock", x0=None, method="armijo", h_min=0.1)
    assert not run.accepted[1:].any()
    assert run.h[-1, 0] >= 0.1


@pytest.mark.parametrize("objective", [parabola, "rosenbrock"])
def test_diverged(objective: Any) -> None:
    run = ended(Status.DIVERGED, "diverged", "last good state", problem=objective, lr=1e6, max_steps=100)
    assert np.all(np.isfinite(run.x))
    assert np.all(np.isfinite(run.f))


def test_below_f0() -> None:
    run = ended(Status.BELOW_F0, "lower F0", method="ecdsep", F0=1.0, delta_energy=1.0, exponent=1.5)
    assert run.f[-1, 0] < 1.0


def test_energy_conserving_descent_converges_where_its_potential_vanishes() -> None:
    ended(Status.CONVERGED, x0=[0.0, 0.0], method="ecdsep", gtol=0.0)


def test_rows_stop_on_their_own() -> None:
    run = minimize(parabola, [[1.0, 2.0], [1e-9, 0.0], [1e-3, 0.0]], "gd", lr=0.5, max_steps=5, gtol=1e-4)
    assert run.status.tolist() == [Status.MAX_STEPS, Status.CONVERGED, Status.CONVERGED]
    assert run.steps.tolist() == [5, 0, 4]
    assert run.evaluations["gradient"].tolist() == [4 + 6, 4 + 1, 4 + 5]  # 4 calls try a function of one's own
    assert "max steps: 1 row(s)" in run.summary()
    assert "converged: 2 row(s)" in run.summary()


def test_convergence_is_seen_before_max_steps() -> None:
    assert minimize(parabola, [1.0, 2.0], "gd", lr=1.0, max_steps=1).converged.all()


def test_a_nan_at_the_start_is_no_convergence() -> None:
    def undefined(q: Tensor) -> Tensor:
        return torch.where(q[..., 0] < 0, torch.nan, parabola(q))

    run = minimize(undefined, [-1.0, 0.0], "gd")
    assert run.status.tolist() == [Status.NONFINITE]


# --- t_end ---


@together("named", NAMES)
def test_t_end_is_landed_on_exactly(named: str) -> None:
    run = minimize("rosenbrock", [[-1.2, 1.0], [0.2, 0.3]], named, t_end=0.0123456789, max_steps=2000)
    late = run.status == Status.TIME_REACHED
    assert late.all() or named in ("tlr_gdm", "newton")
    assert np.all(run.t[-1, late] == 0.0123456789)


@given(h=st.floats(0.05, 10), t_end=st.floats(1e-3, 10))
def test_t_end_is_landed_on_exactly_for_any_step(h: float, t_end: float) -> None:
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(h))
    run = minimize(lambda q: 1e-6 * parabola(q), [1.0], chosen, max_steps=300, t_end=t_end, gtol=0)
    assert run.t[-1, 0] == t_end
    assert run.steps[0] <= t_end / h + 2


# --- records ---


def test_every_nth_step_is_recorded() -> None:
    every = minimize("rosenbrock", method="elra", max_steps=20)
    third = minimize("rosenbrock", method="elra", max_steps=20, record_every=3)
    ends = minimize("rosenbrock", method="elra", max_steps=20, record_every=0)
    assert every.attempt.tolist() == list(range(21))
    assert third.attempt.tolist() == [0, 3, 6, 9, 12, 15, 18, 20]
    assert ends.attempt.tolist() == [0, 20]
    for name in ("x", "f", "grad_norm", "h", "t", "error", "energy", "accepted", "cost"):
        whole = getattr(every, name)
        assert np.array_equal(getattr(third, name), whole[third.attempt], equal_nan=name != "accepted"), name
        assert np.array_equal(getattr(ends, name), whole[ends.attempt], equal_nan=name != "accepted"), name
    assert ends.best_f.tolist() == third.best_f.tolist() == every.best_f.tolist() == every.f.min(0).tolist()


def test_a_record_is_what_happened() -> None:
    run = minimize("rosenbrock", method="gd", lr=1e-3, max_steps=4)
    p = problem("rosenbrock")
    x = torch.tensor(run.x, requires_grad=True)
    f = p(x)
    (grad,) = torch.autograd.grad(f.sum(), x)
    assert run.f == pytest.approx(f.detach().numpy(), rel=1e-14)
    assert run.grad_norm == pytest.approx(grad.norm(dim=-1).numpy(), rel=1e-14)
    assert run.x[1:] == pytest.approx(run.x[:-1] - 1e-3 * grad[:-1].numpy(), rel=1e-14)
    assert run.t[:, 0] == pytest.approx(1e-3 * np.arange(5), rel=1e-14)
    assert np.isnan(run.h[0, 0])
    assert run.h[1:, 0].tolist() == [1e-3] * 4
    assert run.error[1:, 0] == pytest.approx(np.abs(5e-4 * np.diff(grad.numpy(), axis=0)).max(-1)[:, 0], rel=1e-9)
    assert run.accepted.all()
    assert run.cost[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert run.rejected.tolist() == [0]


@pytest.mark.parametrize("every", [1, 3])
def test_after_its_stop_a_row_repeats_its_end(every: int) -> None:
    run = minimize(parabola, [[1.0, 2.0], [1e-3, 0.0]], "gd", lr=0.5, max_steps=9, gtol=1e-4, record_every=every)
    assert run.steps.tolist() == [9, 4]
    moving = run.attempt <= 4
    assert run.running[:, 1].tolist() == moving.tolist()
    for name in ("x", "f", "grad_norm", "t", "energy", "cost"):
        after = getattr(run, name)[~moving, 1]
        end = getattr(minimize(parabola, [1e-3, 0.0], "gd", lr=0.5, gtol=1e-4), name)[-1, 0]
        assert np.all(after == end), name
    assert np.isnan(run.h[~moving, 1]).all()
    assert np.isnan(run.error[~moving, 1]).all()
    assert not run.accepted[~moving, 1].any()
    assert run.accepted[moving, 1].all()


@together("every", [0, 1, 3, 4, 5])
def test_a_row_is_a_trajectory_of_its_own(every: int) -> None:
    run = minimize(parabola, [[1.0, 2.0], [1e-3, 0.0]], "gd", lr=0.5, max_steps=9, gtol=1e-4, record_every=every)
    for i in (0, 1, -1):
        row = run.row(i)
        assert row.rows == 1
        assert row.final_x[0].tolist() == run.final_x[i].tolist()
        assert row.final_f[0] == run.final_f[i]
        assert row.message[0] == run.message[i]
        assert row.status.tolist() == [run.status[i]]
        assert row.steps.tolist() == [run.steps[i]]
        before = row.attempt[:-1]
        assert np.all(before < row.steps[0]), "nothing but the end stands after the stop"
        assert row.attempt[-1] >= row.steps[0]
    with pytest.raises(BadValue, match="row 2 does not exist"):
        run.row(2)


def test_rejected_attempts_are_recorded() -> None:
    run = minimize("rosenbrock", method="armijo", max_steps=30)
    rejected = ~run.accepted[:, 0]
    assert run.rejected.tolist() == [rejected.sum()]
    assert rejected.sum() >= 5
    again = np.flatnonzero(rejected)
    assert np.array_equal(run.x[again], run.x[again - 1])
    assert np.array_equal(run.t[again], run.t[again - 1])
    later = again[again + 1 < len(run.h)] + 1
    assert np.array_equal(run.h[later, 0], 0.5 * run.h[later - 1, 0])


def test_about_says_what_ran() -> None:
    run = minimize("rosenbrock", method="elra", max_steps=1, seed=7, alpha0=1e-4)
    assert run.about["problem"] == "rosenbrock"
    assert run.about["method"] == "elra"
    assert run.about["parts"]["orthogonal_gradient"]["alpha0"] == 1e-4
    assert "parabola" in run.about["reading"]
    assert run.about["seed"] == 7


# --- what it costs ---


@together("named", [name for name in NAMES if name not in ("flow", "implicit", "sls")])
def test_one_gradient_a_step(named: str) -> None:
    run = minimize("rosenbrock", [[-1.2, 1.0], [0.3, 0.2]], named, max_steps=6, gtol=0.0)
    assert run.evaluations["gradient"].tolist() == (1 + run.steps).tolist()
    assert run.evaluations["value"].tolist() == (1 + run.steps).tolist()
    hvp = 2 * (1 + run.steps) if named == "newton" else [0, 0]
    assert run.evaluations["hvp"].tolist() == list(hvp)


def test_every_row_pays_for_itself_in_an_implicit_scheme() -> None:
    starts = [[-1.2, 1.0], [1.0, 1.0 + 1e-4], [3.0, 3.0]]
    together = minimize("rosenbrock", starts, "implicit", max_steps=4, gtol=0.0)
    alone = [minimize("rosenbrock", start, "implicit", max_steps=4, gtol=0.0) for start in starts]
    for kind in ("gradient", "value", "hvp"):
        counts = [run.evaluations[kind][0] for run in alone]
        assert together.evaluations[kind].tolist() == counts
    assert len({run.evaluations["gradient"][0] for run in alone}) > 1
    assert together.cost[-1].tolist() == [run.cost[-1, 0] for run in alone]


def test_finite_differences_are_counted_as_values() -> None:
    for difference, per_coordinate in (("central", 2), ("forward", 1)):
        calls = []

        def fun(x: Any, calls: list[Any] = calls) -> float:
            calls.append(x)
            return float(x @ x)

        run = minimize(from_numpy(fun, difference=difference), [1.0, 2.0, 3.0], "gd", lr=0.1, max_steps=5)
        assert run.evaluations["value"].tolist() == [6 * (1 + 3 * per_coordinate)] == [len(calls)]
        assert run.evaluations["gradient"].tolist() == [6]


# --- callbacks and interruptions ---


def test_callback_sees_every_attempt() -> None:
    seen: list[Progress] = []
    run = minimize("rosenbrock", [[-1.2, 1.0], [1.0, 1.0]], "gd", max_steps=4, callback=seen.append)
    assert [progress.attempt for progress in seen] == [1, 2, 3, 4]
    assert all(progress.rows.tolist() == [0] for progress in seen)
    assert [float(progress.f[0]) for progress in seen] == run.f[1:, 0].tolist()


def test_callback_stops_a_run_with_a_true_result() -> None:
    run = minimize("rosenbrock", method="gd", callback=lambda progress: progress.attempt == 5)
    assert run.status.tolist() == [Status.INTERRUPTED]
    assert run.steps.tolist() == [5]
    assert "stopped by the callback after 5 steps" in run.message[0]
    whole = minimize("rosenbrock", method="gd", max_steps=5)
    assert np.array_equal(run.x, whole.x)


@pytest.mark.parametrize("every", [1, 4])
def test_keyboard_interrupt_inside_the_objective(every: int) -> None:
    calls = 0

    def stubborn(q: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4 + 8:
            raise KeyboardInterrupt
        return parabola(q)

    run = minimize(stubborn, [[1.0, 2.0], [1e-9, 0.0]], "gd", lr=0.1, record_every=every)
    assert run.status.tolist() == [Status.INTERRUPTED, Status.CONVERGED]
    assert run.steps.tolist() == [6, 0]
    assert run.x[-1, 0] == pytest.approx(0.9**6 * np.array([1.0, 2.0]), rel=1e-12)
    assert run.attempt[-1] == 6


def test_the_first_ctrl_c_ends_the_run_between_two_steps() -> None:
    before = signal.getsignal(signal.SIGINT)

    def press(progress: Progress) -> None:
        if progress.attempt == 3:
            signal.raise_signal(signal.SIGINT)

    run = minimize("rosenbrock", method="gd", callback=press)
    assert run.status.tolist() == [Status.INTERRUPTED]
    assert run.steps.tolist() == [3]
    assert "interrupted after 3 steps" in run.message[0]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once() -> None:
    calls = 0

    def hanging(q: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4 + 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one must have ended this call")
        return parabola(q)

    before = signal.getsignal(signal.SIGINT)
    run = minimize(hanging, [1.0, 2.0], "gd", lr=0.1)
    assert run.status.tolist() == [Status.INTERRUPTED]
    assert run.steps.tolist() == [2]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_from_outside_returns_what_was_done() -> None:
    script = textwrap.dedent("""
        import sys, flowopt
        def callback(progress):
            if progress.attempt == 10:
                print("ready", flush=True)
        run = flowopt.minimize("rosenbrock", method="gd", lr=1e-6, max_steps=10**7, record_every=0, callback=callback)
        print(flowopt.Status(int(run.status[0])).words, int(run.steps[0]), run.final_f[0] < run.f[0, 0])
    """)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    status, steps, lower = out.split()
    assert status == "interrupted"
    assert int(steps) >= 10
    assert lower == "True"
    assert child.returncode == 0


def test_an_error_in_the_objective_is_not_swallowed() -> None:
    def broken(q: Tensor) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        minimize(broken, [1.0], "gd")


# --- bad input ---


@together(
    ("arguments", "message"),
    [
        ({"max_steps": -1}, "max_steps"),
        ({"max_steps": 1.5}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"record_every": -1}, "record_every"),
        ({"gtol": -1e-3}, "gtol"),
        ({"gtol": float("nan")}, "gtol"),
        ({"gtol": "1e-3"}, "gtol"),
        ({"t_end": 0.0}, "t_end"),
        ({"t_end": float("nan")}, "t_end"),
        ({"h_min": -1.0}, "h_min"),
        ({"ftol": -1.0}, "ftol"),
        ({"f_target": float("nan")}, "f_target"),
        ({"f_target": "low"}, "f_target"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "one"}, "seed"),
        ({"problem": "booth", "x0": []}, "x0"),
        ({"x0": [[[1.0, 2.0]]]}, "x0"),
        ({"x0": [1.0, float("nan")]}, r"x0\[0, 1\] = nan"),
        ({"x0": ["a", "b"]}, "x0"),
        ({"problem": "booth", "x0": [1.0, 2.0, 3.0]}, "2 coordinates, not 3"),
        ({"x0": 1.0}, "x0"),
        ({"lr": torch.tensor([0.1, 0.1])}, "fixed: h .*1 rows"),
        ({"method": GradientFlow()}, "is a part of a method: give Method"),
        ({"method": 3}, "a method is a name"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        minimize(**({"problem": "rosenbrock", "method": "gd"} | arguments))


def test_unknown_names_are_met_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="rosenbrock"):
        minimize("rosenbrok")
    with pytest.raises(UnknownName, match="elra"):
        minimize("rosenbrock", method="elrra")
    with pytest.raises(UnknownName, match="'lr'"):
        minimize("rosenbrock", method="gd", rl=0.1)


def test_ftol_needs_a_known_minimum() -> None:
    with pytest.raises(BadValue, match="known minimum"):
        minimize(parabola, [1.0], "gd", ftol=1e-3)


def test_a_problem_without_a_start_asks_for_one() -> None:
    with pytest.raises(BadValue, match="give x0"):
        minimize(parabola, method="gd")


def test_objective_of_the_wrong_shape_or_kind() -> None:
    with pytest.raises(BadValue, match=r"has shape \(2,\); it must have shape \(\)"):
        minimize(lambda q: q, [1.0, 2.0], "gd")
    with pytest.raises(BadValue, match="autograd cannot see through"):
        minimize(Problem("detached", lambda q: q.detach().sum(-1), None), [1.0], "gd")


def test_starts_may_be_lists_arrays_or_tensors() -> None:
    expected = minimize("rosenbrock", [[0.0, 0.5]], "gd", max_steps=2).x
    for x0 in ((0.0, 0.5), np.array([0.0, 0.5]), torch.tensor([[0.0, 0.5]], dtype=torch.float64), [[0, 0.5]]):
        assert np.array_equal(minimize("rosenbrock", x0, "gd", max_steps=2).x, expected)
    assert minimize("rosenbrock", np.float32([0, 0.5]), "gd", max_steps=1).x.dtype == np.float32
    assert minimize("rosenbrock", [0, 0.5], "gd", max_steps=1, dtype=torch.float32).x.dtype == np.float32


@pytest.mark.parametrize("named", [name for name in NAMES if "nu" in METHODS[name].defaults])
def test_a_seed_repeats_a_run_and_another_does_not(named: str) -> None:
    def run(seed: int) -> Any:
        return minimize("zakharov", None, named, max_steps=20, seed=seed, nu=0.1, delta_energy=1.0).x

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


@pytest.mark.parametrize("named", ["ecdsep", "bbi"])
def test_reaching_f0_on_a_slope_is_no_convergence(named: str) -> None:
    run = ended(Status.BELOW_F0, "reached or fell below", problem="styblinski_tang", x0=None, method=named)
    assert run.steps.tolist() == [0]
    assert run.grad_norm[0, 0] > 1


@pytest.mark.parametrize("named", ["armijo", "elra", "flow"])
def test_a_gradient_that_is_no_number_shrinks_the_step(named: str) -> None:
    def root(x: torch.Tensor) -> torch.Tensor:  # finite beyond the edge x[0] = 0, but its gradient is NaN there
        edge = x[..., 0]
        return torch.where(edge > 0, edge + edge.sqrt(), edge) + x[..., 1] ** 2

    run = minimize(root, [1.0, 2.0], named, max_steps=60)
    assert run.rejected[0] > 0
    assert run.accepted[-20:].any(), "it must not try the same step for ever"


def test_a_value_that_is_no_number_shrinks_the_step_under_pi() -> None:
    def value_and_gradient(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.where(x[..., 0] > 0.5, x.square().sum(-1) / 2, torch.nan), x

    cliff = Problem("cliff", lambda x: value_and_gradient(x)[0], 2, value_and_gradient=value_and_gradient)
    run = minimize(cliff, [1.0, 2.0], "flow", max_steps=200, rtol=1e-2, atol=1e-2)
    back = np.flatnonzero(~run.accepted[:, 0])
    assert len(back) > 1
    after = back[back + 1 < len(run.h)]
    assert (run.h[after + 1, 0] < 0.5 * run.h[after, 0]).all()


def test_parameters_of_float32_rows_are_those_of_the_row_alone() -> None:
    rates = torch.linspace(5e-4, 1e-3, 20)  # their square roots round differently in float32 and in float64
    start = torch.tensor([-1.2, 1.0])
    together = minimize("rosenbrock", start.expand(20, 2), "nesterov", lr=rates, max_steps=20)
    for i, rate in enumerate(rates.tolist()):
        alone = minimize("rosenbrock", start, "nesterov", lr=rate, max_steps=20)
        np.testing.assert_array_equal(together.x[:, i], alone.x[:, 0])


def test_backward_euler_is_no_finer_than_its_numbers() -> None:
    assert minimize("bowl", method="implicit", dtype=torch.float32).converged.all()


def test_a_row_taken_out_ends_at_its_own_last_step() -> None:
    row = minimize("himmelblau", [[-3.0, 3.0], [1.0, 1.0]], "elra", record_every=0).row(0)
    assert row.attempt.tolist() == [0, row.steps[0]]
    assert row.running.all()


@together(
    ("arguments", "words"),
    [
        ({"dtype": torch.int64}, "float32 or torch.float64"),
        ({"callback": 3}, "callback"),
        ({"seed": 2**70}, "seed"),
        ({"x0": [1j, 2.0]}, "real"),
    ],
)
def test_more_bad_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValue, match=words):
        minimize("rosenbrock", **({"method": "gd"} | arguments))


def test_a_numpy_function_is_told_how_to_come_in() -> None:
    with pytest.raises(BadValue, match="from_numpy"):
        minimize(lambda x: np.sum(np.asarray(x) ** 2), [1.0, 2.0])
