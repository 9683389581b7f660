"""Heat maps: a cell is a run of its own, diverged ones are marked and harm nobody; the record and its picture."""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from together import together
from torch import Tensor, nn

from flowopt.core._records import Kind
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.state import Status
from flowopt.networks import tasks
from flowopt.networks._batches import batches
from flowopt.show import style
from flowopt.show._heat_map_picture import BEST, BOUNDS, RIDGE, check_marks, ink
from flowopt.show._heat_map_picture import heat_map as draw
from flowopt.training import _heat_map as heatmap
from flowopt.training import models
from flowopt.training._heat_map import Axis, HeatMap, check_once, heat_map
from flowopt.training.datasets import Dataset

SIZE, EPOCHS = 8, 3
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(50, 1, 5, dtype=torch.float64, generator=GENERATOR)
Y = torch.sin(X[:, 0, :2]) + 0.1 * torch.randn(50, 2, dtype=torch.float64, generator=GENERATOR)
LINE = Dataset("line", "regression", X[:35], Y[:35], X[35:], Y[35:], outputs=2)
LETTERS = torch.randint(0, 4, (12, 7), generator=GENERATOR)
RHYME = Dataset("rhyme", "language", LETTERS[:8, :-1], LETTERS[:8, 1:], LETTERS[8:, :-1], LETTERS[8:, 1:], outputs=4)


