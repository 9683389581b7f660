"""flowopt's methods inside scipy.optimize.minimize."""

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult, minimize, rosen, rosen_der
from together import together

import flowopt
from flowopt import BadValue, Method, Status, UnknownName, scipy_method
from flowopt.controllers.fixed import Fixed
from flowopt.integrators.runge_kutta import RK4
from flowopt.systems.gradient_flow import GradientFlow

START = [0.5, 0.4]


class Counted:
    """A bowl around `centre`, with its calls counted."""

    def __init__(self, centre=0.0):
        self.values, self.gradients, self.centre = 0, 0, centre

    def value(self, x, scale=1.0):
        self.values += 1
        return scale * 0.5 * float((x - self.centre) @ (x - self.centre))

    def gradient(self, x, scale=1.0):
        self.gradients += 1
        return scale * (x - self.centre)

    def both(self, x, scale=1.0):
        return self.value(x, scale), self.gradient(x, scale)


def test_it_is_the_same_run_as_ours():
    result = minimize(rosen, START, jac=rosen_der, method=scipy_method("gd", lr=1e-3), options={"max_steps": 300})
    ours = flowopt.minimize(flowopt.from_numpy(rosen, rosen_der), START, "gd", lr=1e-3, max_steps=300)
    np.testing.assert_array_equal(result.trajectory.x, ours.x)
    np.testing.assert_array_equal(result.x, ours.final_x[0])
    assert isinstance(result, OptimizeResult)
    assert result.fun == ours.final_f[0] == rosen(result.x)
    np.testing.assert_array_equal(result.jac, rosen_der(result.x))
    assert (result.nit, result.success, result.status) == (300, False, Status.MAX_STEPS)
    assert result.message == ours.message[0]
    assert result.x.shape == (2,)


@pytest.mark.parametrize("method", ["ecco", "torch:Adam", torch.optim.LBFGS, "scipy:CG"])
def test_a_converged_run_is_a_success(method):
    options = {"lr": 0.1} if method == "torch:Adam" else {}
    bowl = Counted(centre=np.array([1.0, 2.0, 3.0]))
    result = minimize(bowl.both, [0.0, 0.0, 0.0], jac=True, method=scipy_method(method, **options), tol=1e-3)
    assert result.success
    assert result.status == 0
    assert "converged" in result.message
    assert np.linalg.norm(result.jac) <= 1e-3
    np.testing.assert_allclose(result.x, [1.0, 2.0, 3.0], atol=1e-3)


@pytest.mark.parametrize("jac", ["callable", "true", "none", "2-point"])
def test_every_call_is_counted(jac):
    bowl = Counted()
    given = {"callable": bowl.gradient, "true": True, "none": None, "2-point": "2-point"}[jac]
    fun = bowl.both if jac == "true" else bowl.value
    method = scipy_method("gd", lr=0.1)
    result = minimize(fun, [1.0, -2.0], args=(2.0,), jac=given, method=method, options={"maxiter": 10})
    assert result.nit == 10
    assert result.nfev == bowl.values
    assert result.nhev == 0
    np.testing.assert_allclose(result.x, np.array([1.0, -2.0]) * 0.8**10, rtol=1e-7)
    np.testing.assert_allclose(result.jac, 2 * result.x, rtol=1e-7)
    if jac in ("callable", "true"):
        assert result.njev == bowl.gradients == result.nfev
    else:
        assert result.nfev == 5 * result.njev  # the value, and 2 D for central differences


def test_the_gradient_is_the_one_at_x_even_if_other_points_were_measured_last():
    bowl = Counted()
    method = scipy_method(Method(GradientFlow(), RK4(), Fixed(0.1)))
    result = minimize(bowl.value, [1.0, -2.0], jac=bowl.gradient, method=method, options={"maxiter": 10})
    np.testing.assert_array_equal(result.jac, result.x)
    assert result.fun == result.trajectory.final_f[0] == 0.5 * float(result.x @ result.x)
    assert result.nfev == result.njev == bowl.values == bowl.gradients


