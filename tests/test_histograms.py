"""Histograms by leading bits: exact counts, percentiles within 3.1 %; records of a training; their picture."""

import copy
import math
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from together import together
from torch import Tensor, nn

from flowopt import FlowOptimizer
from flowopt.core.errors import BadValue
from flowopt.diagnostics import (
    GradientHistograms,
    Histogram,
    HistogramRecord,
    Snapshot,
    adaptive_share,
    epsilon_bounds,
    z_hats,
)
from flowopt.diagnostics import _histogram_record as record_module
from flowopt.diagnostics._histogram import ERROR, PIECE
from flowopt.diagnostics.z_hat import Rule
from flowopt.show._histogram_picture import chosen, histograms, not_shown
from flowopt.systems.adam import Adam
from flowopt.training import TrainableLR

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
SMALLEST = {torch.float32: 2.0**-149, torch.float64: 2.0**-1070, torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}


def spread(size: int, dtype: torch.dtype = torch.float32, width: float = 4.0, seed: int = 0) -> Tensor:
    """Positive numbers over many octaves."""
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.exp(width * noise).clamp(*{torch.float16: (1e-7, 6e4)}.get(dtype, (1e-30, 1e30))).to(dtype)


def same(a: Histogram, b: Histogram) -> bool:
    return (a.first, a.zeros, a.nonfinite, a.unresolved) == (b.first, b.zeros, b.nonfinite, b.unresolved) and (
        np.array_equal(a.counts, b.counts)
    )


@together("dtype", DTYPES)
def test_every_number_is_in_its_bin(dtype: torch.dtype) -> None:
    values = torch.cat([spread(3000, dtype), torch.full((7,), SMALLEST[dtype], dtype=dtype)])
    found = Histogram.of(values)
    edges = found.edges()
    counted, _ = np.histogram(values.double().numpy(), edges)
    assert values.double().max() < edges[-1]
    np.testing.assert_array_equal(found.counts, counted)
    assert found.size == found.positive == 3007
    widths = np.diff(edges) / edges[:-1]
    assert widths.max() == 1 / 16
    assert widths[edges[:-1] > 1e-300].min() > 1 / 32


@together("dtype", DTYPES)
@together("size", [1, 2, 3, 50, 4001])
def test_percentiles_are_within_the_bound(dtype: torch.dtype, size: int) -> None:
    values = spread(size, dtype, seed=size)
    found = Histogram.of(values)
    for q in (0, 2, 37, 50, 98, 100):
        assert found.percentile(q) == pytest.approx(np.percentile(values.double().numpy(), q), rel=ERROR)
    assert 0.030 < ERROR < 0.031


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, None, width=32, exclude_min=True, allow_infinity=False), min_size=1, max_size=40))
def test_percentiles_of_any_single_precision_numbers(numbers: list[float]) -> None:
    found = Histogram.of(torch.tensor(numbers, dtype=torch.float32))
    for q in (2.0, 98.0):
        assert found.percentile(q) == pytest.approx(np.percentile(np.array(numbers), q), rel=ERROR * (1 + 1e-12))