def network(seed: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def run(x: Any, y: Any, method: str = "adam", epochs: int = EPOCHS, **options: Any) -> HeatMap:
    return heat_map(network, method, x, y, LINE, epochs=epochs, batch_size=SIZE, **options)


def alone(seed: int, make: Any) -> tuple[list[float], int]:
    """Errors on the test samples after each epoch of a torch run, and its first step without a finite loss."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network(seed)
    optimizer, errors, step = make(model.parameters()), [], 0
    for epoch in range(EPOCHS):
        for index in batches(35, SIZE, seed=0, epoch=epoch):
            step += 1
            optimizer.zero_grad()
            loss = tasks.squared_error(model(X[index]), Y[index])
            if not loss.isfinite():
                return errors, step
            loss.backward()
            optimizer.step()
        errors.append(tasks.RMSE(model(X[35:]), Y[35:]).item())
    return errors, 0


def test_a_cell_is_a_run_of_its_own() -> None:
    lr, eps, seeds = (1e-3, 1e-2, 1e-1), (1e-8, 1.0), (4, 9)
    found = run(("lr", lr), ("eps", eps), seeds=seeds, hyperparameters={"beta1": 0.8, "weight_decay": 0.01})
    assert found.curves.shape == (EPOCHS, 2, 3, 2)
    options = {"betas": (0.8, 0.999), "weight_decay": 0.01}
    for (row, column, number), _ in np.ndenumerate(found.ended):
        own = {"lr": lr[column], "eps": eps[row]} | options
        errors, _ = alone(seeds[number], lambda parameters, own=own: torch.optim.Adam(parameters, **own))
        np.testing.assert_allclose(found.curves[:, row, column, number], errors, rtol=1e-10)
    assert found.metric == "rmse"
    assert not found.rising


def test_an_axis_of_one_minus_a_parameter() -> None:
    found = run(("1-beta2", (0.1, 1e-3)), ("eps", (1e-2, 1e-6)), hyperparameters={"lr": 0.01})
    assert (found.x, found.y.values) == (Axis("1-beta2", (1e-3, 0.1)), (1e-6, 1e-2))  # in ascending order
    for column, beta2 in enumerate((0.999, 0.9)):
        errors, _ = alone(0, lambda p, b=beta2: torch.optim.Adam(p, lr=0.01, betas=(0.9, b), eps=1e-2))
        np.testing.assert_allclose(found.curves[:, 1, column, 0], errors, rtol=1e-10)


def test_a_diverged_cell_is_marked_and_harms_nobody() -> None:
    wild = run(("lr", (0.01, 0.1, 1e3, 1e200)), ("weight_decay", (0.0, 0.1)), "gd")
    tame = run(("lr", (0.01, 0.1)), ("weight_decay", (0.0, 0.1)), "gd")
    np.testing.assert_allclose(wild.curves[:, :, :2], tame.curves, rtol=1e-12)
    assert (wild.ended > 0).tolist() == [[[False], [False], [False], [True]]] * 2
    errors, step = alone(0, lambda parameters: torch.optim.SGD(parameters, lr=1e200))
    assert not errors
    assert wild.ended[0, 3, 0] == step
    assert wild.status[0, 3, 0] in (Status.DIVERGED, Status.NONFINITE)
    assert np.isnan(wild.curves[:, 0, 3]).all()
    assert wild.diverged.tolist() == [[0, 0, 0, 1]] * 2
    assert "2 of 8 networks diverged" in wild.summary()


def test_all_diverge() -> None:
    found = run(("lr", (1e150, 1e200)), ("weight_decay", (0.0, 0.1)), "gd")
    assert found.curves.shape == (0, 2, 2, 1)
    assert np.isnan([found.best, found.last]).all()
    assert (found.best_cell, found.interrupted) == (None, False)
    assert found.summary() == "no epoch was finished; 4 of 4 networks diverged"
    with pytest.raises(BadValue, match="nothing to draw"):
        draw(found)


def test_the_metric_is_that_of_the_task() -> None:
    def model(seed: int) -> nn.Module:
        return models.build("lstm:3", input_shape=(6,), outputs=4, task="language", seed=seed, fused=False)

    found = heat_map(model, "adam", ("lr", (0.01, 0.1)), ("eps", (1e-8, 1.0)), RHYME, epochs=1, batch_size=4)
    assert found.metric == "perplexity"
    with torch.no_grad():
        first = tasks.PERPLEXITY(model(0)(RHYME.test_inputs), RHYME.test_targets)
    np.testing.assert_allclose(found.untrained, [first], rtol=1e-6)
    assert (found.curves < 20).all()


def test_ctrl_c_keeps_the_finished_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    axes: Any = (("lr", (0.01, 0.1)), ("eps", (1e-8, 1.0)))
    whole = run(*axes)

    def interrupted(*arguments: Any, epoch: int, **options: Any) -> tuple[Tensor, ...]:
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return batches(*arguments, epoch=epoch, **options)

    monkeypatch.setattr(heatmap, "batches", interrupted)
    found = run(*axes)
    assert (found.interrupted, whole.interrupted) == (True, False)
    assert np.array_equal(found.curves, whole.curves[:2])
    assert found.about["epochs"] == EPOCHS


BAD = {
    "a method": ("torch:Adam", ("lr", (1, 2)), ("eps", (1, 2)), BadValue, "torch:Adam is not a flow of ours"),
    "a parameter": ("adam", ("lrr", (1, 2)), ("eps", (1, 2)), UnknownName, "did you mean 'lr'"),
    "a parameter of others": ("gd", ("lr", (1, 2)), ("eps", (1, 2)), UnknownName, "parameter of gd named 'eps'"),
    "one value": ("adam", ("lr", (1,)), ("eps", (1, 2)), BadValue, "two or more different finite numbers"),
    "a value twice": ("adam", ("lr", (1, 1, 2)), ("eps", (1, 2)), BadValue, "two or more different finite numbers"),
    "no number": ("adam", ("lr", (1, math.nan)), ("eps", (1, 2)), BadValue, "two or more different finite numbers"),
    "out of range": ("adam", ("lr", (0.1, 1)), ("beta2", (0.5, 2.0)), BadValue, "beta2.* is outside its range"),
    "a choice": ("diffgrad", ("lr", (0.1, 1)), ("form", (0.5, 2.0)), BadValue, "form of diffgrad is not a number"),
    "a switch": ("madgrad", ("lr", (0.1, 1)), ("dual_averaging", (0, 1)), BadValue, "is not a number"),
    "one parameter twice": ("adam", ("beta2", (0.1, 0.2)), ("1-beta2", (0.5, 0.6)), BadValue, "can be given once"),
}


@together("what", BAD)
def test_bad_axes(what: str) -> None:
    method, x, y, error, message = BAD[what]
    with pytest.raises(error, match=message):
        heat_map(network, method, x, y, LINE, epochs=1)


def test_bad_numbers() -> None:
    axes: Any = (("lr", (0.01, 0.1)), ("eps", (1e-8, 1.0)))
    for options in ({"epochs": 0}, {"seeds": ()}, {"seeds": (-1,)}, {"hyperparameters": {"eps": 1.0}}):
        with pytest.raises(BadValue, match=r"epochs|seeds|given once"):
            run(*axes, **options)
    check_once(Axis("lr", (1, 2)), Axis("eps", (1, 2)), ["beta1"])


NAN, GONE = math.nan, int(Status.DIVERGED)
BY_HAND = HeatMap(
    x=Axis("lr", (0.01, 0.1, 1.0)),
    y=Axis("eps", (1e-8, 1e-4)),
    seeds=(0, 1),
    metric="accuracy",
    untrained=np.array([0.1, 0.1]),
    curves=np.array(
        [
            [[[0.2, 0.4], [0.9, 0.8], [NAN, NAN]], [[0.1, 0.1], [0.6, 0.5], [0.95, 0.97]]],
            [[[0.3, 0.3], [0.7, 0.9], [NAN, NAN]], [[0.1, 0.2], [0.7, 0.6], [0.99, NAN]]],
        ]
    ),
    status=np.array([[[0, 0], [0, 0], [GONE, GONE]], [[0, 0], [0, 0], [0, GONE]]]),
    ended=np.array([[[0, 0], [0, 0], [1, 2]], [[0, 0], [0, 0], [0, 13]]]),
    interrupted=False,
    about={"method": "adam", "model": "mlp:4", "data": "digits", "epochs": 2},
)


def test_the_best_over_the_epochs() -> None:
    best = [[[0.3, 0.4], [0.9, 0.9], [NAN, NAN]], [[0.1, 0.2], [0.7, 0.6], [0.99, 0.97]]]
    np.testing.assert_array_equal(BY_HAND.best, best)
    np.testing.assert_array_equal(BY_HAND.last, BY_HAND.curves[1])
    np.testing.assert_allclose(BY_HAND.cells, np.mean(best, axis=-1))
    assert BY_HAND.diverged.tolist() == [[0, 0, 2], [0, 0, 1]]
    assert BY_HAND.best_cell == (0, 1)  # better ones have a network that ended
    assert BY_HAND.best_where(np.array([[False], [True]])) == (1, 1)
    falling = replace(BY_HAND, metric="perplexity")
    assert falling.best[0, 0].tolist() == [0.2, 0.3]
    assert falling.best_cell == (1, 0)
    assert BY_HAND.summary() == (
        "best test accuracy of 2 epochs 90.0 %, after the last 80.0 % (mean of 2 seeds), at lr = 0.1, eps = 1e-08; "
        "3 of 12 networks diverged"
    )


def test_save_and_load(tmp_path: Path) -> None:
    file = BY_HAND.save(tmp_path / "new" / "map")
    assert file.name == "map.npz"
    again = HeatMap.load(file)
    for name in HeatMap.__dataclass_fields__:
        np.testing.assert_equal(getattr(again, name), getattr(BY_HAND, name))
    assert [path.name for path in file.parent.iterdir()] == ["map.npz"]
    whole = file.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no archive"):
        file.write_bytes(content)
        with pytest.raises(BadValue, match="not a heat map that flowopt saved"):
            HeatMap.load(file)
    with pytest.raises(FileNotFoundError):
        HeatMap.load(tmp_path / "none.npz")


def test_a_file_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowopt.training import _heat_map_record as heatmap_record

    monkeypatch.setattr(heatmap_record, "KIND", Kind("heat map", 2))
    file = BY_HAND.save(tmp_path / "map.npz")
    monkeypatch.undo()
    with pytest.raises(BadValue, match="format 2, written by a newer flowopt; this one reads formats up to 1"):
        HeatMap.load(file)


def test_plain_data() -> None:
    plain = json.loads(json.dumps(BY_HAND.to_dict(), allow_nan=False))
    assert plain["best_cell"] == {"lr": 0.1, "eps": 1e-8}
    assert plain["chosen"] == "best and best_cell are chosen by the accuracy on the test samples, over the epochs"
    assert plain["best"][0][2] == [None, None]
    assert plain["ended"][1][2] == [0, 13]
    assert plain["status"][1][2] == [Status.RUNNING.words, Status.DIVERGED.words]


def texts(drawn: Figure) -> dict[tuple[int, int], list[str]]:
    """What is written in each cell, (row, column)."""
    found: dict[tuple[int, int], list[str]] = {}
    for text in drawn.axes[0].texts:
        column, row = text.get_position()
        found.setdefault((round(row), round(column)), []).append(text.get_text())
    return found


def test_the_picture_shows_numbers_and_what_diverged(tmp_path: Path) -> None:
    drawn = BY_HAND.plot(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000
    written = texts(drawn)
    assert written[0, 0] == ["35.0"]
    assert written[0, 2] == ["×"]
    assert sorted(written[1, 2]) == ["98.0", "×1/2"]
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["$10^{-2}$", "$10^{-1}$", "$10^{0}$"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "eps")
    outlines = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert {patch.get_xy() for patch in outlines} == {(0.5, -0.5)}
    assert outlines[-1].get_edgecolor() == pytest.approx(matplotlib_colour(BEST))
    assert drawn.get_suptitle() == "adam: mlp:4 on digits"


def matplotlib_colour(name: str) -> Any:
    from matplotlib.colors import to_rgba

    return to_rgba(name)


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_bright_is_good_and_numbers_are_legible(metric: str) -> None:
    ramp = np.linspace(0.1, 1.0, 12).reshape(1, 3, 4, 1) * (1.0 if metric == "accuracy" else 80.0)
    shape = ramp.shape[1:]
    found = replace(
        BY_HAND,
        metric=metric,
        x=Axis("lr", (1, 2, 3, 4)),
        y=Axis("eps", (1, 2, 3)),
        seeds=(0,),
        curves=ramp,
        status=np.zeros(shape),
        ended=np.zeros(shape),
        untrained=np.array([70.0]),
    )
    axes = draw(found).axes[0]
    colours = axes.images[0].to_rgba(axes.images[0].get_array())
    lightness = np.array([[luminance(colour) for colour in row] for row in colours]).ravel()
    order = lightness if found.rising else -lightness
    assert (np.diff(order) >= 0).all()
    assert np.ptp(lightness) > 0.5
    for text in axes.texts:
        column, row = map(round, text.get_position())
        light = sorted((luminance(colours[row, column]), luminance(matplotlib_colour(text.get_color()))))
        assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5


def luminance(colour: Any) -> float:
    """Relative luminance of sRGB (WCAG 2.1)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_ink() -> None:
    assert (ink((0, 0, 0, 1)), ink((1, 1, 1, 1)), ink((1, 1, 0, 1)), ink((0, 0, 1, 1))) == (
        "white",
        "black",
        "black",
        "white",
    )


def test_numbers_beyond_all_bounds() -> None:
    curves = np.array([12.0, 40.0, 1e300, math.inf]).reshape(1, 2, 2, 1)
    found = replace(
        BY_HAND,
        metric="perplexity",
        x=Axis("lr", (1, 2)),
        seeds=(0,),
        curves=curves,
        untrained=np.array([95.0]),
        status=np.zeros((2, 2, 1)),
        ended=np.zeros((2, 2, 1)),
    )
    drawn = draw(found)
    assert texts(drawn) == {(0, 0): ["12"], (0, 1): ["40"], (1, 0): ["1e+300"], (1, 1): ["inf"]}
    assert drawn.axes[0].images[0].norm.vmax == 95.0


def lines(drawn: Figure, colour: str) -> list[Any]:
    return [line for line in drawn.axes[0].lines if line.get_color() == colour]


GRID = replace(
    BY_HAND,
    x=Axis("lr", (0.01, 0.1, 1.0)),
    y=Axis("eps", (1e-3, 1e-2, 1e-1, 1.0)),
    seeds=(0,),
    curves=np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.1], [0.4, 0.8, 0.1], [0.2, 0.5, 0.8]]).reshape(1, 4, 3, 1),
    status=np.zeros((4, 3, 1)),
    ended=np.zeros((4, 3, 1)),
)


