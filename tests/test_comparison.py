"""Comparisons: everybody is listed, and distances from the own flow are what closed forms say."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread

import flowopt
from flowopt import comparison
from flowopt.errors import BadValue, UnknownName
from flowopt.papers import METHODS
from flowopt.state import Status

BOWL = flowopt.problem("bowl")  # 3 x^2 + 24 y^2: gradient flow is x0 exp(-6 t), y0 exp(-48 t)


def test_everybody_is_listed_once():
    found = flowopt.compare(BOWL, max_steps=20)
    names = [row["name"] for row in found.rows]
    assert names == [*METHODS, *comparison.BASELINES, comparison.FLOW]
    ran = {row["name"] for row in found.rows if "status" in row}
    assert ran == set(names)
    with_flow = {row["name"] for row in found.rows if row.get("deviation")}
    assert with_flow == set(METHODS)
    text = str(found)
    assert all(name in text for name in names)


def test_each_line_is_the_run_that_minimize_makes():
    found = flowopt.compare(BOWL, max_steps=30, methods=["elra"], baselines={"torch:Adam": {"lr": 0.2}})
    for row, parameters in zip(found.rows, ({}, {"lr": 0.2}), strict=False):
        alone = flowopt.minimize(BOWL, None, row["name"], 30, **parameters)
        assert row["final_f"] == alone.final_f[0]
        assert row["best_f"] == alone.best_f[0]
        assert row["evaluations"]["gradient"] == alone.evaluations["gradient"][0]
        assert row["steps"] == alone.steps[0]
        assert row["distance"] == pytest.approx(np.linalg.norm(alone.final_x[0]))
        assert row["status"] == Status(int(alone.status[0])).words


def test_distances_from_the_flow_are_those_of_the_closed_form():
    found = flowopt.compare(BOWL, max_steps=100, methods=["gd", "flow"], baselines={})
    gd, flow = found.contestants[:2]
    exact = np.array(BOWL.start) * np.exp(-np.outer(gd.deviation.t, [6.0, 48.0]))
    np.testing.assert_allclose(gd.deviation.t, 1e-3 * np.arange(1, 101))
    distance = np.linalg.norm(gd.run.x[1:, 0] - exact, axis=-1)
    np.testing.assert_allclose(gd.deviation.distance, distance, rtol=1e-4)
    assert found.rows[0]["deviation"]["max"] == pytest.approx(distance.max(), rel=1e-4)
    assert found.rows[0]["deviation"]["median"] == pytest.approx(np.median(distance), rel=1e-4)
    assert flow.deviation.largest < 1e-5
    assert found.rows[-1]["name"] == comparison.FLOW
    assert found.rows[-1]["final_f"] < 1e-20


def test_only_accepted_points_count():
    found = flowopt.compare("rosenbrock", max_steps=60, methods=["elra"], baselines={})
    run, deviation = found.contestants[0].run, found.contestants[0].deviation
    assert run.rejected[0] > 0
    assert len(deviation.t) == run.accepted[1:, 0].sum()
    assert (np.diff(deviation.t) > 0).all()


def test_the_horizon_bounds_the_distances_and_the_note_says_so():
    found = flowopt.compare(BOWL, max_steps=100, methods=["gd"], baselines={}, horizon=0.0505)
    assert found.rows[0]["deviation"]["until"] == pytest.approx(0.05)
    assert found.rows[0]["note"] == "held against its flow up to the horizon t = 0.0505 only"
    assert found.rows[-1]["message"].startswith("reached t_end")


def test_a_method_that_steps_over_the_horizon_says_so():
    found = flowopt.compare(BOWL, max_steps=5, methods=["newton"], baselines={}, horizon=0.5)  # its step is 1
    assert found.rows[0]["note"] == "no reference solution: no accepted point within the horizon"
    assert np.isnan(found.rows[0]["deviation"]["max"])
    assert found.figure().subfigs[0].axes[2].texts[0].get_text() == "no method has a reference solution here"


def test_a_reference_that_is_cut_short_is_said_and_holds_up_to_there(monkeypatch):
    monkeypatch.setattr(comparison, "MOST_EVALUATIONS", 60)
    found = flowopt.compare(BOWL, max_steps=200, methods=["gd"], baselines={})
    row = found.rows[0]
    assert "60 evaluations" in row["note"]
    assert 0 < row["deviation"]["until"] < 0.2
    assert found.rows[-1]["status"] == "solver failed"
    deviation = found.contestants[0].deviation
    exact = np.array(BOWL.start) * np.exp(-np.outer(deviation.t, [6.0, 48.0]))
    distance = np.linalg.norm(found.contestants[0].run.x[1 : len(exact) + 1, 0] - exact, axis=-1)
    np.testing.assert_allclose(deviation.distance, distance, rtol=1e-3)


def test_what_cannot_run_is_listed_with_the_reason():
    values_only = flowopt.from_numpy(lambda x: float(x @ x), name="sphere", start=(1.0, 2.0), minimum=0.0)
    found = flowopt.compare(values_only, max_steps=5, methods=["gd", "newton"], baselines={})
    assert "status" in found.rows[0]
    assert "Hessian" in found.rows[1]["note"]
    assert "status" not in found.rows[1]
    assert "not run" in str(found)
    assert "newton" not in found.runs


def test_a_known_minimum_is_told_to_the_methods_that_need_a_bound():
    problem = flowopt.problem("styblinski_tang")
    names = ["polyak", "ecdsep", "bbi", "gd"]
    found = flowopt.compare(problem, max_steps=3, methods=names, baselines={})
    bounds = [row["parameters"] for row in found.rows[:4]]
    assert bounds == [{"f_star": problem.minimum}, {"F0": problem.minimum}, {"v0": problem.minimum}, {}]
    assert problem.minimum != 0
    assert found.contestants[0].run.about["parts"]["polyak"]["f_star"] == problem.minimum


def test_an_interrupted_comparison_keeps_what_was_done():
    calls = 0

    def objective(x):
        nonlocal calls
        calls += 1
        if calls == 38:
            raise KeyboardInterrupt
        return (x * x).sum(-1)

    problem = flowopt.Problem(name="sphere", value=objective, dim=2, start=(1.0, 2.0))
    found = flowopt.compare(problem, max_steps=20, methods=["gd", "gdm", "nesterov"], baselines={})
    assert found.interrupted
    assert [row["status"] for row in found.rows] == ["max steps", "interrupted"]


def test_an_interrupted_reference_keeps_the_runs():
    calls = 0

    def objective(x):
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return (x * x).sum(-1)

    problem = flowopt.Problem(name="sphere", value=objective, dim=2, start=(1.0, 2.0))
    found = flowopt.compare(problem, max_steps=10, methods=["gd"], baselines={})
    assert found.interrupted
    assert [row["name"] for row in found.rows] == ["gd"]


def test_wrong_input_is_refused_before_any_work():
    def never(x):
        raise AssertionError("work was done")

    problem = flowopt.Problem(name="never", value=never, dim=2, start=(0.0, 0.0))
    with pytest.raises(UnknownName, match="did you mean 'elra'"):
        flowopt.compare(problem, methods=["gd", "elrra"])
    with pytest.raises(BadValue, match="one start"):
        flowopt.compare(problem, [[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(UnknownName, match="did you mean 'Adam'"):
        flowopt.compare(problem, baselines={"torch:Adm": {}})
    with pytest.raises(UnknownName, match="no baseline named 'elra'"):
        flowopt.compare(problem, baselines={"elra": {}})
    with pytest.raises(BadValue, match="max_steps = -5"):
        flowopt.compare(problem, max_steps=-5)
    with pytest.raises(BadValue, match="horizon"):
        flowopt.compare(problem, horizon=0.0)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_picture_shows_every_run(dim, tmp_path):
    found = flowopt.compare(
        flowopt.problem("rosenbrock", dim=dim), max_steps=30, methods=["gd", "tlr_gdm"], baselines={"scipy:BFGS": {}}
    )
    figure = found.figure(tmp_path / "compare.png")
    assert imread(tmp_path / "compare.png")[..., :3].std() > 0.05
    left, middle, right = figure.subfigs[0].axes
    assert [text.get_text() for text in left.get_legend().texts] == ["gd", "tlr_gdm"]
    assert [text.get_text() for text in middle.get_legend().texts] == ["scipy:BFGS"]
    gd = found.runs["gd"]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), np.minimum.accumulate(gd.f[:, 0]))
    np.testing.assert_array_equal(right.lines[0].get_ydata(), found.contestants[0].deviation.distance)
    small = figure.subfigs[1].axes if dim == 2 else []
    assert [axes.get_title().split("\n")[0] for axes in small if axes.axison] == (list(found.runs)[:3] if small else [])
    for axes in figure.subfigs[0].axes:
        box = axes.get_tightbbox()
        assert figure.bbox.x0 - 1 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1


def test_a_function_without_a_known_minimum_can_be_compared_and_drawn():
    def ramp(x):
        return x[..., 0] + torch.sin(x[..., 1])

    found = flowopt.compare(ramp, [0.5, 0.5], max_steps=10, methods=["gd", "ecdsep"], baselines={}, horizon=1.0)
    assert np.isnan(found.rows[0]["distance"])
    assert found.to_dict()["minimum"] is None
    assert found.figure().subfigs[0].axes[0].get_ylabel() == "best f so far"
