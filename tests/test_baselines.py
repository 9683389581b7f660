"""torch's and SciPy's optimizers where a method stands: the same path as without us, row by row."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from together import together
from torch.optim import SGD, Adam, Optimizer

from flowopt import BadValue, Problem, Status, UnknownName, from_numpy, minimize, problem
from flowopt.functions._objective import Objective
from flowopt.functions.baselines.scipy_minimizers import HESSIANS, MINIMIZERS, PRODUCTS, VALUES_ONLY
from flowopt.functions.baselines.torch_optimizers import ELEMENTWISE

ROSENBROCK = problem("rosenbrock")
STARTS = np.array([[-1.2, 1.0], [0.5, -0.5], [2.0, 2.0], [0.1, 0.3], [1.5, 1.0]])
OPTIONS = {
    "SGD": {"lr": 1e-4, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adam": {"lr": 0.1, "amsgrad": True},
    "Rprop": {"lr": 0.01},
    "ASGD": {"lr": 1e-3, "t0": 5.0},
    "RAdam": {"lr": 1e-3},
    "LBFGS": {"lr": 0.5, "max_iter": 4},
    "Muon": {"lr": 0.01},
}
NAMES = sorted(kind.__name__ for kind in ELEMENTWISE)


def walled():
    """No number for x below 0.5; a bowl elsewhere."""
    return Problem("walled", lambda x: (x * x + torch.where(x > 0.5, 0.0, torch.nan)).sum(-1), dim=2)


def by_hand(make, start, steps, shape=(-1,)):
    """The path of a torch optimizer, as its users write the loop, and how often it evaluated."""
    x = torch.nn.Parameter(torch.tensor(start).reshape(shape))
    optimizer = make([x])
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        value, grad = ROSENBROCK.value_and_gradient(x.detach().reshape(1, -1))
        x.grad = grad.reshape(x.shape)
        return value[0]

    path = [x.detach().reshape(-1).numpy().copy()]
    for _ in range(steps):
        optimizer.step(closure)
        path.append(x.detach().reshape(-1).numpy().copy())
    return np.array(path), calls


@pytest.mark.parametrize("name", [*NAMES, "LBFGS", "Muon", "Adafactor"])
def test_a_torch_optimizer_moves_as_in_a_loop_by_hand_bit_for_bit(name):
    kind, options = getattr(torch.optim, name), OPTIONS.get(name, {"lr": 0.02})
    found = minimize(ROSENBROCK, STARTS, kind, max_steps=200, gtol=0.0, **options)
    for i, start in enumerate(STARTS):
        path, _ = by_hand(lambda params: kind(params, **options), start, 200, (1, -1) if name == "Muon" else (-1,))
        np.testing.assert_array_equal(found.x[:, i], path)
    assert np.abs(found.x[-1] - found.x[0]).max(-1).min() > 1e-3
    assert np.isfinite(found.f).all()
    np.testing.assert_array_equal(found.h[1:], np.full((200, 5), options["lr"]))
    np.testing.assert_allclose(found.t[:, 0], options["lr"] * np.arange(201), rtol=1e-12)
    assert np.isnan(found.h[0]).all()
    assert np.isnan(found.error).all()
    assert np.isnan(found.energy).all()
    assert found.accepted.all()
    assert (found.status == Status.MAX_STEPS).all()


@together("name", [*NAMES, "LBFGS"])
@together("dim", [2, 7])
def test_a_row_moves_in_a_batch_as_it_does_alone(name, dim):
    generator = torch.Generator().manual_seed(dim)
    starts = torch.randn(9, dim, generator=generator, dtype=torch.float64).numpy()
    starts[2:4], starts[6] = 1.0, 1.05
    options = OPTIONS.get(name, {"lr": 0.02})
    target = problem("rosenbrock", dim=dim)
    # rows stop at different times, so the optimizer's own state is cut down on the way
    settings = {"method": f"torch:{name}", "max_steps": 40, "f_target": 4.0, "record_every": 1}
    batch = minimize(target, starts, **settings, **options)
    for i, start in enumerate(starts):
        solo, row = minimize(target, start, **settings, **options), batch.row(i)
        np.testing.assert_array_equal(row.x, solo.x)
        assert row.status[0] == solo.status[0]
        assert row.evaluations["gradient"][0] == solo.evaluations["gradient"][0]
    assert len(set(batch.steps.tolist())) > 1


@pytest.mark.parametrize("method", ["torch:SGD", "torch:LBFGS", "scipy:L-BFGS-B"])
def test_a_row_that_is_no_number_leaves_the_others_bitwise_unchanged(method):
    starts = np.array([[3.0, 4.0], [0.8, 3.0], [5.0, 2.0]])
    options = {} if method.startswith("scipy") else {"lr": 0.1}
    target = Problem("tilted", lambda x: (x**2 + torch.where(x > 0.7, x - x, torch.nan)).sum(-1), dim=2)
    found = minimize(target, starts, method, max_steps=6, gtol=0.0, **options)
    assert found.status[1] in (Status.NONFINITE, Status.SOLVER_FAILED)
    assert np.isfinite(found.x).all()
    assert np.isfinite(found.f).all()
    assert (found.final_x[1] > 0.7).all()
    rest = minimize(target, starts[[0, 2]], method, max_steps=6, gtol=0.0, **options)
    np.testing.assert_array_equal(found.x[: len(rest.x), [0, 2]], rest.x)
    assert "last good" in found.message[1] or "SciPy" in found.message[1] or "not a finite" in found.message[1]


def test_the_last_step_is_cut_short_to_end_at_t_end_and_a_dead_row_does_not_lengthen_it():
    starts = np.array([[0.53, 3.0], [3.0, 4.0]])  # the first dies in the second step: 0.53 * 0.96^2 < 0.5
    found = minimize(walled(), starts, "torch:SGD", lr=0.02, t_end=0.05, gtol=0.0)
    assert found.status.tolist() == [Status.NONFINITE, Status.TIME_REACHED]
    np.testing.assert_allclose(found.h[1:, 1], [0.02, 0.02, 0.01])
    np.testing.assert_allclose(found.final_x[1], [3.0 * 0.96**2 * 0.98, 4.0 * 0.96**2 * 0.98])
    assert found.steps.tolist() == [2, 3]


def test_classes_names_and_factories_mean_the_same():
    by_class = minimize(ROSENBROCK, None, Adam, lr=0.1, max_steps=5)
    by_name = minimize(ROSENBROCK, None, "torch:adam", lr=0.1, max_steps=5)
    by_factory = minimize(ROSENBROCK, None, lambda params: Adam(params, lr=0.1), max_steps=5)
    np.testing.assert_array_equal(by_class.x, by_name.x)
    np.testing.assert_array_equal(by_class.x, by_factory.x)
    for found in (by_class, by_name, by_factory):
        assert found.about["method"] == "torch:Adam"
        assert found.about["parts"]["torch_optimizer_step"]["lr"] == 0.1
    assert not np.array_equal(by_class.x, minimize(ROSENBROCK, None, Adam, lr=0.1, eps=0.1, max_steps=5).x)


def test_float32_stays_float32():
    for method in ("torch:Adam", "torch:LBFGS", "scipy:BFGS"):
        found = minimize(ROSENBROCK, np.float32([-1.2, 1.0]), method, max_steps=3)
        assert {found.x.dtype, found.f.dtype, found.h.dtype} == {np.dtype(np.float32)}
    found = minimize(ROSENBROCK, np.float32([-1.2, 1.0]), "torch:SGD", lr=1e-3, max_steps=30)
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0]))
    optimizer = SGD([x], lr=1e-3)
    for _ in range(30):
        x.grad = ROSENBROCK.value_and_gradient(x.detach().unsqueeze(0))[1][0]
        optimizer.step()
    np.testing.assert_array_equal(found.final_x[0], x.detach().numpy())


def test_every_evaluation_of_lbfgs_is_counted_and_none_is_made_twice():
    calls = 0

    def value_and_gradient(x):
        nonlocal calls
        calls += len(x)
        return ROSENBROCK.value_and_gradient(x)

    counted = replace(ROSENBROCK, value_and_gradient=value_and_gradient)
    found = minimize(counted, STARTS[:3], "torch:LBFGS", max_steps=7, gtol=0.0, max_iter=3)
    assert found.evaluations["gradient"].sum() == calls
    # A step of LBFGS begins with an evaluation where it stands, which the driver has measured already; so it pays as
    # the loop by hand does, and for the end. The step after the end may have been prepared.
    done, next_step = (by_hand(lambda params: torch.optim.LBFGS(params, max_iter=3), STARTS[0], n)[1] for n in (7, 8))
    assert done + 1 <= found.evaluations["gradient"][0] <= next_step


class Shrinking(Optimizer):
    """A user's own: it has no closure, scales the gradient in place, and halves its learning rate each step."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.div_(parameter.grad.norm())
                parameter.data.sub_(parameter.grad, alpha=group["lr"])
            group["lr"] /= 2


