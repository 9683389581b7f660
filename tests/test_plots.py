"""Pictures: what is drawn is what was recorded, empty panels say why, nothing is cut off, files are whole."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

import flowopt
from flowopt import show
from flowopt.core.errors import BadValue
from flowopt.core.state import Status
from flowopt.show import contours, end_labels, limits, style
from flowopt.show._drawn_rows import drawn_rows

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
    figure = show.trajectory(gd, ROSENBROCK)
    for clock, at in (("evaluations", gd.cost), ("time of the flow", gd.t)):
        for quantity, values in (("f - minimum", gd.f), ("|grad f|", gd.grad_norm), ("energy", gd.energy)):
            line = panel(figure, quantity, clock).lines[0]
            np.testing.assert_array_equal(line.get_xdata(), at[:, 0])
            np.testing.assert_array_equal(line.get_ydata(), values[:, 0])
        for quantity, values in (("step size h", gd.h), ("error estimate", gd.error)):
            line = panel(figure, quantity, clock).lines[0]
            np.testing.assert_array_equal(line.get_ydata(), values[1:, 0])


def test_a_run_on_a_problem_of_the_library_knows_which(tmp_path):
    """Its path is drawn without being told, unless the problem had other options: then f is another."""
    figure = run().plot(path=tmp_path / "why.png")
    assert len(figure.subfigs) == 2
    assert "f - minimum" in [axes.get_ylabel() for axes in figure.subfigs[0].axes]
    assert imread(tmp_path / "why.png")[..., :3].std() > 0.02
    other = run(problem=flowopt.problem("bowl", coefficients=(1, 4)), x0=[1.0, 2.0])
    assert len(other.plot().subfigs) == 1
    deep = run(problem=flowopt.problem("rosenbrock", dim=4), x0=[0.0, 0.0, 0.0, 0.5])
    assert len(deep.plot().subfigs) == 1


def test_without_a_problem_f_is_shown_as_it_is():
    figure = show.trajectory(run(problem=lambda x: (x * x).sum(-1), x0=[1.0, 2.0]))
    labels = [axes.get_ylabel() for axes in figure.subfigs[0].axes]
    assert "f" in labels
    assert "f - minimum" not in labels
    assert len(figure.subfigs) == 1


def test_attempts_that_were_not_accepted_are_crosses():
    elra = run("elra", 200)
    assert elra.rejected[0] > 3
    lost = ~elra.accepted[:, 0]
    axes = panel(show.trajectory(elra, ROSENBROCK), "step size h", "evaluations")
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
    axes = panel(show.trajectory(run(method, 10), ROSENBROCK), quantity, clock)
    assert texts(axes) == [why]


def test_a_run_of_no_steps_says_so():
    axes = panel(show.trajectory(run(steps=0), ROSENBROCK), "f - minimum", "evaluations")
    assert texts(axes) == ["no evaluations after the start"]


def test_a_run_that_diverges_is_cut_off_and_says_so():
    wild = run(x0=[[-1.2, 1.0], [2.0, 2.0]], lr=2e-2)
    assert set(wild.status.tolist()) & {Status.NONFINITE, Status.DIVERGED}
    axes = panel(show.trajectory(wild, ROSENBROCK), "f - minimum", "evaluations")
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
    axes = matplotlib.figure.Figure().subplots()
    limits.fit(axes, [np.array([3.9, 0.5, -1e9])])  # no ticks but 0 where the axis is straight: they would overlap
    assert sorted(abs(tick) for tick in axes.get_yticks())[:2] == [0.0, 10.0]
    constant, (low, high) = scale([7.0, 7.0 + 1e-13])
    assert (constant, low, high) == ("linear", pytest.approx(3.5), pytest.approx(10.5))
    assert scale([0.0, 0.0])[1] == (-1.0, 1.0)
    assert scale([1.0, 1e300])[1][1] < 100 * limits.BLOW_UP


def test_few_rows_are_told_apart_and_many_are_coloured_by_how_they_ended():
    few = drawn_rows({"gd": run(x0=square(2, -1, 1))}, 60)
    assert len({(member.look.colour, member.look.dash) for member in few}) == 4
    assert [member.label for member in few] == [*(f"row {i}: max steps" for i in range(3)), "row 3: converged"]
    many = run("gd", 300, square(8), lr=2e-3)
    assert len(set(many.status.tolist())) > 1
    members = drawn_rows({"gd": many}, 1000)
    looks = {member.run.status[0]: (member.look.colour, member.look.marker) for member in members}
    assert looks == {code: style.STATUS_LOOK[Status(code)] for code in np.unique(many.status)}
    assert len(drawn_rows({"gd": many}, 10)) == 10


def test_every_ending_and_thirty_runs_look_different():
    assert len(set(style.STATUS_LOOK.values())) == len(Status)
    assert len({style.look(i)[:2] for i in range(30)}) == 30


def test_runs_of_one_method_are_numbered_in_the_legend():
    figure = show.panels([run(), run(lr=1e-4), run("ecco")], ROSENBROCK)
    entries = [text.get_text() for part in (figure, *figure.subfigs) for box in part.legends for text in box.texts]
    assert {"gd: max steps", "gd (2): max steps", "ecco: max steps", "start", "minimiser"} <= set(entries)


def test_paths_are_the_positions():
    gd, adam = run(), run("torch:Adam", lr=0.05)
    flow = flowopt.reference(ROSENBROCK, t_end=1.0)
    axes = show.paths([gd, adam], ROSENBROCK, reference=flow).axes[0]
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
    figure = show.paths(newton, ROSENBROCK)
    entries = [text.get_text() for text in figure.legends[0].texts]
    assert "the path leaves the window" in entries
    assert not any("leaves" in text.get_text() for text in show.paths(run(), ROSENBROCK).legends[0].texts)


def test_a_contour_picture_needs_two_coordinates():
    problem = flowopt.problem("rosenbrock", dim=3)
    with pytest.raises(BadValue, match=r"2 coordinates; these have \[3\]"):
        show.paths(run(problem=problem), problem)
    assert len(show.trajectory(run(problem=problem), problem).subfigs) == 1  # panels only


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
    assert show.paths(one, problem).axes[0].collections  # contours were drawn


def test_basins_name_the_minimiser_that_each_start_found():
    problem = flowopt.problem("himmelblau")
    found = flowopt.minimize(problem, square(7, -5, 5), "elra", 200)
    figure = show.basins(found, problem)
    mesh = figure.axes[0].collections[0]
    kinds = np.asarray(mesh.get_array()).reshape(7, 7)
    known = np.array(problem.minimisers)
    nearest = np.linalg.norm(found.final_x[:, None] - known, axis=-1).argmin(-1).reshape(7, 7).T
    assert found.converged.all()
    np.testing.assert_array_equal(kinds - kinds.min(), nearest - nearest.min())
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels[0] == f"minimiser (3, 2) ({(nearest == 0).sum()})"
    with pytest.raises(BadValue, match="N x N grid"):
        show.basins(run(x0=square(3)[::-1].copy()[:8]), ROSENBROCK)


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        lambda path: show.trajectory(run("elra", 100), ROSENBROCK, path),
        lambda path: show.trajectory(run("gd", 100, square(5), lr=2e-3), ROSENBROCK, path),
        lambda path: show.trajectory(run("scipy:BFGS"), None, path),
        lambda path: show.panels([run(), run("ecco"), run("ecdsep")], ROSENBROCK, path),
        lambda path: show.paths([run(), run("ecco")], ROSENBROCK, path),
        lambda path: show.basins(run(x0=square(4)), ROSENBROCK, path),
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
        show.trajectory(run(), ROSENBROCK, old)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert old.read_text() == "old"


def test_a_path_without_a_suffix_becomes_a_png(tmp_path):
    show.paths(run(), ROSENBROCK, tmp_path / "new" / "picture")
    assert (tmp_path / "new" / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_plot_of_a_trajectory_is_the_same_picture(tmp_path):
    gd = run()
    gd.plot(ROSENBROCK, tmp_path / "a.png")
    show.trajectory(gd, ROSENBROCK, tmp_path / "b.png")
    np.testing.assert_array_equal(imread(tmp_path / "a.png"), imread(tmp_path / "b.png"))


def test_global_state_is_left_alone():
    before = dict(matplotlib.rcParams)
    show.trajectory(run(), ROSENBROCK)
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
        show.panels([])


def valley(x):
    return 0.5 * (x[..., 0] - 1) ** 2 + 5 * (x[..., 1] - x[..., 0] ** 2 / 4) ** 2


def test_one_that_runs_away_does_not_hide_the_others():
    """Without a domain too: Adam with steps of 1e5 is cut off where it leaves the window, and that place is marked."""
    runs = {name: run(name, 60, [-2.0, 1.5], valley) for name in ("ecco_stable", "elra")}
    runs["away"] = run("torch:Adam", 60, [-2.0, 1.5], valley, lr=1e5)
    assert np.abs(runs["away"].x).max() > 1e4
    assert runs["away"].status[0] not in contours.GONE
    alone = show.paths({name: runs[name] for name in ("ecco_stable", "elra")}, valley).axes[0]
    for axes in (show.paths(runs, valley).axes[0], show.panels(runs, valley).subfigs[1].axes[0]):
        assert np.ptp(axes.get_xlim()) < 1.5 * np.ptp(alone.get_xlim())
        assert np.ptp(axes.get_ylim()) < 1.5 * np.ptp(alone.get_ylim())
        (mark,) = [line for line in axes.lines if line.get_marker() == "X" and line.get_markeredgecolor() == "black"]
        place, start = np.ravel(mark.get_data()), np.array([-2.0, 1.5])
        step = runs["away"].x[1, 0] - start
        across = (place - start)[0] * step[1] - (place - start)[1] * step[0]
        assert across == pytest.approx(0, abs=1e-6 * np.linalg.norm(step))  # on its first step
        low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
        assert np.isclose([place - low, high - place], 0, atol=1e-9).any()  # and on the edge


def test_where_a_path_leaves_a_window():
    shown = ((0.0, 2.0), (0.0, 1.0))
    path = np.array([[1.0, 0.5], [3.0, 0.5], [1.0, 0.5], [1.0, 2.5], [1.5, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(contours.leaving(path, shown), [[2.0, 0.5], [1.0, 1.0]])
    assert contours.leaving(path[:1], shown).shape == (0, 2)


def test_labels_are_moved_as_little_as_it_takes_to_be_apart():
    for seed in range(20):
        wanted = np.random.default_rng(seed).uniform(-0.2, 1.2, 6).tolist()
        places = end_labels.spread(wanted, 0.15)
        assert np.diff(np.sort(places)).min() >= 0.15 - 1e-9
        assert min(places) >= -1e-9
        assert max(places) <= 1 + 1e-9
        assert np.argsort(places).tolist() == np.argsort(wanted).tolist()
    assert end_labels.spread([0.1, 0.5, 0.9], 0.2) == [0.1, 0.5, 0.9]
    assert end_labels.spread([0.5, 0.5], 0.2) == [0.4, 0.6]
    assert end_labels.label("adam = torch:Adam", "lr=0.001") == "adam = torch:Adam  lr=0.001"
    assert end_labels.label("my_module_of_methods:of_mine", "lr=0.001") == "my_module_of_metho…  lr=0.001"


@pytest.fixture(scope="module")
def compared():
    names = ["gd", "gdm", "elra", "ecdsep", "adam", "torch:Adam", "nesterov", "bb", "armijo", "scipy:BFGS", "tlr"]
    return flowopt.compare(ROSENBROCK, methods=names, max_evaluations=150, tune=4)


def labels(axes):
    return [text.get_text() for text in axes.texts]


def test_the_picture_of_a_comparison_has_at_most_eight_lines_with_names_and_parameters(compared, tmp_path):
    figure = compared.figure(tmp_path / "compare.png")
    assert imread(tmp_path / "compare.png")[..., :3].std() > 0.05
    before, after, sensitivity, distance = figure.axes
    assert [axes.get_title().split(" ")[0] for axes in figure.axes] == ["before", "tuned", "result", "distance"]
    names = [label.split("  ")[0] for label in labels(before)]
    assert len(names) == 8
    assert "adam = torch:Adam" in names  # one line for what moves alike
    assert {label.split("  ")[0] for label in labels(after)} == set(names)
    assert "gdm  lr=0.001" in labels(before)
    rows = {row["name"]: row for row in compared.rows}
    assert f"gdm  lr={rows['gdm']['tuned']['parameters']['lr']:.3g}" in labels(after)
    left_out = [text.get_text() for text in figure.texts if "Not drawn" in text.get_text()]
    not_drawn = [one.name for one in compared.ran if not any(one.name in name.split(" = ") for name in names)]
    assert left_out == [f"Not drawn, because they did not come as low: {', '.join(not_drawn)}."]
    best = {name: min(rows[name][kind]["best_f"] for kind in ("default", "tuned") if rows[name][kind]) for name in rows}
    assert min(best[name] for name in not_drawn) >= max(best[name.split(" = ")[0]] for name in names)
    # what is drawn is what was found
    number = names.index("gdm")
    gdm = compared.runs["gdm"]
    curve = [line for line in before.lines if len(line.get_xdata()) > 2][number]
    np.testing.assert_array_equal(curve.get_ydata(), np.minimum.accumulate(gdm.f[:, 0]))
    np.testing.assert_array_equal(curve.get_xdata(), gdm.cost[:, 0])
    assert any(label.startswith("gdm  lr") for label in labels(sensitivity))
    assert set(labels(distance)) - {"goes on to"} <= {*names, *(t for t in labels(distance) if "goes on" in t)}


def test_the_picture_of_a_comparison_is_legible_in_print(compared, tmp_path):
    """At its own width, that of a page: nothing outside, no label over another, no letter below 6 points."""
    figure = compared.figure()
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] == style.PAGE
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        for box in boxes:
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
        named = [box for box, text in zip(boxes, axes.texts, strict=True) if "goes on" not in text.get_text()]
        heights = sorted((box.y0, box.y1) for box in named)
        assert all(low[1] <= high[0] + 1 for low, high in pairwise(heights))
        letters = [*axes.texts, axes.title, axes.xaxis.label, *axes.get_xticklabels()]
        assert min(letter.get_size() for letter in letters) >= 6
    for left, right in ((0, 1), (2, 3)):
        labels_end = max(text.get_window_extent().x1 for text in figure.axes[left].texts)
        assert labels_end < figure.axes[right].get_tightbbox().x0
    compared.figure(tmp_path / "compare.pdf")
    assert b"/Type3" not in (tmp_path / "compare.pdf").read_bytes()


def test_a_picture_of_untuned_methods_has_no_panels_of_tuning():
    problem = flowopt.problem("zakharov", dim=4)
    found = flowopt.compare(problem, methods=["gd", "gdm"], max_evaluations=30, tune=0, horizon=0.01)
    assert [axes.get_title() for axes in found.figure().axes] == ["", "distance from its own flow"]
    with pytest.raises(BadValue, match="2 coordinates"):
        found.paths()


@pytest.mark.slow
def test_the_paths_of_a_comparison_are_a_panel_each_and_at_most_twelve(compared, tmp_path):
    figure = compared.paths(tmp_path / "paths.png")
    assert imread(tmp_path / "paths.png")[..., :3].std() > 0.05
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title().split("  ")[0].split("\n")[0] for axes in shown] == [one.name for one in compared.ran]
    gd = compared.tuned_runs["gd"].x[:, 0]
    assert any(np.array_equal(np.column_stack(line.get_data()), gd) for line in shown[0].lines)
    best = compared.entrants[0].tuned.parameters["lr"]
    assert f"lr={best:.3g}" in shown[0].get_title()
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in shown}) == 1
    named = [line.name for line in flowopt.listing("methods")]
    many = flowopt.compare(ROSENBROCK, methods=named[:14], max_evaluations=3, tune=0)
    assert len([axes for axes in many.paths().axes if axes.axison]) == 12
    assert "the first 12 of 14" in many.paths().get_suptitle()
