"""What users' objectives may do, and must not: buffers, writes, rows that mix, types."""

import warnings
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import torch
from typer.testing import CliRunner

import flowopt
from flowopt import BadValue, Problem, Status, compare, from_numpy, minimize, noisy, reference, rotated, scaled, shifted
from flowopt.cli.main import app
from flowopt.functions._objective import Objective
from flowopt.problems._batching import BATCH, FEW

D = 3
STARTS = np.array([[1.5, 3.0, -0.7], [-2.0, 0.4, 1.1], [0.3, 0.7, 2.0], [-0.5, -1.0, -1.5]])
"""B = D + 1 starts in general position; the first B of them are the starts of B."""

A = torch.tensor([[3.0, 1.0, 0.2], [1.0, 2.0, 0.1], [0.2, 0.1, 1.0]], dtype=torch.float64)


class Buffers:
    """A function that returns one buffer again and again, and keeps what it was handed."""

    def __init__(self):
        self.kept = None

    def __call__(self, x):
        if self.kept is not None:
            self.kept.data.fill_(torch.nan)
        self.kept = x
        return (x * x).sum(-1)


def writes(x):
    x.mul_(x)
    return x.sum(-1)


def writes_afterwards(x):
    value = (x * x * x * x).sum(-1)
    x.data.mul_(0.5)
    return value


def branches(x):
    return x[0] ** 2 + x[1] ** 2 + x[2] ** 2 if x[0] > 0 else (x**4).sum()


def branches_to_a_constant(x):
    return (x**2).sum() if x[0] > 0.2 else torch.tensor(0.04, dtype=x.dtype)


def asks_its_batch(x):
    return (x**2).sum(-1) if (x > 0).any() else (x**4).sum(-1)