def test_bounds_enclose_the_cells_between_them() -> None:
    edges = lines(draw(GRID, bounds=(5e-3, 0.1)), BOUNDS)
    assert sorted(line.get_ydata()[0] for line in edges) == [0.5, 2.5]
    turned = replace(GRID, x=GRID.y, y=GRID.x, curves=GRID.curves.swapaxes(1, 2), ended=GRID.ended.swapaxes(0, 1))
    edges = lines(draw(turned, bounds=(1e-3, 0.01)), BOUNDS)
    assert sorted(line.get_xdata()[0] for line in edges) == [-0.5, 1.5]
    assert not lines(draw(GRID), BOUNDS)


def test_the_ridge_is_where_the_ratio_is_best_at_the_largest_eps() -> None:
    (ridge,) = lines(draw(GRID, ridge=True), RIDGE)
    x, y = (np.asarray(data) for data in ridge.get_data())
    np.testing.assert_allclose((y - x)[~np.isnan(x)], 1.0)  # eps = lr, one row above its column
    assert np.isnan(x).any()  # not through the numbers
    assert any("lr / eps = 1" in text.get_text() for text in draw(GRID, ridge=True).legends[0].texts)
    assert not lines(draw(GRID), RIDGE)


def test_marks_that_do_not_go_with_the_axes() -> None:
    lr, eps, beta = Axis("lr", (0.1, 1)), Axis("eps", (1e-8, 1)), Axis("1-beta2", (0.1, 1))
    check_marks(lr, eps, "adam", (1e-9, 1e-7), True)
    with pytest.raises(UnknownName, match="axis for the bounds named 'eps'"):
        check_marks(lr, beta, "adam", (1e-9, 1e-7), False)
    with pytest.raises(UnknownName, match="axis for the ridge named 'lr'"):
        check_marks(eps, beta, "adam", None, True)
    with pytest.raises(BadValue, match="no eps on the axis lies between"):
        check_marks(lr, eps, "adam", (1e-7, 1e-6), False)
    with pytest.raises(BadValue, match="must be above 0"):
        check_marks(lr, Axis("eps", (0.0, 1.0)), "adam", None, True)
    with pytest.raises(BadValue, match="not the rate of adabelief at a large eps"):
        check_marks(lr, eps, "adabelief", None, True)
    with pytest.raises(BadValue, match="gdm has no eps to draw this for"):
        check_marks(lr, beta, "gdm", (1e-9, 1e-7), False)
    check_marks(lr, beta, "gdm", None, False)


def test_a_map_of_many_cells_has_no_numbers_and_is_not_wider_than_a_page() -> None:
    many = 60
    found = replace(
        BY_HAND,
        x=Axis("lr", tuple(range(1, many + 1))),
        seeds=(0,),
        curves=np.full((1, 2, many, 1), 0.5),
        status=np.zeros((2, many, 1)),
        ended=np.zeros((2, many, 1)),
    )
    drawn = draw(found)
    assert not drawn.axes[0].texts
    assert drawn.get_figwidth() <= 16
    assert style.DPI * drawn.get_figwidth() < 3000
