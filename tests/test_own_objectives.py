"""Users' own objectives: torch functions, NumPy functions, functions named by module, and what goes wrong with them."""

import sys

import numpy as np
import pytest
import torch
from together import together

import flowopt
from flowopt.controllers.fixed import Fixed
from flowopt.integrators.euler import ForwardEuler
from flowopt.problems._own import as_problem
from flowopt.systems.newton_flow import NewtonFlow

STARTS = [[-1.2, 1.0], [0.5, 2.0], [0.0, 0.0]]
GD = {"method": "gd", "lr": 1e-3, "gtol": 0.0}


def valley(x):
    """Rosenbrock's function of one point, in NumPy."""
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def valley_jac(x):
    slope = 200 * (x[1] - x[0] ** 2)
    return np.array([-2 * (1 - x[0]) - 2 * x[0] * slope, slope])


class Counted:
    """A function that counts its calls and keeps the shapes and types it was called with."""

    def __init__(self, fun):
        self.fun, self.calls, self.seen = fun, 0, set()

    def __call__(self, x):
        self.calls += 1
        self.seen.add((type(x), x.shape, x.dtype))
        return self.fun(x)


def same_path(one, other, rtol=1e-12):
    np.testing.assert_allclose(one.x, other.x, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.f, other.f, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.grad_norm, other.grad_norm, rtol=rtol, atol=rtol)


@pytest.fixture(scope="module")
def expected():
    return flowopt.minimize("rosenbrock", STARTS, max_steps=50, **GD)


def test_a_torch_function_is_a_problem(expected):
    def torch_valley(x):
        return (1 - x[..., 0]) ** 2 + 100 * (x[..., 1] - x[..., 0] ** 2) ** 2

    path = flowopt.minimize(torch_valley, STARTS, max_steps=50, **GD)
    same_path(path, expected)
    assert path.about["problem"] == "torch_valley"
    assert path.evaluations["gradient"].tolist() == path.evaluations["value"].tolist() == [51 + 4] * 3


def test_a_numpy_function_with_its_gradient(expected):
    fun, jac = Counted(valley), Counted(valley_jac)
    path = flowopt.minimize(flowopt.from_numpy(fun, jac), STARTS, max_steps=50, **GD)
    same_path(path, expected)
    assert path.evaluations["value"].sum() == fun.calls == 3 * 51
    assert path.evaluations["gradient"].sum() == jac.calls == 3 * 51
    assert fun.seen == jac.seen == {(np.ndarray, (2,), np.dtype(np.float64))}


@pytest.mark.parametrize(("difference", "calls", "rtol"), [("central", 5, 1e-7), ("forward", 3, 1e-4)])
def test_finite_differences_are_counted_as_values(expected, difference, calls, rtol):
    fun = Counted(valley)
    path = flowopt.minimize(flowopt.from_numpy(fun, difference=difference), STARTS, max_steps=50, **GD)
    same_path(path, expected, rtol)
    assert path.evaluations["value"].sum() == fun.calls == 3 * 51 * calls
    assert path.evaluations["gradient"].tolist() == [51] * 3


@pytest.mark.parametrize(("difference", "error"), [("central", 1e-9), ("forward", 1e-6)])
def test_finite_differences_are_as_good_as_their_order_allows(difference, error):
    """Rounding and truncation balance at eps^(2/3) and eps^(1/2), relative, also at large points."""
    problem = flowopt.from_numpy(lambda x: np.sin(x / 3e4).sum(), difference=difference)
    gradient = problem.value_and_gradient(torch.full((1, 3), 3e4, dtype=torch.float64))[1]
    expected = torch.full((1, 3), np.cos(1.0) / 3e4, dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=error, atol=0)
    assert not torch.equal(gradient, expected)


def test_finite_differences_take_the_step_that_was_really_made():
    """x + step is rounded; dividing by the rounded step makes a linear function's difference exact."""
    slope = flowopt.from_numpy(lambda x: 4.0 * x[0]).value_and_gradient(torch.tensor([[1e5 / 3]], dtype=torch.float64))[
        1
    ]
    assert slope.item() == pytest.approx(4.0, rel=1e-15)