def test_the_bound_is_reached() -> None:
    """A number at the lower edge of a bin: the bound is the tightest there is."""
    assert Histogram.of(torch.tensor([1.0])).percentile(2) / 1.0 - 1 == pytest.approx(ERROR, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_subnormal_numbers_are_numbers(dtype: torch.dtype) -> None:
    tiny = torch.finfo(dtype).tiny
    values = torch.tensor([SMALLEST[dtype], 5 * SMALLEST[dtype], tiny / 64, tiny * 0.99, tiny, 3 * tiny], dtype=dtype)
    found = Histogram.of(values)
    assert (found.positive, found.zeros) == (6, 0)
    for q, value in zip(range(0, 101, 20), values.double(), strict=True):
        assert found.percentile(q) == pytest.approx(float(value), rel=ERROR, abs=SMALLEST[torch.float64])


def test_double_precision_goes_beyond_single() -> None:
    values = torch.tensor([1e-300, 1e-60, 1.0, 1e60, 1.7e308], dtype=torch.float64)
    found = Histogram.of(values)
    assert (found.positive, found.nonfinite, found.zeros) == (5, 0, 0)
    assert found.percentile(0) == pytest.approx(1e-300, rel=ERROR)
    assert found.percentile(100) == pytest.approx(1.7e308, rel=ERROR)


@together("dtype", DTYPES)
def test_what_is_no_positive_number_is_counted_apart(dtype: torch.dtype) -> None:
    nan = torch.tensor([math.nan], dtype=dtype)
    values = torch.cat([torch.tensor([0.0, -0.0, math.inf, -math.inf, -2.0, 2.0], dtype=dtype), nan, -nan])
    tiny = torch.tensor([-SMALLEST[dtype]], dtype=dtype)
    found = Histogram.of(torch.cat([values, tiny]).reshape(3, 3))
    assert (found.zeros, found.nonfinite, found.unresolved, found.positive, found.size) == (2, 4, 2, 1, 9)


@pytest.mark.parametrize("values", [torch.zeros(4), torch.zeros(0), torch.tensor([math.nan])])
def test_without_positive_numbers_there_are_no_percentiles(values: Tensor) -> None:
    found = Histogram.of(values)
    assert math.isnan(found.percentile(2))
    assert found.above(1e-8) == 0
    assert found.size == values.numel()


def test_layouts_pieces_and_complex_numbers() -> None:
    values = spread(3 * PIECE + 17)
    whole = Histogram.of(values)
    assert same(whole, Histogram.of(iter(values.split(1000))))
    assert same(whole, Histogram.of([values[:5].double(), values[5:]]))
    square = spread(600).reshape(20, 30)
    assert same(Histogram.of(square), Histogram.of(square.T))
    both = torch.view_as_complex(torch.stack([spread(50, seed=1), spread(50, seed=2)], -1))
    assert same(Histogram.of(both), Histogram.of([both.real, both.imag]))


def test_the_sum_is_the_histogram_of_the_whole() -> None:
    values = torch.cat([spread(500), torch.zeros(3), torch.tensor([math.nan, -1.0])])
    values = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]
    for cut in (0, 1, 200):
        assert same(Histogram.of(values), Histogram.of(values[:cut]) + Histogram.of(values[cut:]))
    low, high = Histogram.of(torch.tensor([1e-20])), Histogram.of(torch.tensor([1e20]))
    assert (low + high).positive == (high + low).positive == 2


@together("eps", [2.0**-20, 1e-3, 0.7, 1.0, 33.3, 1e9, 1e-300])
def test_share_above_eps(eps: float) -> None:
    """Exact at a power of two; else off by no more than the numbers in the bin of eps."""
    values = spread(5000)
    found, exact = Histogram.of(values), int((values.double() > eps).sum())
    inside = int(((values > eps / (1 + 1 / 16)) & (values <= eps * (1 + 1 / 16))).sum())
    assert abs(found.above(eps) - exact) <= (0 if math.frexp(eps)[0] == 0.5 else inside)


# records


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)).to(dtype)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    first = next(model.parameters())
    for step in range(count):
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64).to(first.dtype)
        optimizer.zero_grad()
        (model(x) - x[:, :1]).square().mean().backward()
        optimizer.step()


MAKERS = {
    "adam": lambda model: FlowOptimizer(model.named_parameters(), "adam"),
    "torch.Adam": lambda model: torch.optim.Adam(model.named_parameters()),
    "torch.RMSprop": lambda model: torch.optim.RMSprop(model.named_parameters()),
    "TrainableLR": lambda model: TrainableLR(torch.optim.Adam(model.named_parameters()), K=3),
}


@together("dtype", [torch.bfloat16, torch.float32, torch.float64])
@together("name", MAKERS)
def test_it_watches_an_optimizer(name: str, dtype: torch.dtype) -> None:
    model = network(dtype)
    optimizer = MAKERS[name](model)
    watched = GradientHistograms(optimizer)
    steps(model, optimizer, 5)
    exact = z_hats(optimizer)
    assert watched.latest.step == watched.steps == 5
    assert list(watched.latest.histograms) == list(exact)
    for key, z in exact.items():
        assert same(watched.latest.histograms[key], Histogram.of(z))
    for mine, theirs in zip(watched.epsilon_bounds().tensors, epsilon_bounds(exact).tensors, strict=True):
        assert mine[:5] == theirs[:5]
        assert mine[5:] == pytest.approx(theirs[5:], rel=ERROR)
    share, expected = watched.adaptive_share(2.0**-6), adaptive_share(exact, 2.0**-6)
    assert share.overall == expected.overall
    assert watched.overall.size == 129
    assert "at eps = 0.1" in watched.verdict(0.1)
    assert "at eps = 1e-8" in watched.verdict()


def test_large_tensors_are_read_in_pieces() -> None:
    big = nn.Parameter(torch.zeros(PIECE + 5))
    optimizer = torch.optim.Adam([big])
    watched = GradientHistograms(optimizer)
    big.grad = spread(PIECE + 5)
    optimizer.step()
    [z] = z_hats(optimizer).values()
    assert same(watched.overall, Histogram.of(z))