def test_one_argument_need_not_be_a_tuple():
    result = minimize(Counted().value, [1.0], args=3.0, method=scipy_method("gd", lr=0.1), options={"maxiter": 1})
    np.testing.assert_allclose(result.x, [0.7], rtol=1e-7)


def test_callbacks_in_both_forms_see_every_iteration():
    points, results = [], []

    def with_result(intermediate_result):
        results.append(intermediate_result)

    options = {"max_steps": 7}
    result = minimize(rosen, START, jac=rosen_der, method=scipy_method("gd"), callback=points.append, options=options)
    minimize(rosen, START, jac=rosen_der, method=scipy_method("gd"), callback=with_result, options=options)
    np.testing.assert_array_equal(points, result.trajectory.x[1:, 0])
    np.testing.assert_array_equal([entry.x for entry in results], points)
    assert [entry.fun for entry in results] == [rosen(x) for x in points]


def test_a_callback_may_stop_the_run_as_in_scipy():
    def stop(x):
        if rosen(x) < 0.6:
            raise StopIteration

    result = minimize(rosen, START, jac=rosen_der, method=scipy_method("gd", lr=1e-4), callback=stop)
    assert result.status == 99
    assert not result.success
    assert result.message == "`callback` raised `StopIteration`."
    assert rosen(result.x) < 0.6 <= rosen(result.trajectory.x[-2, 0])


def test_options_reach_the_run():
    method = scipy_method("gd", lr=1e-3)
    run = {"fun": rosen, "x0": START, "jac": rosen_der, "method": method}
    assert minimize(**run, options={"gtol": 10.0}).success
    assert minimize(**run, tol=10.0).nit == minimize(**run, options={"gtol": 10.0}).nit
    assert minimize(**run, tol=1e-9, options={"gtol": 10.0}).success
    assert minimize(**run, options={"f_target": 0.5}).fun <= 0.5
    timed = minimize(**run, options={"t_end": 0.0255})
    assert timed.status == Status.TIME_REACHED
    assert timed.trajectory.t[-1, 0] == 0.0255
    assert len(minimize(**run, options={"maxiter": 50, "record_every": 10}).trajectory.x) == 6


@together(
    ("extra", "match"),
    [
        ({"bounds": [(0, 1), (0, 1)]}, "bounds"),
        ({"constraints": {"type": "eq", "fun": lambda x: x[0]}}, "constraints"),
        ({"constraints": [{"type": "eq", "fun": lambda x: x[0]}]}, "constraints"),
        ({"hess": lambda x: np.eye(2)}, "hess"),
        ({"hessp": lambda x, p: p}, "hessp"),
        ({"options": {"maxiter": 3, "max_steps": 3}}, "mean the same"),
        ({"options": {"gtol": -1.0}}, "gtol"),
        ({"x0": [np.nan, 1.0]}, "finite"),
    ],
)
def test_what_no_method_can_use_is_refused(extra, match):
    with pytest.raises(BadValue, match=match):
        minimize(**({"fun": rosen, "x0": START, "jac": rosen_der, "method": scipy_method("gd")} | extra))


def test_empty_constraints_and_no_bounds_are_fine():
    result = minimize(rosen, START, method=scipy_method("gd"), bounds=None, constraints=[], options={"maxiter": 1})
    assert result.nit == 1


def test_names_are_checked_when_the_method_is_made():
    with pytest.raises(UnknownName, match="did you mean 'ecco'"):
        scipy_method("eco")
    with pytest.raises(UnknownName, match="parameter of gd"):
        scipy_method("gd", rate=1.0)
    with pytest.raises(UnknownName, match="did you mean 'gtol'"):
        minimize(rosen, START, method=scipy_method("gd"), options={"gtoll": 1.0})
    with pytest.raises(BadValue, match="jac"):
        scipy_method("gd")(rosen, START, jac=True)