def test_what_is_known_of_a_numpy_function_is_used():
    problem = flowopt.from_numpy(valley, valley_jac, name="my valley", start=(1.0, 1.0), minimum=0.0, dim=2)
    path = flowopt.minimize(problem, ftol=1e-8)
    assert path.about["problem"] == "my valley"
    assert path.converged.all()
    with pytest.raises(flowopt.BadValue, match="2 coordinates, not 3"):
        flowopt.minimize(problem, [0.0, 0.0, 0.0])
    with pytest.raises(flowopt.BadValue, match=r"valley has no standard start; give x0"):
        flowopt.minimize(flowopt.from_numpy(valley))
    with pytest.raises(flowopt.BadValue, match="ftol needs a known minimum"):
        flowopt.minimize(flowopt.from_numpy(valley), [0.0, 0.0], ftol=1e-3)


def test_a_numpy_function_may_spoil_its_argument(expected):
    def spoils(function):
        def wrapped(x):
            result = function(x)
            x[:] = np.nan
            return result

        return wrapped

    path = flowopt.minimize(flowopt.from_numpy(spoils(valley), spoils(valley_jac)), STARTS, max_steps=50, **GD)
    same_path(path, expected)


def test_a_numpy_function_may_return_its_number_in_any_shape(expected):
    for fun in (lambda x: [valley(x)], lambda x: np.array([[valley(x)]]), lambda x: np.longdouble(valley(x))):
        same_path(flowopt.minimize(flowopt.from_numpy(fun, valley_jac), STARTS, max_steps=50, **GD), expected)


def test_float32_stays_float32():
    fun = Counted(valley)
    path = flowopt.minimize(flowopt.from_numpy(fun), np.float32(STARTS), max_steps=5, **GD)
    assert path.x.dtype == path.f.dtype == np.float32
    exact = flowopt.minimize("rosenbrock", STARTS, max_steps=5, **GD)
    np.testing.assert_allclose(path.x, exact.x, rtol=1e-5, atol=1e-6)
    assert fun.seen == {(np.ndarray, (2,), np.dtype(np.float64))}, "differences of float32 numbers would be noise"


def test_numbers_are_read_as_they_are_by_calling_a_problem():
    problem = flowopt.from_numpy(valley)
    assert problem([-1.2, 1.0]) == pytest.approx(24.2)
    np.testing.assert_allclose(problem(np.array(STARTS)), [24.2, 306.5, 1.0])
    assert isinstance(problem(torch.zeros(4, 2)), torch.Tensor)


def test_a_row_that_fails_leaves_the_others_alone(expected):
    def fails_beyond(x):
        return np.nan if x[0] > 5 else valley(x)

    path = flowopt.minimize(flowopt.from_numpy(fails_beyond, valley_jac), [*STARTS, [9.0, 9.0]], max_steps=50, **GD)
    same_path(path.row(0), expected.row(0))
    same_path(path.row(2), expected.row(2))
    assert path.status[3] == flowopt.Status.NONFINITE


def test_errors_of_the_users_function_come_through_unchanged():
    class Broken(Exception):
        pass

    def broken(x):
        raise Broken("my own trouble")

    with pytest.raises(Broken, match="my own trouble"):
        flowopt.minimize(flowopt.from_numpy(broken), [0.0, 0.0])
    with pytest.raises(Broken, match="my own trouble"):
        flowopt.minimize(broken, [0.0, 0.0])


@together(
    ("fun", "jac", "message"),
    [
        (lambda x: x, None, r"one number for a point \(D,\), not array\(\[0., 0.\]\)"),
        (lambda x: None, None, "one number for a point"),
        (lambda x: "much", None, "one number for a point"),
        (valley, lambda x: valley_jac(x)[:1], r"jac must return shape \(2,\), not \(1,\)"),
        (valley, lambda x: valley_jac(x)[None], r"jac must return shape \(2,\), not \(1, 2\)"),
        (valley, lambda x: None, r"jac must return shape \(2,\)"),
    ],
)
def test_results_of_a_wrong_shape_are_refused(fun, jac, message):
    with pytest.raises(flowopt.BadValue, match=message):
        flowopt.minimize(flowopt.from_numpy(fun, jac), [0.0, 0.0])


def test_an_unknown_kind_of_difference_is_refused():
    with pytest.raises(flowopt.BadValue, match="'central', 'forward'"):
        flowopt.from_numpy(valley, difference="backward")