def test_every_so_many_steps() -> None:
    model = network()
    optimizer = MAKERS["adam"](model)
    watched = GradientHistograms(optimizer, every=4)
    steps(model, optimizer, 10)
    assert [one.step for one in watched.snapshots] == [1, 5, 9]
    assert (watched.latest.step, watched.steps) == (9, 10)
    watched.measure()
    assert watched.latest.step == 10
    assert same(watched.overall, Histogram.of(z_hats(optimizer).values()))


@pytest.mark.filterwarnings("ignore:flowopt. .*nonfinite at loss")
def test_a_step_that_moves_nothing_stops_nobody() -> None:
    model = network()
    optimizer = MAKERS["adam"](model)
    watched = GradientHistograms(optimizer)
    with pytest.raises(BadValue, match="no step yet"):
        watched.measure()
    (model(torch.ones(1, 6)) * math.nan).sum().backward()
    optimizer.step()
    assert (watched.steps, watched.latest.histograms) == (1, {})
    steps(model, optimizer, 1)
    assert watched.overall.size == 129


def test_a_diverged_run_is_told_as_one() -> None:
    model = network()
    optimizer = MAKERS["torch.Adam"](model)
    watched = GradientHistograms(optimizer)
    model[2].bias.grad = torch.full((1,), math.nan)
    model[0].bias.grad = torch.ones(16)
    optimizer.step()
    assert "Not counted: 1 numbers that are NaN or infinite, first in 2.bias." in watched.verdict(1e-3)


def test_watching_changes_nothing() -> None:
    models = [network(), network()]
    optimizers = [MAKERS["adam"](model) for model in models]
    with GradientHistograms(optimizers[0]), GradientHistograms(models[0]):
        steps(models[0], optimizers[0], 6)
    steps(models[1], optimizers[1], 6)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_it_lets_go() -> None:
    model = network()
    optimizer = MAKERS["torch.Adam"](model)
    with GradientHistograms(optimizer) as watched, GradientHistograms(model) as gradients:
        steps(model, optimizer, 2)
    assert not optimizer._optimizer_step_post_hooks
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())
    steps(model, optimizer, 3)
    assert (watched.steps, gradients.steps) == (2, 2)
    watched.detach()  # once more does no harm
    assert watched.epsilon_bounds().upper > 0


def test_copies_of_the_optimizer_are_not_watched() -> None:
    model = network()
    optimizer = MAKERS["adam"](model)
    watched = GradientHistograms(optimizer)
    steps(model, optimizer, 1)
    other = copy.deepcopy(optimizer)
    pickle.dumps(optimizer)
    steps(model, other, 2)
    assert watched.steps == 1


def test_it_watches_the_gradients_of_a_model() -> None:
    model = network()
    model[0].bias.requires_grad_(False)
    watched = GradientHistograms(model, every=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 6):
        steps(model, optimizer, 1)
        assert watched.steps == step
        if step % 2:
            expected = {name: p.grad.abs() for name, p in model.named_parameters() if p.requires_grad}
    assert watched.latest.step == 5
    assert list(watched.latest.histograms) == list(expected)
    for name, size in expected.items():
        assert same(watched.latest.histograms[name], Histogram.of(size))
        assert same(watched.snapshots[-1].histograms[name], Histogram.of(size))
    assert watched.epsilon_bounds().tensors[0].zeros > 0  # ReLUs that are off
    with pytest.raises(BadValue, match="has no optimizer"):
        watched.verdict(1e-3)
    with pytest.raises(BadValue, match="0 values of eps"):
        watched.adaptive_share()
    with pytest.raises(BadValue, match="watched as they come"):
        watched.measure()


def test_a_layer_that_is_not_used_keeps_its_latest_histogram() -> None:
    model = network()
    watched = GradientHistograms(model)
    model(torch.ones(2, 6)).sum().backward()
    model[2](torch.ones(2, 16)).sum().backward()
    assert set(watched.latest.histograms) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(watched.snapshots[-1].histograms) == {"2.weight", "2.bias"}
    assert watched.latest.step == 2


def test_the_verdict_knows_the_rate_of_now() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.2)
    watched = GradientHistograms(optimizer)
    steps(model, optimizer, 1)
    assert "alpha / eps = 2e-2" in watched.verdict(10)
    optimizer.param_groups[0]["lr"] = 0.5
    steps(model, optimizer, 1)
    assert "alpha / eps = 5e-2" in watched.verdict(10)