def test_an_optimizer_of_ones_own_runs_and_its_learning_rate_is_followed():
    found = minimize(ROSENBROCK, STARTS, Shrinking, lr=0.4, max_steps=3)
    np.testing.assert_allclose(found.h[1:], np.outer([0.4, 0.2, 0.1], np.ones(5)))
    np.testing.assert_allclose(found.t[-1], 0.7)
    moved = np.linalg.norm(np.diff(found.x, axis=0), axis=-1)
    np.testing.assert_allclose(moved, found.h[1:])
    alone = minimize(ROSENBROCK, STARTS[2], Shrinking, lr=0.4, max_steps=3)
    np.testing.assert_array_equal(found.x[:, 2], alone.x[:, 0])
    grad = scipy_gradient(alone.final_x[0])
    assert f"gradient {grad[np.abs(grad).argmax()]:.3g}" in alone.message[0]  # the gradient, not what was made of it


@pytest.mark.parametrize("name", ["BFGS", "CG", "Newton-CG", "Powell", "L-BFGS-B"])
def test_a_scipy_minimizer_ends_where_scipy_ends_with_as_many_calls(name):
    found = minimize(ROSENBROCK, STARTS, f"scipy:{name}", gtol=1e-5)
    for i, start in enumerate(STARTS):
        path = [start]
        needs = {} if name in VALUES_ONLY else {"jac": scipy_gradient}
        needs |= {"hessp": scipy_product} if name in PRODUCTS else {}
        value = scipy_value if name in VALUES_ONLY else scipy_value_with_gradient
        result = scipy.optimize.minimize(
            value,
            start,
            method=name,
            callback=lambda x, path=path: path.append(x.copy()),
            options={"maxiter": 1001},
            **needs,
        )
        row = found.row(i)
        np.testing.assert_array_equal(row.x[:, 0], path[: len(row.x)])
        # our own test, on the Euclidean norm of the gradient, can only end a run earlier than SciPy's
        assert "SciPy says" in found.message[i] or row.grad_norm[-1, 0] <= 1e-5
        if len(row.x) == len(path):
            np.testing.assert_array_equal(row.final_x[0], result.x)
            assert row.final_f[0] == result.fun
            if name in VALUES_ONLY or name in ("BFGS", "L-BFGS-B"):
                assert found.evaluations["value"][i] == result.nfev
        assert found.status[i] == Status.CONVERGED
        assert found.cost[found.steps[i], i] == max(found.evaluations["value"][i] + found.evaluations["hvp"][i], 1)


