"""Pictures: what is drawn is what was recorded, empty panels say why, nothing is cut off, files are whole."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

import flowopt
from flowopt import plots
from flowopt.errors import BadValue
from flowopt.plots import contours, limits, style
from flowopt.plots.cast import cast
from flowopt.state import Status

ROSENBROCK = flowopt.problem("rosenbrock")


def run(method="gd", steps=40, x0=None, problem=ROSENBROCK, **parameters):
    return flowopt.minimize(problem, x0, method, steps, **parameters)


def square(side, low=-2.0, high=2.0):
    at = np.linspace(low, high, side)
    return np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def panel(figure, quantity, clock):
    """The panel of a quantity's label against a clock's label."""
    grid = [axes for part in figure.subfigs for axes in part.axes][: 2 * 5]
    labels = [axes.get_ylabel() for axes in grid[::2]]
    clocks = [axes.get_xlabel() for axes in grid[-2:]]
    return grid[2 * labels.index(quantity) + clocks.index(clock)]


def test_the_panels_show_the_records():
    gd = run()
    figure = plots.trajectory(gd, ROSENBROCK)
    for clock, at in (("evaluations", gd.cost), ("time of the flow", gd.t)):
        for quantity, values in (("f - minimum", gd.f), ("|grad f|", gd.grad_norm), ("energy", gd.energy)):
            line = panel(figure, quantity, clock).lines[0]
            np.testing.assert_array_equal(line.get_xdata(), at[:, 0])
            np.testing.assert_array_equal(line.get_ydata(), values[:, 0])
        for quantity, values in (("step size h", gd.h), ("error estimate", gd.error)):
            line = panel(figure, quantity, clock).lines[0]
            np.testing.assert_array_equal(line.get_ydata(), values[1:, 0])


def test_without_a_problem_f_is_shown_as_it_is():
    figure = plots.trajectory(run())
    labels = [axes.get_ylabel() for axes in figure.subfigs[0].axes]
    assert "f" in labels
    assert "f - minimum" not in labels
    assert len(figure.subfigs) == 1


def test_attempts_that_were_not_accepted_are_crosses():
    elra = run("elra", 200)
    assert elra.rejected[0] > 3
    lost = ~elra.accepted[:, 0]
    axes = panel(plots.trajectory(elra, ROSENBROCK), "step size h", "evaluations")
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    np.testing.assert_array_equal(crosses.get_xdata(), elra.cost[lost, 0])
    np.testing.assert_array_equal(crosses.get_ydata(), elra.h[lost, 0])
    line = axes.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), elra.cost[~lost, 0][1:])


@pytest.mark.parametrize(
    ("method", "quantity", "clock", "why"),
    [
        ("ecdsep", "error estimate", "evaluations", "no error estimate for this scheme"),
        ("torch:Adam", "energy", "evaluations", "no energy for this method"),
        ("scipy:BFGS", "step size h", "evaluations", "no step size for this method"),
        ("scipy:BFGS", "f - minimum", "time of the flow", "no time for this method"),
        ("scipy:Nelder-Mead", "|grad f|", "evaluations", "no gradients for this method"),
    ],
)
def test_an_empty_panel_says_why(method, quantity, clock, why):
    axes = panel(plots.trajectory(run(method, 10), ROSENBROCK), quantity, clock)
    assert texts(axes) == [why]


def test_a_run_of_no_steps_says_so():
    axes = panel(plots.trajectory(run(steps=0), ROSENBROCK), "f - minimum", "evaluations")
    assert texts(axes) == ["no evaluations after the start"]


def test_a_run_that_diverges_is_cut_off_and_says_so():
    wild = run(x0=[[-1.2, 1.0], [2.0, 2.0]], lr=2e-2)
    assert set(wild.status.tolist()) & {Status.NONFINITE, Status.DIVERGED}
    axes = panel(plots.trajectory(wild, ROSENBROCK), "f - minimum", "evaluations")
    assert texts(axes) == [f"goes on to {np.nanmax(wild.f):.0e}"]
    assert axes.get_ylim()[1] < 1e4 * limits.BLOW_UP * wild.f[0].max()


def test_an_axis_is_logarithmic_only_where_it_pays():
    def scale(*curves):
        axes = matplotlib.figure.Figure().add_subplot()
        limits.fit(axes, [np.array(curve, dtype=float) for curve in curves])
        return axes.get_yscale(), axes.get_ylim()

    assert scale([1.0, 1e-5])[0] == "log"
    assert scale([1.0, 0.5])[0] == "linear"
    assert scale([1.0, -0.5])[0] == "linear"
    assert scale([1.0, -1e5])[0] == "symlog"
    constant, (low, high) = scale([7.0, 7.0 + 1e-13])
    assert (constant, low, high) == ("linear", pytest.approx(3.5), pytest.approx(10.5))
    assert scale([0.0, 0.0])[1] == (-1.0, 1.0)
    assert scale([1.0, 1e300])[1][1] < 100 * limits.BLOW_UP


def test_few_rows_are_told_apart_and_many_are_coloured_by_how_they_ended():
    few = cast({"gd": run(x0=square(2, -1, 1))}, 60)
    assert len({(member.look.colour, member.look.dash) for member in few}) == 4
    assert [member.label for member in few] == [*(f"row {i}: max steps" for i in range(3)), "row 3: converged"]
    many = run("gd", 300, square(8), lr=2e-3)
    assert len(set(many.status.tolist())) > 1
    members = cast({"gd": many}, 1000)
    looks = {member.run.status[0]: (member.look.colour, member.look.marker) for member in members}
    assert looks == {code: style.STATUS_LOOK[Status(code)] for code in np.unique(many.status)}
    assert len(cast({"gd": many}, 10)) == 10


def test_every_ending_and_thirty_runs_look_different():
    assert len(set(style.STATUS_LOOK.values())) == len(Status)
    assert len({style.look(i)[:2] for i in range(30)}) == 30


def test_runs_of_one_method_are_numbered_in_the_legend():
    figure = plots.panels([run(), run(lr=1e-4), run("ecco")], ROSENBROCK)
    entries = [text.get_text() for part in (figure, *figure.subfigs) for box in part.legends for text in box.texts]
    assert {"gd: max steps", "gd (2): max steps", "ecco: max steps", "start", "minimiser"} <= set(entries)


def test_paths_are_the_positions():
    gd, adam = run(), run("torch:Adam", lr=0.05)
    flow = flowopt.reference(ROSENBROCK, t_end=1.0)
    axes = plots.paths([gd, adam], ROSENBROCK, reference=flow).axes[0]
    drawn = [np.column_stack(line.get_data()) for line in axes.lines]
    for one in (gd, adam, flow):
        assert any(np.array_equal(one.x[:, 0], path) for path in drawn)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for x, y in ((-1.2, 1.0), (1.0, 1.0), *gd.x[:, 0]):
        assert left < x < right
        assert low < y < high


def test_a_path_that_leaves_the_window_says_so():
    newton = run("newton", 10)
    assert newton.x.min() < -3  # far outside the domain
    figure = plots.paths(newton, ROSENBROCK)
    entries = [text.get_text() for text in figure.legends[0].texts]
    assert "the path leaves the window" in entries
    assert not any("leaves" in text.get_text() for text in plots.paths(run(), ROSENBROCK).legends[0].texts)


def test_a_contour_picture_needs_two_coordinates():
    problem = flowopt.problem("rosenbrock", dim=3)
    with pytest.raises(BadValue, match=r"2 coordinates; these have \[3\]"):
        plots.paths(run(problem=problem), problem)
    assert len(plots.trajectory(run(problem=problem), problem).subfigs) == 1  # panels only


def test_contours_are_logarithmic_above_a_known_minimum_and_equal_shares_else():
    shown = ((-2.0, 2.0), (-2.0, 2.0))
    known = contours.survey(ROSENBROCK, shown, 51)
    steps = known.levels[1:] / known.levels[:-1]
    np.testing.assert_allclose(steps, steps[0])
    np.testing.assert_allclose(known.f, ROSENBROCK(np.stack(known.mesh, axis=-1)))
    own = contours.survey(flowopt.problem("saddle"), shown, 51)
    inside = [(own.f <= level).mean() for level in own.levels]
    np.testing.assert_allclose(inside, np.linspace(0, 1, len(own.levels)), atol=0.02)


def test_a_function_that_is_not_finite_everywhere_has_contours_where_it_is():
    def root(x):
        return torch.sqrt(x[..., 0]) + x[..., 1] ** 2

    one = run(x0=[1.0, 1.0], problem=root, steps=5)
    problem = flowopt.Problem(name="root", value=root, dim=2)
    relief = contours.survey(problem, ((-1.0, 1.0), (-1.0, 1.0)), 21)
    assert relief.f.mask[:, :10].all()
    assert not relief.f.mask[:, 10:].any()
    assert plots.paths(one, problem).axes[0].collections  # contours were drawn


def test_basins_name_the_minimiser_that_each_start_found():
    problem = flowopt.problem("himmelblau")
    found = flowopt.minimize(problem, square(7, -5, 5), "elra", 200)
    figure = plots.basins(found, problem)
    mesh = figure.axes[0].collections[0]
    kinds = np.asarray(mesh.get_array()).reshape(7, 7)
    known = np.array(problem.minimisers)
    nearest = np.linalg.norm(found.final_x[:, None] - known, axis=-1).argmin(-1).reshape(7, 7).T
    assert found.converged.all()
    np.testing.assert_array_equal(kinds - kinds.min(), nearest - nearest.min())
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels[0] == f"minimiser (3, 2) ({(nearest == 0).sum()})"
    with pytest.raises(BadValue, match="N x N grid"):
        plots.basins(run(x0=square(3)[::-1].copy()[:8]), ROSENBROCK)


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.trajectory(run("elra", 100), ROSENBROCK, path),
        lambda path: plots.trajectory(run("gd", 100, square(5), lr=2e-3), ROSENBROCK, path),
        lambda path: plots.trajectory(run("scipy:BFGS"), None, path),
        lambda path: plots.panels([run(), run("ecco"), run("ecdsep")], ROSENBROCK, path),
        lambda path: plots.paths([run(), run("ecco")], ROSENBROCK, path),
        lambda path: plots.basins(run(x0=square(4)), ROSENBROCK, path),
    ],
)
def test_pictures_are_whole_and_nothing_is_cut_off(draw, tmp_path):
    figure = draw(tmp_path / "picture.png")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    pixels = imread(tmp_path / "picture.png")
    assert pixels.shape[:2] == tuple(round(side * style.DPI) for side in reversed(figure.get_size_inches()))
    assert pixels[..., :3].std() > 0.05
    page = figure.bbox
    for part in (figure, *figure.subfigs):
        for axes in part.axes:
            box = axes.get_tightbbox()
            if box is not None and axes.axison:
                assert page.x0 - 1 <= box.x0
                assert box.x1 <= page.x1 + 1
                assert page.y0 - 1 <= box.y0
                assert box.y1 <= page.y1 + 1
        for legend in part.legends:
            box = legend.get_window_extent()
            assert page.x0 - 1 <= box.x0
            assert box.x1 <= page.x1 + 1


def test_a_picture_that_cannot_be_drawn_leaves_the_old_file(tmp_path, monkeypatch):
    old = tmp_path / "picture.png"
    old.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.trajectory(run(), ROSENBROCK, old)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert old.read_text() == "old"


def test_a_path_without_a_suffix_becomes_a_png(tmp_path):
    plots.paths(run(), ROSENBROCK, tmp_path / "new" / "picture")
    assert (tmp_path / "new" / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plot_of_a_trajectory_is_the_same_picture(tmp_path):
    gd = run()
    gd.plot(ROSENBROCK, tmp_path / "a.png")
    plots.trajectory(gd, ROSENBROCK, tmp_path / "b.png")
    np.testing.assert_array_equal(imread(tmp_path / "a.png"), imread(tmp_path / "b.png"))


def test_global_state_is_left_alone():
    before = dict(matplotlib.rcParams)
    plots.trajectory(run(), ROSENBROCK)
    assert dict(matplotlib.rcParams) == before


def test_flowopt_imports_matplotlib_only_for_pictures_and_never_pyplot():
    code = """
import sys, flowopt
run = flowopt.minimize("rosenbrock", method="gd", max_steps=3)
assert not [name for name in sys.modules if name.split(".")[0] in ("matplotlib", "rich", "typer", "sklearn")]
run.plot()
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    root = Path(flowopt.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_no_trajectory_is_an_error():
    with pytest.raises(BadValue, match="no trajectory"):
        plots.panels([])
