"""Reference solutions against closed forms and against each other; and failures that are told, not hidden."""

import re
import signal

import numpy as np
import pytest
import torch
from together import together

from flowopt import BadValue, Method, Problem, Status, UnknownName, from_numpy, minimize, reference
from flowopt.controllers.fixed import Fixed
from flowopt.functions._ode_solvers import ADAPTIVE, FIXED, SCIPY, as_solver
from flowopt.integrators.runge_kutta import RK4
from flowopt.systems.adam import Adam
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.systems.nesterov_flow import NesterovFlow
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow

SPECTRUM = np.array([1.0, 3.0])
STARTS = np.array([[1.0, -2.0], [0.5, 3.0]])
TIGHT = ["scipy:DOP853", "scipy:RK45", "scipy:LSODA", "torchdiffeq:dopri5", "torchdiffeq:dopri8"]
LOOSE = ["scipy:RK23", "scipy:Radau", "scipy:BDF", "torchdiffeq:bosh3", "torchdiffeq:adaptive_heun"]


def bowl(minimum=0.0):
    spectrum = torch.tensor(SPECTRUM)
    return Problem("bowl", lambda x: minimum + 0.5 * (spectrum * x * x).sum(-1), dim=2)


def falling():
    """f = -x^3 / 3: gradient flow from x = 1 is 1 / (1 - t), which is infinite at t = 1."""
    return Problem("falling", lambda x: -(x**3).sum(-1) / 3, dim=1)


def walled():
    """No number beyond x = 2, which gradient flow, x = exp(t), reaches at t = log 2."""
    return Problem("walled", lambda x: (-0.5 * x * x + torch.where(x < 2, 0.0, torch.nan) * x).sum(-1), dim=1)


@pytest.mark.parametrize("solver", TIGHT)
def test_gradient_flow_of_a_quadratic_is_exponential(solver):
    found = reference(bowl(), STARTS, t_end=2.0, solver=solver)
    exact = np.exp(-SPECTRUM * found.t[:, :, None]) * STARTS
    np.testing.assert_allclose(found.x, exact, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.f, 0.5 * (SPECTRUM * exact**2).sum(-1), atol=1e-7)
    np.testing.assert_allclose(found.grad_norm, np.linalg.norm(SPECTRUM * exact, axis=-1), atol=1e-7)
    assert found.x.shape == (201, 2, 2)
    assert (found.status == Status.TIME_REACHED).all()
    assert np.isnan(found.error).all()


@pytest.mark.parametrize("solver", LOOSE)
def test_the_other_solvers_agree_within_their_tolerance(solver):
    found = reference(bowl(), STARTS, t_end=0.5, solver=solver, rtol=1e-5, atol=1e-7, t_eval=[0.2])
    exact = np.exp(-SPECTRUM * found.t[:, :, None]) * STARTS
    error = np.abs(found.x - exact).max()
    assert 1e-12 < error < 1e-3


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun2", 2), ("heun3", 3), ("rk4", 4)])
def test_fixed_schemes_step_from_record_to_record(solver, order):
    errors = []
    for steps in (16, 32):
        found = reference(bowl(), STARTS, 1.0, solver=f"torchdiffeq:{solver}", t_eval=np.linspace(0, 1, steps + 1))
        assert found.about["solver_steps"] == [steps, steps]
        errors.append(np.abs(found.final_x - np.exp(-SPECTRUM) * STARTS).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    "system",
    [
        SeparableHamiltonian(exponent=2.0, delta_energy=0.5),
        HeavyBall(0.5, 0.3),
        NesterovFlow(),
        Adam(step=0.1, eps=0.1),
    ],
)
def test_scipy_and_torchdiffeq_agree_on_rosenbrock(system):
    one = reference("rosenbrock", None, 0.5, system, "scipy:DOP853", t_eval=[0.1, 0.25])
    two = reference("rosenbrock", None, 0.5, system, "torchdiffeq:dopri5", t_eval=[0.1, 0.25])
    assert one.t[:, 0].tolist() == [0.0, 0.1, 0.25, 0.5]
    assert np.abs(one.final_x - one.x[0]).max() > 0.01
    np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", ["scipy:DOP853", "torchdiffeq:dopri5"])