def test_gradients_of_an_embedding() -> None:
    table = nn.Embedding(10, 3, sparse=True)
    watched = GradientHistograms(table)
    table(torch.tensor([1, 1, 4])).sum().backward()
    assert (watched.overall.zeros, watched.overall.positive) == (24, 6)


def test_memory_does_not_grow() -> None:
    """After thousands of steps there are at most 16 snapshots, evenly spread, and the latest."""
    record = HistogramRecord("|g|")
    most = 0
    for step in range(1, 5001):
        record.add(Snapshot(step, {"w": Histogram.of(torch.tensor([float(step)]))}))
        most = max(most, len(record.snapshots))
    taken = [one.step for one in record.snapshots]
    assert most == 16
    assert 8 <= len(taken) <= 16
    assert taken[0] == 1
    assert len(set(np.diff(taken))) == 1
    assert taken[-1] > 5000 - 2 * (taken[1] - taken[0])
    assert record.latest.step == 5000
    assert max(len(one.histograms["w"].counts) for one in record.snapshots) == 1


def trained(every: int = 1, count: int = 40) -> GradientHistograms:
    model = network()
    optimizer = MAKERS["adam"](model)
    with GradientHistograms(optimizer, every) as watched:
        steps(model, optimizer, count)
    return watched


def test_saved_and_loaded(tmp_path: Path) -> None:
    watched = trained()
    found = GradientHistograms.load(watched.save(tmp_path / "new" / "record.npz"))
    assert (found.what, found.rules) == (watched.what, watched.rules)
    assert [one.step for one in found.snapshots] == [one.step for one in watched.snapshots]
    for mine, theirs in zip([found.latest, *found.snapshots], [watched.latest, *watched.snapshots], strict=True):
        assert list(mine.histograms) == list(theirs.histograms)
        assert all(same(mine.histograms[name], theirs.histograms[name]) for name in mine.histograms)
    assert found.verdict(1e-3) == watched.verdict(1e-3)
    for record in (found, watched):  # and both go on alike
        for step in range(41, 60):
            record.add(Snapshot(step, dict(watched.latest.histograms)))
    assert [one.step for one in found.snapshots] == [one.step for one in watched.snapshots]


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    for name in ("text.npz", "other.npz"):
        with pytest.raises(BadValue, match=f"{name} is not a record of gradient histograms"):
            HistogramRecord.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        HistogramRecord.load(tmp_path / "missing.npz")


def test_a_file_with_other_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trained(1, 2).save(tmp_path / "record.npz")
    monkeypatch.setattr(record_module, "OCTAVE", 32)
    with pytest.raises(BadValue, match="16 bins an octave, not 32"):
        HistogramRecord.load(path)


def test_an_empty_record_is_saved_too(tmp_path: Path) -> None:
    record = GradientHistograms.load(GradientHistograms(network()).save(tmp_path / "none.npz"))
    assert record.snapshots == []
    with pytest.raises(BadValue, match="no histograms yet"):
        record.epsilon_bounds()


def test_shards_of_processes_are_merged() -> None:
    """Each process has other coordinates of the same tensor, and one of them a tensor of its own."""
    whole = [spread(400, seed=step) for step in range(20)]
    records = [HistogramRecord("|g|") for _ in range(3)]
    for step, values in enumerate(whole, start=1):
        for record, part in zip(records, (values, values[:150], values[150:]), strict=True):
            extra = {"own": Histogram.of(values[:3])} if len(part) == 150 else {}
            record.add(Snapshot(step, {"w": Histogram.of(part)} | extra))
    merged = records[1].merge(records[2])
    expected = [records[0].latest, *records[0].snapshots]
    for mine, theirs in zip([merged.latest, *merged.snapshots], expected, strict=True):
        assert mine.step == theirs.step
        assert same(mine.histograms["w"], theirs.histograms["w"])
        assert mine.histograms["own"].size == 3


def test_what_cannot_be_merged() -> None:
    with pytest.raises(BadValue, match="of the same steps"):
        trained(1, 4).merge(trained(2, 4))
    with pytest.raises(BadValue, match="of the same steps"):
        trained(1, 4).merge(HistogramRecord("|g|"))
    model = network()
    other = FlowOptimizer(model.named_parameters(), "adam", lr=0.5)
    with GradientHistograms(other) as watched:
        steps(model, other, 4)
    with pytest.raises(BadValue, match="of the same optimizer"):
        trained(1, 4).merge(watched)


