"""What a run says of itself is true: where it was best, why it stopped, and whether it got anywhere."""

import inspect
from pathlib import Path

import numpy as np
from torch import Tensor

import flowopt
from flowopt import Trajectory, minimize, scipy_method

STARTS = [[-1.2, 1.0], [0.3, 0.2], [2.0, 2.0]]


def bowl(x: Tensor) -> Tensor:
    """|x|^2."""
    return (x**2).sum(-1)


def assert_best(run: Trajectory, whole: Trajectory) -> None:
    """best_x and best_f of `run` are those of the lowest of all records of `whole`, the same run recorded in full."""
    row = np.arange(whole.rows)
    lowest = whole.f.argmin(0)
    assert run.best_f.tolist() == whole.f[lowest, row].tolist()
    assert run.best_x.tolist() == whole.x[lowest, row].tolist()


def test_best_x_is_where_best_f_was() -> None:
    for method in ("bb", "ecco", "elra", "torch:Adam", "torch:LBFGS", "scipy:BFGS", "scipy:Nelder-Mead"):
        options = {"lr": 0.3} if method.startswith("torch:") else {}
        whole = minimize("rosenbrock", STARTS, method, max_steps=60, **options)
        ends = minimize("rosenbrock", STARTS, method, max_steps=60, record_every=0, **options)
        assert_best(whole, whole)
        assert_best(ends, whole)
        assert_best(whole.row(1), whole.row(1))


def test_best_x_of_a_reference_solution_and_of_a_start_that_is_not_a_number() -> None:
    whole = flowopt.reference("rosenbrock", STARTS, t_end=0.1, t_eval=[0.05])
    assert_best(whole, whole)
    undefined = minimize(lambda x: x.log().sum(-1), [[-1.0], [2.0]], "gd", max_steps=3)
    assert np.isnan(undefined.best_f[0])
    assert undefined.best_x.tolist() == [[-1.0], undefined.x[-1, 1].tolist()]


def test_best_x_is_kept_in_files_and_found_in_older_ones(tmp_path: Path) -> None:
    for every in (1, 0):
        run = minimize("rosenbrock", STARTS, "bb", max_steps=7, record_every=every)
        path = run.save(tmp_path / "run.npz")
        assert Trajectory.load(path).best_x.tolist() == run.best_x.tolist() == run.to_dict()["best_x"]
        with np.load(path) as file:
            np.savez_compressed(path, **{name: file[name] for name in file.files if name != "best_x"})
        old = Trajectory.load(path).best_x
        known = np.isin(run.best_f, run.f)
        assert old[known].tolist() == run.best_x[known].tolist()
        assert np.isnan(old[~known]).all()
        assert bool((~known).any()) == (every == 0)


def test_the_summary_shows_f_at_the_start_best_and_last() -> None:
    run = minimize("rosenbrock", method="ecco", max_steps=200)
    text = run.summary()
    for number in (run.f[0, 0], run.best_f[0], run.f[-1, 0], *run.best_x[0]):
        assert f"{number:.6g}" in text
    assert run.best_f[0] < run.f[-1, 0] < run.f[0, 0]


def test_the_default_method_converges() -> None:
    for start in (bowl, [1.0, 2.0]), ("rosenbrock", None):
        run = minimize(*start)
        assert run.converged.all()
        assert run.about["method"] == "ecco_stable"
    assert inspect.signature(scipy_method).parameters["method"].default == "ecco_stable"