def test_the_hamiltonian_conserves_its_energy(solver):
    system = SeparableHamiltonian(exponent=1.5, delta_energy=0.2)
    found = reference(bowl(minimum=1.0), STARTS, 5.0, system, solver)
    assert np.ptp(found.f, axis=0).min() > 0.3
    np.testing.assert_allclose(found.energy, found.energy[:1] * np.ones_like(found.energy), rtol=1e-8)
    assert abs(found.energy[0, 0] - found.energy[0, 1]) > 0.1


def test_newton_flow_shrinks_the_gradient_along_its_own_direction():
    starts = np.array([[1.1, 1.1], [0.9, 0.7]])
    found = reference("rosenbrock", starts, 3.0, NewtonFlow())
    np.testing.assert_allclose(found.grad_norm, found.grad_norm[:1] * np.exp(-found.t), rtol=1e-7)
    assert (found.evaluations["hvp"] == 2 * found.evaluations["gradient"]).all()  # D = 2 products a rate


def test_heavy_ball_on_a_quadratic_is_a_damped_oscillation():
    mass, friction = 0.5, 0.4
    found = reference(bowl(), STARTS, 4.0, HeavyBall(mass, friction), t_eval=np.linspace(0, 4, 9))
    t = found.t[:, :, None]
    decay = friction / (2 * mass)
    omega = np.sqrt(SPECTRUM / mass - decay**2)
    exact = STARTS * np.exp(-decay * t) * (np.cos(omega * t) + decay / omega * np.sin(omega * t))
    np.testing.assert_allclose(found.x, exact, rtol=0, atol=1e-8)
    assert (np.diff(found.energy, axis=0) < 0).all()


def test_nesterov_flow_on_a_quadratic_is_a_bessel_function():
    from scipy.special import j1

    found = reference(bowl(), STARTS, 6.0, NesterovFlow(), t_eval=np.linspace(0, 6, 13))
    z = np.sqrt(SPECTRUM) * found.t[1:, :, None]
    np.testing.assert_allclose(found.x[1:], STARTS * 2 * j1(z) / z, rtol=0, atol=1e-8)  # Su, Boyd, Candes 2016, eq 8


def test_a_method_stands_for_the_continuous_limit_of_its_system():
    by_method = reference("rosenbrock", None, 0.01, Method(GradientFlow(), RK4(), Fixed(0.1)))
    by_name = reference("rosenbrock", None, 0.01, "gradient_flow")
    np.testing.assert_array_equal(by_method.x, by_name.x)
    limit = reference("rosenbrock", [1.1, 1.0], 0.01, ScaledGradientFlow("gradient_difference"), rtol=1e-5, t_eval=[])
    explicit = reference("rosenbrock", [1.1, 1.0], 0.01, ScaledGradientFlow("limit"), rtol=1e-5, t_eval=[])
    np.testing.assert_array_equal(limit.x, explicit.x)
    assert limit.about["parts"]["scaled_gradient_flow"]["scaling"] == "limit"


@pytest.mark.parametrize("solver", ["scipy:DOP853", "scipy:LSODA", "torchdiffeq:dopri5"])
def test_a_row_moves_in_a_batch_as_it_does_alone(solver):
    starts = np.array([[-1.2, 1.0], [0.5, 2.0], [1.0, 1.0]])
    system = HeavyBall(mass=torch.tensor([0.5, 1.0, 2.0]), friction=0.3)
    batch = reference("rosenbrock", starts, 0.2, system, solver, t_eval=[0.1])
    for i, start in enumerate(starts):
        solo = reference("rosenbrock", start, 0.2, system.select(torch.tensor([i])), solver, t_eval=[0.1])
        np.testing.assert_array_equal(batch.x[:, i], solo.x[:, 0])
        assert batch.evaluations["gradient"][i] == solo.evaluations["gradient"][0]
        assert batch.about["solver_steps"][i] == solo.about["solver_steps"][0]
    assert len(set(batch.about["solver_steps"])) == 3