def scipy_value(x):
    return float(ROSENBROCK(x))


def scipy_value_with_gradient(x):
    return float(ROSENBROCK.value_and_gradient(torch.tensor(x).unsqueeze(0))[0][0])


def scipy_gradient(x):
    return ROSENBROCK.value_and_gradient(torch.tensor(x).unsqueeze(0))[1][0].numpy()


def scipy_product(x, p):
    objective = Objective(ROSENBROCK, torch.zeros(1, dtype=torch.int64))
    return objective.hvp(torch.tensor(x).unsqueeze(0), torch.tensor(p).unsqueeze(0))[0].numpy()


@pytest.mark.parametrize("name", MINIMIZERS)
def test_every_scipy_minimizer_runs_and_counts_every_call(name):
    calls = {"value": 0, "gradient": 0}

    def value(x):
        calls["value"] += 1
        return ROSENBROCK.value(x)

    def value_and_gradient(x):
        calls["value"] += 1
        calls["gradient"] += 1
        return ROSENBROCK.value_and_gradient(x)

    hessian = name in PRODUCTS + HESSIANS
    counted = Problem("counted", value, dim=2, value_and_gradient=value_and_gradient)
    found = minimize(counted, [0.5, 0.2], f"scipy:{name}", max_steps=2000, gtol=1e-4)
    assert found.converged.all()
    assert found.final_f[0] < (0.02 if name == "COBYLA" else 1e-6)
    assert (found.evaluations["hvp"][0] > 0) == hessian
    if not hessian:  # a Hessian-vector product calls `value` under the hood
        assert {kind: found.evaluations[kind][0] for kind in calls} == calls
    assert (found.evaluations["gradient"][0] == 0) == (name in VALUES_ONLY)
    assert np.isnan(found.grad_norm).all() == (name in VALUES_ONLY)
    assert np.isnan(found.t).all()
    assert found.accepted.all()
    assert (np.diff(found.cost[:, 0]) >= 0).all()
    assert found.best_f[0] == found.f.min()