@together(
    ("fun", "message"),
    [
        (lambda x: x**2, r"at positions of shape \(2,\) has shape \(2,\); it must have shape \(\)"),
        (lambda x: (x.detach() ** 2).sum(-1), "autograd cannot see through the objective"),
        (lambda x: torch.from_numpy((x.detach().numpy() ** 2).sum(-1)), "flowopt.from_numpy"),
        (lambda x: np.square(x).sum(), "flowopt.from_numpy"),
        (lambda x: None, "is of type NoneType: None; return a torch tensor"),
        (lambda x: 1.0, "is of type float: 1.0; return a torch tensor"),
        (lambda x: (x.detach().numpy() ** 2).sum(-1), "or wrap a NumPy function with flowopt.from_numpy"),
        (lambda x: (x**2).sum(-1).to(torch.complex128), "is complex .* return a real number"),
        (lambda x: (x**2).sum(-1).to(torch.float32), "is of torch.float32, but the run is in torch.float64"),
        (lambda x: (x**2).sum(-1).long(), "is of torch.int64, but the run is in torch.float64"),
        (lambda x: (x**2).sum(-1).to("meta"), "is on meta, but the run is on the cpu"),
    ],
)
def test_torch_functions_that_are_none_are_refused(fun, message):
    with pytest.raises(flowopt.BadValue, match=message):
        flowopt.minimize(fun, STARTS)


@pytest.mark.parametrize("given", [3.0, None, ["rosenbrock"]])
def test_what_is_no_objective_is_refused(given):
    with pytest.raises(flowopt.BadValue, match="a problem is a name, a Problem or a torch function"):
        flowopt.minimize(given, [0.0, 0.0])


def test_methods_that_need_hessians_are_refused_before_any_work():
    fun = Counted(valley)
    method = flowopt.Method(NewtonFlow(), ForwardEuler(), Fixed(0.1))
    with pytest.raises(flowopt.BadValue, match="needs Hessian-vector products, which valley does not have"):
        flowopt.minimize(flowopt.from_numpy(fun, name="valley"), [0.0, 0.0], method=method)
    assert fun.calls == 0


MODULE = """
import numpy as np
import flowopt

def bowl(x):
    return (3 * x[..., 0] ** 2 + 24 * x[..., 1] ** 2)

numpy_bowl = flowopt.from_numpy(lambda x: 3 * x[0] ** 2 + 24 * x[1] ** 2, start=(-5.75, 1.75))
number = 7
"""


@pytest.fixture
def my_objectives(tmp_path, monkeypatch):
    (tmp_path / "my_objectives.py").write_text(MODULE)
    (tmp_path / "my_broken_objectives.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    assert sys.path == before
    sys.modules.pop("my_objectives", None)


@pytest.mark.usefixtures("my_objectives")
def test_functions_named_by_module():
    expected = flowopt.minimize("bowl", max_steps=20, **GD)
    x0 = [-5.75, 1.75]
    same_path(flowopt.minimize("my_objectives:bowl", x0, max_steps=20, **GD), expected)
    same_path(flowopt.minimize("my_objectives:numpy_bowl", max_steps=20, **GD), expected, rtol=1e-8)


@pytest.mark.usefixtures("my_objectives")
@together(
    ("name", "message"),
    [
        ("my_objectives:boowl", "has no 'boowl'"),
        ("my_objectives:", "'my_objectives:' is not of the form module:function"),
        ("my_objectives:number", "neither a Problem nor a function"),
        ("no_such_module:bowl", "cannot import 'no_such_module'"),
        ("my_broken_objectives:bowl", "a_module_that_nobody_has"),
        (":bowl", "':bowl' is not of the form module:function"),
        (".my_objectives:bowl", "is not of the form module:function"),
    ],
)
def test_names_that_lead_nowhere(name, message):
    with pytest.raises(flowopt.BadValue, match=message):
        flowopt.minimize(name, [0.0, 0.0])


@pytest.mark.usefixtures("my_objectives")
def test_options_belong_to_the_librarys_problems():
    assert as_problem("ackley", dim=3).dim == 3
    for given in ("my_objectives:bowl", flowopt.problem("beale"), valley):
        with pytest.raises(flowopt.BadValue, match="options"):
            as_problem(given, dim=3)