def test_groups_with_several_eps() -> None:
    model = network()
    groups: list[Any] = [{"params": model[0].parameters(), "eps": 1e-4}, {"params": model[2].parameters()}]
    optimizer = torch.optim.Adam(groups)
    watched = GradientHistograms(optimizer)
    steps(model, optimizer, 1)
    with pytest.raises(BadValue, match="2 values of eps"):
        watched.verdict()
    assert "at eps = 1" in watched.verdict(1.0)


def test_refused() -> None:
    with pytest.raises(BadValue, match="no eps that decides"):
        GradientHistograms(torch.optim.SGD(network().parameters(), lr=0.1))
    with pytest.raises(BadValue, match="every = 0"):
        GradientHistograms(network(), every=0)
    with pytest.raises(BadValue, match="an optimizer or a model, not a str"):
        GradientHistograms("adam")  # type: ignore[arg-type]


def test_backward_in_another_thread() -> None:
    model = network()
    watched = GradientHistograms(model)
    thread = threading.Thread(target=lambda: model(torch.ones(2, 6)).sum().backward())
    thread.start()
    thread.join()
    assert watched.overall.size == 129


# the picture


def test_the_picture_shows_the_histograms(tmp_path: Path) -> None:
    watched = trained()
    figure = watched.plot(tmp_path / "histograms.png", eps=1e-3)
    assert imread(tmp_path / "histograms.png").shape[0] > 500
    panels = figure.axes
    assert [axes.get_title(loc="left").split("\n")[0] for axes in panels] == list(watched.latest.histograms)
    for axes, histogram in zip(panels, watched.latest.histograms.values(), strict=True):
        now, before = axes.patches[:2]
        heights, borders, _ = now.get_data()
        assert heights.sum() == pytest.approx(100 * histogram.positive / histogram.size)
        assert borders[0] <= histogram.edges()[0]
        assert histogram.edges()[-1] <= borders[-1]
        np.testing.assert_allclose(borders[1:], 2 * borders[:-1])
        assert before.get_data().values.sum() <= 100 + 1e-9
        assert [line.get_xdata()[0] for line in axes.lines] == [1e-3]
        assert axes.get_xscale() == "log"
        low, high = axes.get_xlim()
        assert low < watched.epsilon_bounds().lower < watched.epsilon_bounds().upper < high


@pytest.mark.slow
def test_the_picture_of_a_large_model_names_what_it_leaves_out(tmp_path: Path) -> None:
    record = HistogramRecord("|g|")
    record.add(Snapshot(3, {f"layer{i}": Histogram.of(spread(10 + i)) for i in range(20)}))
    shown, left_out = chosen(record.latest.histograms)
    assert shown == [f"layer{i}" for i in range(8, 20)]
    figure = histograms(record, tmp_path / "many.pdf")
    assert (tmp_path / "many.pdf").stat().st_size > 1000
    assert len(figure.axes) == 12
    assert not any(axes.lines for axes in figure.axes)  # a record of |g| knows no eps
    assert not_shown(left_out) in figure.get_suptitle()
    assert not_shown(left_out) == "not shown, since smaller: layer0, layer1, layer2 and 5 more"


def test_the_picture_of_an_optimizer_without_eps() -> None:
    record = HistogramRecord("z_hat", (Rule(Adam(eps=0.0), 1e-3, True),))
    record.add(Snapshot(1, {"w": Histogram.of(spread(10))}))
    assert not record.plot().axes[0].lines
    with pytest.raises(BadValue, match=r"eps = 0\.0 is outside its range"):
        record.verdict()


def test_the_picture_of_dead_layers_and_faults() -> None:
    record = HistogramRecord("|g|")
    parts = {"dead": torch.zeros(4), "bad": torch.tensor([math.nan, 1.0, 0.0, 0.0])}
    record.add(Snapshot(1, {name: Histogram.of(part) for name, part in parts.items()}))
    dead, bad = record.plot().axes
    assert [text.get_text() for text in dead.texts] == ["no positive number"]
    assert bad.get_title(loc="left") == "bad\n4 numbers, 50.0 % zeros, 25.0 % NaN, inf"


def test_the_picture_shows_the_first_step_whole(tmp_path: Path) -> None:
    """A bias whose gradients have become small has them in the picture all the same, and is one number."""
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9, betas=(0.9, 0.1))
    with GradientHistograms(optimizer, every=1) as histograms:
        for size in (1e3, *[1e-3] * 8):
            optimizer.zero_grad()
            (size * model(torch.ones(1, 1)).sum()).backward()
            optimizer.step()
    axes = histograms.plot(tmp_path / "z_hat.png").axes[-1]
    assert axes.get_xlim()[1] > 1e3
    assert "\n1 number, " in axes.get_title(loc="left")