@pytest.mark.parametrize("name", ["BFGS", "Nelder-Mead", "TNC", "COBYLA", "trust-krylov"])
def test_scipy_rows_stop_by_our_tests(name):
    limited = minimize(ROSENBROCK, STARTS[:2], f"scipy:{name}", max_steps=4)
    assert limited.status.tolist() == [Status.MAX_STEPS] * 2
    assert limited.steps.max() == 4 or name == "COBYLA"  # whose maxiter is a number of calls
    aimed = minimize(ROSENBROCK, STARTS[:2], f"scipy:{name}", f_target=3.0)
    assert aimed.status.tolist() == [Status.CONVERGED] * 2
    assert (aimed.final_f <= 3.0).all()
    assert (aimed.f[aimed.steps - 1, [0, 1]] > 3.0).all()
    start_only = minimize(ROSENBROCK, STARTS[:2], f"scipy:{name}", max_steps=0)
    assert start_only.steps.tolist() == [0, 0]
    assert start_only.evaluations["value"].tolist() == [1, 1]


def test_a_minimizer_that_gives_up_says_so_in_scipys_words():
    kinked = from_numpy(lambda x: float(np.abs(x).sum() + 1), np.sign)
    found = minimize(kinked, [0.3, -0.7], "scipy:BFGS", max_steps=50)
    assert found.status.tolist() == [Status.SOLVER_FAILED]
    assert "precision loss" in found.message[0]


def test_options_reach_scipy():
    plain = minimize(ROSENBROCK, None, "scipy:Nelder-Mead")
    tight = minimize(ROSENBROCK, None, "scipy:Nelder-Mead", xatol=1e-10, fatol=1e-10)
    assert tight.steps[0] > plain.steps[0]
    assert (
        minimize(ROSENBROCK, None, "scipy:SLSQP", tol=1e-14).final_f[0]
        < minimize(ROSENBROCK, None, "scipy:SLSQP").final_f[0]
    )
    assert (
        minimize(ROSENBROCK, None, "scipy:BFGS", gtol=1e-1).steps[0] < minimize(ROSENBROCK, None, "scipy:BFGS").steps[0]
    )


def test_low_limits_of_scipy_on_the_number_of_calls_are_lifted():
    found = minimize(problem("rosenbrock", dim=10), None, "scipy:TNC", max_steps=500)
    assert found.converged.all()
    assert found.evaluations["value"][0] > 150  # TNC's own limit is 100 calls


def test_numpy_problems_run_with_their_own_gradient_or_finite_differences():
    exact = from_numpy(scipy.optimize.rosen, scipy.optimize.rosen_der)
    rough = from_numpy(scipy.optimize.rosen)
    for method in ("scipy:BFGS", "torch:LBFGS"):
        assert minimize(exact, STARTS[0], method, gtol=1e-3).converged.all()
        found = minimize(rough, STARTS[0], method, gtol=1e-3)
        assert found.converged.all()
        assert found.evaluations["value"][0] == 5 * found.evaluations["gradient"][0]  # 1 + 2 D
    with pytest.raises(BadValue, match="needs Hessians"):
        minimize(exact, STARTS[0], "scipy:trust-exact")
    assert minimize(exact, STARTS[0], "scipy:Newton-CG", gtol=1e-3).converged.all()


@pytest.mark.parametrize("method", ["torch:Adam", "torch:LBFGS", "scipy:BFGS", "scipy:Powell"])
def test_callbacks_see_each_attempt_and_may_stop_the_run(method):
    seen = []

    def watch(progress):
        seen.append((progress.attempt, progress.rows.tolist(), progress.x.numpy().copy(), progress.f.numpy().copy()))
        return progress.attempt == 3

    found = minimize(ROSENBROCK, STARTS[:2], method, max_steps=10, callback=watch)
    assert found.status.tolist() == [Status.INTERRUPTED] * 2
    assert "stopped by the callback" in found.message[0]
    assert [entry[0] for entry in seen] == [1, 2, 3]
    for attempt, rows, x, f in seen:
        np.testing.assert_array_equal(found.x[attempt, rows], x)
        np.testing.assert_array_equal(found.f[attempt, rows], f)