@pytest.mark.parametrize("solver", ["scipy:DOP853", "scipy:Radau", "torchdiffeq:dopri5", "torchdiffeq:rk4"])
def test_every_evaluation_of_the_solver_is_counted(solver):
    calls = 0

    def value_and_gradient(x):
        nonlocal calls
        calls += 1
        return 0.5 * (x * x).sum(-1), x

    problem = Problem("counted", lambda x: 0.5 * (x * x).sum(-1), dim=2, value_and_gradient=value_and_gradient)
    found = reference(problem, [1.0, 2.0], 1.0, solver=solver, rtol=1e-4, t_eval=[0.5])
    assert found.evaluations["gradient"].tolist() == [calls - 1]  # the last call fills in f and the gradient's norm
    assert found.cost[-1, 0] == calls - 1
    assert (np.diff(found.cost[:, 0]) >= 0).all()
    assert found.cost[0, 0] < found.cost[1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["scipy:RK45", "scipy:BDF", "scipy:LSODA", "torchdiffeq:dopri5", "torchdiffeq:rk4"])
def test_dense_output_passes_through_the_records_and_between_them(solver):
    found = reference(bowl(), STARTS, 1.0, solver=solver, dense=True)
    times = np.array([0.7, 0.0, 0.123, 1.0, 0.7])
    between = found.dense(times)
    assert between.shape == (5, 2, 2)
    np.testing.assert_array_equal(between[1], STARTS)
    np.testing.assert_array_equal(between[0], between[4])
    tolerance = 1e-6 if solver == "torchdiffeq:rk4" else 1e-8
    np.testing.assert_allclose(between, np.exp(-SPECTRUM * times[:, None, None]) * STARTS, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.dense(found.t[:, 0]), found.x, rtol=0, atol=1e-9)
    assert found.dense(0.5).shape == (1, 2, 2)
    with pytest.raises(BadValue, match=r"\[0, t_end\]"):
        found.dense([0.5, 1.5])
    assert reference(bowl(), STARTS, 1.0, solver=solver).dense is None


@pytest.mark.parametrize(
    "solver", ["scipy:DOP853", "scipy:RK45", "scipy:Radau", "scipy:BDF", "scipy:LSODA", "torchdiffeq:dopri5"]
)
def test_a_blow_up_in_finite_time_is_reported_with_what_was_found(solver):
    found = reference(falling(), [[1.0], [-1.0], [0.5]], 1.5, solver=solver, rtol=1e-8, atol=1e-10, dense=True)
    assert found.evaluations["gradient"][0] < 50_000
    assert found.status[0] in (Status.SOLVER_FAILED, Status.NONFINITE)
    assert found.status[1:].tolist() == [Status.TIME_REACHED] * 2
    assert re.search(r"t = (1|1\.0000\d*|0\.9999\d*) after", found.message[0])
    assert "x = (" in found.message[0]
    row = found.row(0)
    assert row.t[-1, 0] == pytest.approx(1.0, abs=1e-4)
    early = row.t[:, 0] < 0.9
    np.testing.assert_allclose(row.x[early, 0, 0], 1 / (1 - row.t[early, 0]), rtol=1e-3)
    assert row.x[-1, 0, 0] > 1e3
    np.testing.assert_allclose(found.x[-1, 1:, 0], [-1 / 2.5, 0.5 / 0.25], rtol=1e-3)
    dense = found.dense([0.5, 1.2])[:, :, 0]
    assert np.isnan(dense[1, 0])
    assert np.isfinite(np.delete(dense.ravel(), 3)).all()


@pytest.mark.parametrize(
    "solver",
    ["scipy:DOP853", "scipy:RK45", "scipy:Radau", "scipy:BDF", "scipy:LSODA", "torchdiffeq:dopri5", "torchdiffeq:rk4"],
)
def test_a_field_that_stops_being_a_number_is_reported_as_nonfinite(solver):
    found = reference(walled(), [[1.0], [0.1]], 1.0, solver=solver, rtol=1e-6, atol=1e-8)
    assert found.status.tolist() == [Status.NONFINITE, Status.TIME_REACHED]
    assert np.isfinite(found.x).all()
    assert 0.6 < found.t[-1, 0] <= np.log(2) + 1e-4
    assert found.x[-1, 0, 0] == pytest.approx(np.exp(found.t[-1, 0]), rel=1e-4)
    assert "not a finite number beyond t = 0.6" in found.message[0]
    np.testing.assert_allclose(found.final_x[1], 0.1 * np.e, rtol=1e-4)