ONE_POINT = {
    "newcomer": lambda x: (x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2 + x[2] ** 2,
    "sum": lambda x: (x**2).sum(),
    "norm": lambda x: 1 + x.norm(),
    "product": lambda x: x @ A @ x,
    "dot": lambda x: torch.dot(x, x),
    "mixes": lambda x: x[..., 0] ** 2 + x[1] ** 2 + x[2] ** 2,
    "mean": lambda x: (x - x.mean(0)).square().sum(-1) + x[..., 0] ** 2,
    "branches": branches,
    "branches_to_a_constant": branches_to_a_constant,
    "asks_its_batch": asks_its_batch,
    "keepdim": lambda x: (x**2).sum(-1, keepdim=True),
    "list": lambda x: sum(c * c for c in x),
}
BATCHES = {
    "plain": lambda x: ((x - 1) ** 2).sum(-1),
    "columns": lambda x: x[:, 0] ** 2 + x[:, 1] ** 2 + x[:, 2] ** 4,
    "matrix": lambda x: ((x @ A) * x).sum(-1),
    "power": lambda x: (x.abs() ** 1.5).sum(-1),
    "rowwise_norm": lambda x: 1 + x.norm(dim=-1),
    "view": lambda x: (x**2).sum(-1, keepdim=True)[..., 0],
    "writes": writes,
    "writes_afterwards": writes_afterwards,
    "buffers": Buffers(),
    "statistics": lambda x: (x[:, 0] - x[:, 0].mean()) ** 2 + (x**2).sum(-1),
}
NAUGHTY = ONE_POINT | BATCHES


def same_row(batch, row, solo):
    """The row of a batch is the run of its own, bit for bit."""
    one = batch.row(row)
    for name in ("x", "f", "grad_norm", "h", "accepted"):
        np.testing.assert_array_equal(getattr(one, name), getattr(solo, name), err_msg=name)
    assert one.status.tolist() == solo.status.tolist()


@pytest.mark.parametrize("name", NAUGHTY)
def test_a_row_is_the_run_of_its_own_whatever_the_objective_does(name):
    for method in ("bb", "newton"):
        options = {"max_steps": 6, "gtol": 1e-9}
        solos = [minimize(NAUGHTY[name], start, method, **options) for start in STARTS]
        for rows in (2, D, D + 1):
            batch = minimize(NAUGHTY[name], STARTS[:rows], method, **options)
            for i in range(rows):
                same_row(batch, i, solos[i])


def test_a_branch_that_a_batch_takes_together_is_seen_before_it_is_reached():
    def far_or_near(x):
        return (x**2).sum(-1) if (x > 0.8).any() else ((x - 2) ** 2).sum(-1)

    starts = [[1.0, 1.0], [5.0, 5.0]]
    batch = minimize(far_or_near, starts, "gd", lr=0.1, max_steps=10)
    for i, start in enumerate(starts):
        same_row(batch, i, minimize(far_or_near, start, "gd", lr=0.1, max_steps=10))
    assert len(set(np.sign(np.diff(batch.x[:, 0, 0])))) == 2, "it must come to the branch"


TRUTH = {
    "newcomer": lambda x: (x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2 + x[2] ** 2,
    "sum": lambda x: x @ x,
    "product": lambda x: x @ A.numpy() @ x,
    "mixes": lambda x: x @ x,
    "mean": lambda x: ((x - x.mean()) ** 2).sum() + x[0] ** 2,
    "branches": lambda x: x @ x if x[0] > 0 else (x**4).sum(),
    "branches_to_a_constant": lambda x: x @ x if x[0] > 0.2 else 0.04,
    "asks_its_batch": lambda x: x @ x if (x > 0).any() else (x**4).sum(),
    "keepdim": lambda x: x @ x,
    "list": lambda x: x @ x,
    "plain": lambda x: (x - 1) @ (x - 1),
    "columns": lambda x: x[0] ** 2 + x[1] ** 2 + x[2] ** 4,
    "matrix": lambda x: x @ A.numpy() @ x,
    "writes": lambda x: x @ x,
    "writes_afterwards": lambda x: (x**4).sum(),
    "buffers": lambda x: x @ x,
    "view": lambda x: x @ x,
    "statistics": lambda x: x @ x,
}


@pytest.mark.parametrize("name", TRUTH)
def test_values_gradients_and_products_are_those_of_one_point(name):
    problem = Problem(name, NAUGHTY[name], None).understood(torch.from_numpy(STARTS))
    objective = Objective(problem, torch.zeros(len(STARTS), dtype=torch.int64))
    x = torch.from_numpy(STARTS.copy())
    found, product = objective(x), objective.hvp(x, torch.ones_like(x))
    assert x.tolist() == STARTS.tolist()
    truth, step = TRUTH[name], 1e-4
    for i, point in enumerate(STARTS):
        assert found.value[i].item() == pytest.approx(truth(point), rel=1e-12)
        for j, axis in enumerate(np.eye(D)):
            slope = (truth(point + step * axis) - truth(point - step * axis)) / (2 * step)
            assert found.grad[i, j].item() == pytest.approx(slope, rel=1e-6, abs=1e-6)
        ahead, behind = (objective(x[i : i + 1].repeat(4, 1) + way * step).grad[0] for way in (1, -1))
        torch.testing.assert_close(product[i], (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)


def test_how_an_objective_is_called_is_said_and_counted():
    run = minimize(ONE_POINT["newcomer"], STARTS, "gd", lr=0.01, max_steps=5)
    assert run.about["objective"] == "a function of one point, batched by torch.func.vmap"
    assert run.evaluations["gradient"].tolist() == run.evaluations["value"].tolist() == [6 + 5] * 4
    assert run.cost[0].tolist() == [1 + 5] * 4
    run = minimize(branches, STARTS, "gd", max_steps=5)
    assert run.about["objective"].startswith("a function of one point, called row by row (with a batch, RuntimeError:")
    run = minimize(BATCHES["plain"], STARTS, "gd", max_steps=5)
    assert run.about["objective"] == "takes batches"
    assert run.evaluations["gradient"].tolist() == [6 + 4] * 4
    run = minimize(BATCHES["statistics"], STARTS, "gd", max_steps=5)
    assert run.about["objective"] == "called row by row (a batch gives other numbers than its rows alone)"
    run = minimize("rosenbrock", STARTS, "gd", max_steps=5)
    assert run.evaluations["gradient"].tolist() == [6] * 4


def test_the_check_calls_the_function_as_often_as_it_counts():
    for fun in (*ONE_POINT.values(), BATCHES["plain"]):
        calls = 0

        def counted(x, fun=fun):
            nonlocal calls
            calls += 1
            return fun(x)

        run = minimize(counted, STARTS[0], "gd", max_steps=3)
        assert run.evaluations["gradient"][0] == calls


def test_many_rows_of_a_function_of_one_point_take_one_call_a_step_or_say_that_they_do_not():
    many = np.random.default_rng(0).normal(size=(FEW + 1, D))
    calls = 0

    def newcomer(x):
        nonlocal calls
        calls += 1
        return ONE_POINT["newcomer"](x)

    run = minimize(newcomer, many, "gd", max_steps=10)
    assert calls == 11 + 5
    assert (run.f[-1] < run.f[0]).all()
    with pytest.warns(UserWarning, match=r"branches is a function of one point, called row by row .* 33 calls a step"):
        minimize(branches, many, "gd", max_steps=1)


def test_the_start_decides_where_the_points_beside_it_have_no_value():
    def walled(x):
        if x[0] != 0.5:
            raise ArithmeticError("outside")
        return (x**2).sum(-1)

    run = minimize(walled, [0.5, 2.0], "gd", max_steps=0)
    assert run.about["objective"] == "called row by row (near the start it is constant or not finite)"
    assert run.f[0].tolist() == [4.25]
    logarithm = minimize(lambda x: -(x.log()).sum(-1) + x.sum(-1), [1e-3, 1e-3], "gd", max_steps=0)
    assert logarithm.about["objective"] == "takes batches"  # one of the two points is inside
    nowhere = minimize(lambda x: (x * torch.nan).sum(-1), [[1.0, 2.0]] * 3, "gd")
    assert nowhere.status.tolist() == [Status.NONFINITE] * 3


@pytest.mark.parametrize("dim", [1, 2, BATCH])
def test_as_many_starts_as_coordinates(dim):
    starts = np.random.default_rng(1).normal(size=(dim, dim))
    run = minimize(lambda x: sum((c - i) ** 2 for i, c in enumerate(x)), starts, "bb")
    assert run.converged.all()
    np.testing.assert_allclose(run.final_x, np.tile(np.arange(dim), (dim, 1)), atol=1e-5)


def test_a_function_of_one_point_runs_everywhere():
    newcomer = ONE_POINT["newcomer"]
    for method in ("newton", "torch:Adam", torch.optim.LBFGS, "scipy:BFGS", "scipy:Nelder-Mead", "scipy:trust-exact"):
        run = minimize(newcomer, STARTS[:D], method, max_steps=400)
        assert (run.final_f < run.f[0]).all(), method
    flow = reference(newcomer, STARTS[:D], 3.0)
    np.testing.assert_allclose(flow.final_x[:, 0] - 1, (STARTS[:D, 0] - 1) * np.exp(-6), rtol=1e-6)
    for moved in (shifted, scaled):
        problem = moved(Problem("own", newcomer, D), [1.0, 2.0, 3.0])
        assert minimize(problem, STARTS[:D], "bb").converged.all()
    turned = rotated(noisy(Problem("own", newcomer, D), 1e-9), 0)
    assert minimize(turned, STARTS[:D], "bb", gtol=1e-4).converged.all()
    assert Problem("own", newcomer, D)(STARTS[:D]).tolist() == pytest.approx([newcomer(x) for x in STARTS[:D]])


def test_a_function_of_one_point_in_compare():
    newcomer = ONE_POINT["newcomer"]
    found = compare(newcomer, [0.0, 0.0, 1.0], ["bb", "torch:SGD", "scipy:BFGS"], max_evaluations=60, tune=2)
    best = {row["name"]: row["default"]["best_f"] for row in found.rows}
    assert best["bb"] < 1e-8
    assert best["scipy:BFGS"] < 1e-8


def test_a_function_of_one_point_on_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "my_newcomer.py").write_text("def newcomer(x):\n    return (x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["explore", "my_newcomer:newcomer", "-m", "bb", "--x0", "0,0", "--x0", "3,-1", "--steps", "50"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    run = flowopt.Trajectory.load(tmp_path / "flowopt-out" / "newcomer-bb.npz")
    assert run.converged.all()
    assert run.about["objective"] == "a function of one point, batched by torch.func.vmap"


def test_writes_that_autograd_does_not_see():
    run = minimize(writes_afterwards, [1.0, 2.0], "gd", max_steps=0)
    assert (run.x[0, 0].tolist(), run.f[0, 0]) == ([1.0, 2.0], 17.0)
    assert run.grad_norm[0, 0] == pytest.approx(np.hypot(4, 32))

    def halves(x):
        x.data.mul_(0.5)
        return (x**2).sum(-1)

    with pytest.raises(BadValue, match=r"overwrites where autograd does not see it \(x.data\)"):
        minimize(halves, [1.0, 2.0], "gd")


def test_a_gradient_in_a_buffer():
    buffer = np.zeros(2)

    def jac(x):
        np.multiply(x, 2, out=buffer)
        return buffer

    run = minimize(from_numpy(lambda x: (x**2).sum(), jac), [[1.0, 2.0], [3.0, 4.0]], "ecco_stable")
    assert run.converged.all()
    np.testing.assert_allclose(run.final_x, 0.0, atol=1e-6)
    same_row(run, 0, minimize(from_numpy(lambda x: (x**2).sum(), jac), [1.0, 2.0], "ecco_stable"))

    memory = torch.zeros(4, 2, dtype=torch.float64)

    def both(x):
        torch.mul(x, 2, out=memory[: len(x)])
        return (x * x).sum(-1), memory[: len(x)]

    for method in ("bb", "torch:Adam", "ecco_stable"):
        own = minimize(Problem("own", lambda x: (x * x).sum(-1), 2, value_and_gradient=both), STARTS[:, :2], method)
        exact = minimize(Problem("exact", lambda x: (x * x).sum(-1), 2), STARTS[:, :2], method)
        np.testing.assert_array_equal(own.x, exact.x)

    class Doubling(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (x * x).sum(-1)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            kept = memory[: len(x)] if x.ndim == 2 else memory[0]
            return torch.mul(2 * x, grad.unsqueeze(-1), out=kept)

    objective = Objective(
        Problem("own", Doubling.apply, 2).understood(torch.ones(1, 2, dtype=torch.float64)), torch.zeros(1).long()
    )
    first = objective(torch.ones(1, 2, dtype=torch.float64)).grad
    objective(torch.full((1, 2), 5.0, dtype=torch.float64))
    assert first.tolist() == [[2.0, 2.0]]


def overwrites(x):
    x *= x
    return x.sum()


def test_a_numpy_function_that_overwrites_its_argument():
    run = minimize(from_numpy(overwrites), [1.0, 2.0], "bb")
    assert run.grad_norm[0, 0] == pytest.approx(np.sqrt(20), rel=1e-8)
    assert run.converged.all()
    for method in (flowopt.scipy_method("bb"), flowopt.scipy_method("scipy:BFGS"), "BFGS"):
        assert scipy.optimize.minimize(overwrites, [1.0, 2.0], method=method).fun < 1e-9
    assert minimize(from_numpy(overwrites), [1.0, 2.0], "scipy:BFGS").final_f[0] < 1e-9
    start = np.array([1.0, 2.0])
    minimize(from_numpy(overwrites), start, "scipy:Nelder-Mead")
    assert start.tolist() == [1.0, 2.0]
    assert from_numpy(overwrites)(start) == 5.0
    assert start.tolist() == [1.0, 2.0]
    tensor = torch.ones(2, dtype=torch.float64)
    assert Problem("own", writes, 2)(tensor).item() == 2.0
    assert tensor.tolist() == [1.0, 1.0]


def test_a_callback_may_overwrite_what_it_is_shown():
    def callback(progress):
        for shown in (progress.rows, progress.x, progress.f, progress.grad_norm, progress.h, progress.t):
            shown.zero_()

    run = minimize("rosenbrock", [[-1.2, 1.0], [0.5, 0.5]], "bb", max_steps=20, callback=callback)
    np.testing.assert_array_equal(run.x, minimize("rosenbrock", [[-1.2, 1.0], [0.5, 0.5]], "bb", max_steps=20).x)


NOT_NUMBERS = (
    np.complex128(5.0),
    np.complex128(5 + 2j),
    5 + 2j,
    "5.0",
    b"5",
    True,
    np.ma.masked,
    np.ma.array([5.0], mask=[True]),
    np.array([object()]),
    np.array([5.0], dtype=object),
    None,
    np.datetime64("2026-01-01"),
)


def test_values_and_gradients_that_are_not_real_numbers_are_refused():
    for bad in NOT_NUMBERS:
        with pytest.raises(BadValue, match=r"the objective must return one number for a point \(D,\) as real numbers"):
            minimize(from_numpy(lambda x, bad=bad: bad), [1.0])
        with pytest.raises(BadValue, match=r"jac must return shape \(1,\) as real numbers"):
            minimize(from_numpy(lambda x: x[0], lambda x, bad=bad: [bad]), [1.0])
    with pytest.raises(BadValue, match=r"jac must return .* masked"):
        minimize(from_numpy(lambda x: x[0], lambda x: np.ma.array([1.0, 2.0], mask=[True, False])), [1.0, 1.0])
    for good in (5, np.int8(5), np.float32(5), Fraction(10, 2), [5.0], torch.tensor(5.0), np.ma.array([5.0]), 10**30):
        assert from_numpy(lambda x, good=good: good)([1.0]) == float(good[0] if isinstance(good, list) else good)


def test_what_from_numpy_cannot_use_is_refused_at_once():
    with pytest.raises(BadValue, match=r"takes a function of one point .* for a constant: lambda x: 3"):
        from_numpy(3)
    for jac in (False, "2-point", np.ones(2)):
        with pytest.raises(BadValue, match=r"must be a function of one point .* True where fun returns"):
            from_numpy(overwrites, jac)


def test_jac_true_means_what_it_means_in_scipy():
    calls = 0

    def both(x):
        nonlocal calls
        calls += 1
        return x @ x, 2 * x

    run = minimize(from_numpy(both, jac=True), [[1.0, 2.0], [3.0, 4.0]], "gd", lr=0.1, max_steps=10)
    exact = minimize(from_numpy(lambda x: x @ x, lambda x: 2 * x), [[1.0, 2.0], [3.0, 4.0]], "gd", lr=0.1, max_steps=10)
    np.testing.assert_array_equal(run.x, exact.x)
    assert run.evaluations["value"].sum() == run.evaluations["gradient"].sum() == calls == 22
    assert from_numpy(both, jac=True)([1.0, 2.0]) == 5.0
    with pytest.raises(BadValue, match=r"with jac=True the objective must return its value and its gradient"):
        minimize(from_numpy(lambda x: x @ x, jac=True), [1.0, 2.0])


def test_gradients_of_a_wrong_kind_are_refused():
    for bad, message in (
        (lambda x: ((x * x).sum(-1), (2 * x).to(torch.complex128)), "the gradient .* is complex"),
        (lambda x: ((x * x).sum(-1), (2 * x).to(torch.float32)), "the gradient .* is of torch.float32"),
        (lambda x: ((x * x).sum(-1), 2 * x[..., :1]), r"the gradient .* has shape \(1,\); it must have shape \(2,\)"),
        (lambda x: (x * x).sum(-1), "must return a value and a gradient"),
    ):
        problem = Problem("own", lambda x: (x * x).sum(-1), 2, value_and_gradient=bad)
        with pytest.raises(BadValue, match=message):
            minimize(problem, [1.0, 2.0], "gd")


def test_starts_elsewhere_than_in_the_computers_own_memory_are_refused():
    with pytest.raises(BadValue, match=r"x0 is on meta, .* give x0.cpu\(\)"):
        minimize("rosenbrock", torch.zeros(2, device="meta"))


def test_scipy_method_returns_the_best_point():
    def well(x):
        return -np.exp(-(x @ x))

    result = scipy.optimize.minimize(well, [0.8, 0.8], method=flowopt.scipy_method("bb"))
    run = result.trajectory
    assert run.final_f[0] > run.best_f[0]
    assert result.fun == run.best_f[0] == well(result.x)
    np.testing.assert_array_equal(result.x, run.best_x[0])
    np.testing.assert_allclose(result.jac, -2 * result.x * well(result.x), rtol=1e-6)


def test_a_library_problem_is_not_tried():
    calls = 0
    known = flowopt.problem("bowl")

    def counted(x):
        nonlocal calls
        calls += 1
        return known.value_and_gradient(x)

    minimize(replace(known, value_and_gradient=counted), STARTS[:, :2], "gd", max_steps=5)
    assert calls == 6


def test_float32_and_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = minimize(ONE_POINT["newcomer"], np.float32(STARTS), "bb", max_steps=30)
        assert run.x.dtype == np.float32
        assert run.about["objective"].endswith("torch.func.vmap")


def test_what_autograd_cannot_see_is_seen_beside_tensors_that_want_gradients():
    """A value that belongs to the graph of other tensors alone has no gradient; it is not 0."""
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(BadValue, match="autograd cannot see through the objective"):
        minimize(lambda x: (weights * x.detach() ** 2).sum(-1), [[1.0, 2.0], [3.0, -1.0]], "bb")
    assert minimize(lambda x: (weights * x**2).sum(-1), [[1.0, 2.0], [3.0, -1.0]], "bb").converged.all()
    assert weights.grad is None
    constant = minimize(lambda x: (weights**2).sum() + 0 * x.detach().sum(-1), [1.0, 2.0], "bb")
    assert constant.steps.tolist() == [0]


def test_numbers_taken_out_of_a_tensor_are_missed():
    for lacking in (
        lambda x: x[0].item() ** 2 + x[1] ** 2,
        lambda x: float(x[0].detach()) * x[0] + x[1] ** 2,
        lambda x: (x**2).sum() / torch.tensor([x[0].item(), 1.0], dtype=x.dtype).sum(),
    ):
        with pytest.warns(UserWarning, match=r"slope by autograd near .* Autograd does not follow numbers"):
            minimize(lacking, [1.0, 2.0], "gd", max_steps=1)
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float64, torch.float32):
        start = torch.tensor([[1.0, 2.0], [1.0, -10.0]], dtype=dtype)
        for right in (
            branches_of_two,
            lambda x: 1e9 + 1e6 * branches_of_two(x),
            lambda x: (x**2).sum() * float(torch.tensor(3.0)),
            lambda x: (x**2).sum() * (1 + 0.1 * torch.rand(1, generator=generator).item()),
            walled_off,
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                minimize(right, start, "gd", lr=1e-9, max_steps=1)


def branches_of_two(x):
    return x[0] ** 2 + x[1] ** 2 if x[0] > 0 else (x**4).sum()


def walled_off(x):
    if x[0] > 1.0:
        raise ArithmeticError("outside")
    return (x**2).sum() if x[0] == 1.0 else (x**4).sum()


def test_the_batch_that_is_tried_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = minimize(
            lambda x: torch.nn.functional.mse_loss(x, torch.ones(2, dtype=x.dtype)), [[1.0, 2.0], [3.0, -1.0]], "bb"
        )
    assert run.converged.all()


def test_starts_that_are_not_numbers_at_hand_are_refused():
    with pytest.raises(BadValue, match="x0 has masked entries"):
        minimize("rosenbrock", np.ma.array([1.0, 2.0], mask=[False, True]))
    with pytest.raises(BadValue, match="x0 must be numbers of shape"):
        minimize("rosenbrock", [torch.ones(2, requires_grad=True)])
    assert minimize("rosenbrock", np.ma.array([1.0, 1.0])).converged.all()


def test_a_numpy_function_that_torch_does_not_recognise_is_named_as_one():
    for numpys in (lambda x: np.sum(x**2), lambda x: np.mean(x * x), lambda x: np.sin(x).sum()):
        with pytest.raises(BadValue, match=r"is a NumPy function; wrap it with flowopt.from_numpy"):
            minimize(numpys, [1.0, 2.0], "bb")
        assert minimize(from_numpy(numpys), [0.1, 0.2], "gd", max_steps=1).f[0, 0] > 0
    with pytest.raises(TypeError, match="own"):
        minimize(raises_its_own, [1.0, 2.0], "bb")
    with pytest.raises(flowopt.UnknownName, match="did you mean 'minimum'"):
        from_numpy(lambda x: x @ x, minimun=0.0)
    with pytest.raises(BadValue, match="masked"):
        minimize(from_numpy(lambda x: x @ x, lambda x: (np.ma.masked, 1.0)), [1.0, 2.0], "gd")
    with pytest.raises(BadValue, match="record_to = 3 must be the name of a new folder"):
        minimize("rosenbrock", method="gd", max_steps=1, record_to=3)


def raises_its_own(x):
    raise TypeError("my own")