@pytest.mark.parametrize("method", ["torch:Adam", "scipy:BFGS", "scipy:COBYLA"])
def test_ctrl_c_returns_what_was_done(method):
    def interrupt(progress):
        if progress.attempt == 2:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    found = minimize(ROSENBROCK, STARTS[:2], method, max_steps=50, callback=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert found.status.tolist() == [Status.INTERRUPTED] * 2
    assert found.steps[0] == 2
    np.testing.assert_array_equal(found.x[0], STARTS[:2])


def test_sparse_records_keep_the_start_and_the_end():
    whole = minimize(ROSENBROCK, STARTS[:2], "scipy:BFGS")
    thin = minimize(ROSENBROCK, STARTS[:2], "scipy:BFGS", record_every=10)
    ends = minimize(ROSENBROCK, STARTS[:2], "scipy:BFGS", record_every=0)
    np.testing.assert_array_equal(thin.x, whole.x[thin.attempt])
    np.testing.assert_array_equal(ends.x, whole.x[[0, -1]])
    np.testing.assert_array_equal(ends.best_f, whole.best_f)
    assert whole.steps.tolist() == thin.steps.tolist() == ends.steps.tolist()


def test_noise_belongs_to_the_row():
    from dataclasses import replace

    noisy = replace(ROSENBROCK, noise=0.1)
    for method in ("torch:Adam", "torch:Adafactor", "scipy:BFGS"):
        batch = minimize(noisy, STARTS[:3], method, max_steps=5, seed=7)
        np.testing.assert_array_equal(batch.x[:, 2], minimize(noisy, STARTS[2], method, max_steps=5, seed=9).x[:, 0])
        assert not np.array_equal(batch.x[:, 2], minimize(noisy, STARTS[2], method, max_steps=5, seed=7).x[:, 0])


@together(
    ("method", "options", "error", "match"),
    [
        ("torch:Adm", {}, UnknownName, "did you mean 'Adam'"),
        ("scipy:BFSG", {}, UnknownName, "did you mean 'BFGS'"),
        ("torch:Adam", {"learning_rate": 1.0}, UnknownName, "parameter of Adam"),
        (Adam, {"beta": 1.0}, UnknownName, "did you mean 'betas'"),
        (Adam, {"lr": -1.0}, BadValue, "Invalid learning rate"),
        ("torch:Muon", {"lr": -1.0}, BadValue, "Learning rate should be"),
        (lambda params: Adam(params, lr=0.1), {"lr": 0.1}, BadValue, "a factory sets"),
        (lambda params: 3, {}, BadValue, "must return a torch.optim.Optimizer"),
        (lambda params: Adam([torch.zeros(2)]), {}, BadValue, "exactly the given params"),
        (int, {}, BadValue, "a method is"),
        ("scipy:BFGS", {"gttol": 1.0}, BadValue, "Unknown solver options: gttol"),
        ("scipy:trust-constr", {"gttol": 1.0}, BadValue, "gttol"),
        ("scipy:BFGS", {"maxiter": 3}, BadValue, "use max_steps"),
        ("scipy:BFGS", {"t_end": 3.0}, BadValue, "no time to stop at"),
    ],
)
def test_what_makes_no_sense_is_refused(method, options, error, match):
    with pytest.raises(error, match=match):
        minimize(ROSENBROCK, None, method, **options)


@pytest.mark.parametrize("optimizer", [torch.optim.RMSprop, torch.optim.Adam])
def test_rows_that_stop_leave_the_others_their_state(optimizer: type[torch.optim.Optimizer]) -> None:
    starts = [(-3.0, -2.0), (0.5, 0.5), (-1.2, 1.0), (2.0, 2.0)]
    limits = {"max_steps": 400, "gtol": 0, "f_target": 2.0, "record_every": 0, "lr": 0.1}
    together = minimize("rosenbrock", starts, optimizer, **limits)
    alone = [minimize("rosenbrock", start, optimizer, **limits) for start in starts]
    assert len(set(together.steps.tolist())) > 2  # they stop one after the other
    assert together.steps.tolist() == [run.steps[0] for run in alone]
    assert (together.final_x == [run.final_x[0] for run in alone]).all()