def test_a_start_where_the_field_is_no_number_has_no_solution():
    found = reference(walled(), [[3.0], [0.1]], 1.0, t_eval=[0.5], dense=True)
    assert found.status.tolist() == [Status.NONFINITE, Status.TIME_REACHED]
    assert found.steps.tolist() == [0, 2]
    np.testing.assert_array_equal(found.x[:, 0, 0], [3.0, 3.0, 3.0])
    assert np.isnan(found.dense(0.5)[0, 0, 0])


def test_a_functional_iteration_that_does_not_converge_is_reported():
    found = reference(bowl(), STARTS[0], 10.0, solver="torchdiffeq:implicit_adams", t_eval=np.linspace(0, 10, 21))
    assert found.status.tolist() == [Status.SOLVER_FAILED]
    assert "did not converge" in found.message[0]


class Decay:
    """The field -y as a solver's adapter sees it; once, early on, it reports a trial that was not finite."""

    def __init__(self):
        self.start, self.bad, self.calls = torch.tensor([1.0, 2.0], dtype=torch.float64), False, 0

    def __call__(self, y):
        self.calls += 1
        self.bad = self.bad or self.calls == 4
        return -y

    def cost(self):
        return self.calls


@pytest.mark.parametrize("solver", ["scipy:RK45", "scipy:Radau", "torchdiffeq:dopri5", "torchdiffeq:rk4"])
def test_a_trial_that_was_not_finite_is_forgotten_once_a_step_is_accepted(solver):
    field = Decay()
    solution = as_solver(solver)(field, np.linspace(0, 3, 10), 1e-6, 1e-8, False)
    assert not field.bad
    assert not solution.trouble
    np.testing.assert_allclose(solution.last, np.exp(-3) * np.array([1, 2]), rtol=1e-2)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_steps_of_torchdiffeq_end_exactly_at_the_records(method):
    grid = np.concatenate(([0.0], np.sort(10 ** np.random.default_rng(0).uniform(-8, 0, 60))))
    solution = as_solver(f"torchdiffeq:{method}")(Decay(), grid, 1e-2, 1e-2, False)
    assert set(grid) <= set(solution.times)
    assert len(solution.times) == len(solution.costs)


def test_a_solver_that_gets_nowhere_is_left():
    # Newton's flow from here runs off along the line y = x^2 + 1/200, where the Hessian is singular, ever faster
    found = reference("rosenbrock", [1.1, 1.3], 3.0, NewtonFlow(), "scipy:RK45", max_evaluations=3000)
    assert found.status.tolist() == [Status.SOLVER_FAILED]
    assert "max_evaluations = 3000 are used up" in found.message[0]
    assert 3000 <= found.evaluations["gradient"][0] + found.evaluations["hvp"][0] < 3003
    x, y = found.final_x[0]
    assert y - x**2 == pytest.approx(1 / 200, abs=2e-3)
    stiff = reference(bowl(), STARTS[0], 1.0, solver="torchdiffeq:dopri5", max_evaluations=300)
    assert "used up" in stiff.message[0]
    np.testing.assert_allclose(stiff.row(0).x[:, 0], np.exp(-SPECTRUM * stiff.row(0).t) * STARTS[0], atol=1e-8)


def test_an_interrupted_reference_returns_what_was_done():
    calls = 0

    def value_and_gradient(x):
        nonlocal calls
        calls += 1
        if calls == 200:
            signal.raise_signal(signal.SIGINT)
        return 0.5 * (x * x).sum(-1), x

    problem = Problem("slow", lambda x: 0.5 * (x * x).sum(-1), dim=2, value_and_gradient=value_and_gradient)
    handler = signal.getsignal(signal.SIGINT)
    found = reference(problem, STARTS, 10.0, solver="scipy:RK45")
    assert signal.getsignal(signal.SIGINT) is handler
    assert found.status.tolist() == [Status.INTERRUPTED] * 2
    assert found.steps[0] > 0
    assert found.steps[1] == 0
    row = found.row(0)
    np.testing.assert_allclose(row.x[:, 0], np.exp(-row.t) * STARTS[0], atol=1e-8)


def test_gradient_noise_is_left_out():
    from dataclasses import replace

    clean = reference(bowl(), STARTS, 1.0, t_eval=[])
    noisy = reference(replace(bowl(), noise=1.0), STARTS, 1.0, t_eval=[])
    np.testing.assert_array_equal(clean.x, noisy.x)
    assert clean.x.shape == (2, 2, 2)


def test_a_method_at_small_steps_follows_its_reference():
    followed = minimize(bowl(), STARTS, Method(GradientFlow(), RK4(), Fixed(0.02)), t_end=1.0, gtol=0.0)
    exact = reference(bowl(), STARTS, 1.0, t_eval=followed.t[1:-1, 0])
    np.testing.assert_allclose(followed.x, exact.x, rtol=0, atol=1e-6)


def test_the_trajectory_saves_and_says_what_it_is(tmp_path):
    found = reference("rosenbrock", t_end=0.1, t_eval=[0.05])
    loaded = type(found).load(found.save(tmp_path / "reference"))
    np.testing.assert_array_equal(loaded.x, found.x)
    assert "gradient_flow by scipy:DOP853" in found.summary()
    assert np.isnan(found.h[0]).all()
    assert (found.h[1:] > 0).all()


def test_names_are_checked():
    with pytest.raises(UnknownName, match="did you mean 'scipy:DOP853'"):
        reference("rosenbrock", solver="scipy:DOP583")
    with pytest.raises(UnknownName, match="torchdiffeq:dopri5"):
        reference("rosenbrock", solver="torchdiffeq:dopri4")
    with pytest.raises(UnknownName, match="gradient_flow"):
        reference("rosenbrock", system="gradient_flo")
    for solver in [*(f"scipy:{name}" for name in SCIPY), *(f"torchdiffeq:{name}" for name in ADAPTIVE + FIXED)]:
        assert reference(
            bowl(), STARTS, 1e-3, solver=solver.upper(), rtol=1e-2, atol=1e-2, t_eval=[]
        ).steps.tolist() == [1, 1]


@together(
    ("arguments", "match"),
    [
        ({"t_end": 0.0}, "t_end"),
        ({"t_end": np.inf}, "t_end"),
        ({"rtol": 1e-16}, "rtol"),
        ({"atol": 0.0}, "atol"),
        ({"t_eval": [0.2, 0.1]}, "increasing"),
        ({"t_eval": [0.5, 2.0]}, "lie in"),
        ({"t_eval": [[0.5]]}, "increasing"),
        ({"system": 3}, "a system is"),
        ({"x0": [np.nan, 0.0]}, "finite"),
    ],
)
def test_bad_values_are_refused(arguments, match):
    with pytest.raises(BadValue, match=match):
        reference("rosenbrock", **arguments)


def test_a_numpy_function_has_no_newton_flow():
    problem = from_numpy(lambda x: float(x @ x), lambda x: 2 * x)
    np.testing.assert_allclose(reference(problem, [1.0], 1.0, t_eval=[]).final_x, np.exp([[-2.0]]), atol=1e-9)
    with pytest.raises(BadValue, match="Hessian-vector products"):
        reference(problem, [1.0], system="newton_flow")


def test_errors_of_the_objective_are_not_taken_for_a_failing_solver():
    def broken(x):
        raise ValueError("my own mistake")

    problem = from_numpy(lambda x: float(x @ x), lambda x: 2 * x if x[0] > 0.5 else broken(x))
    for solver in ("scipy:Radau", "scipy:RK45", "torchdiffeq:dopri5"):
        with pytest.raises(ValueError, match="my own mistake"):
            reference(problem, [1.0], 2.0, solver=solver)
