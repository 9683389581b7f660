"""ELRA's dynamic batch size: the rule read anew, whole numbers, gradients of the big batch, resume, another's loop."""

import itertools
import json
import math
import statistics
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from together import together
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from flowopt import BadValue
from flowopt.networks._batch_size import BatchSizeController
from flowopt.networks._trainable_lr import TrainableLR


def play(control: BatchSizeController, losses: list[float]) -> Any:
    """One control period whose batches have these losses."""
    for loss in losses:
        for i in range(control.m):
            assert control.record(loss) == (i == control.m - 1)
    return control.end_period()


def level(mean: float, spread: float = 0.0) -> list[float]:
    return [mean - spread, mean + spread]


# --- the rule ---


def by_the_paper(periods: list[list[float]], m: int, m_max: int) -> list[int]:
    """ELRA 3.3, line by line, from the losses of the batches of each period."""
    f = [statistics.fmean(period) for period in periods]
    sigma = [statistics.pstdev(period) for period in periods]
    chosen, updates = [], 0
    for s in range(len(periods)):
        condition_1 = s >= 1 and f[s] > f[s - 1] + sigma[s] / 10
        condition_2 = f[s] > 0 and sigma[s] / f[s] > 1 / 2
        condition_3 = s >= 3 and f[s - 3] < f[s] and f[s - 3] < f[s - 1] and f[s - 3] < f[s - 2]
        if condition_1 or condition_2 or condition_3:
            updates += 1
            m = round(m / 1.5) if updates % 3 == 0 else min(math.floor(m * 1.5 + 0.5), m_max)
        chosen.append(m)
    return chosen


# multiples of 1/16 add up without rounding, so that both sides meet the same number at a threshold
number = st.integers(-16, 200).map(lambda k: k / 16)
scripts = st.lists(st.lists(number, min_size=2, max_size=2), min_size=1, max_size=30)


@settings(max_examples=300, deadline=None)
@given(scripts, st.integers(1, 20), st.integers(0, 1000))
def test_it_follows_the_rule(periods: list[list[float]], m0: int, more: int) -> None:
    control = BatchSizeController(m0=m0, m_max=m0 + more)
    expected = by_the_paper(periods, m0, m0 + more)
    for period, m in zip(periods, expected, strict=True):
        ended = play(control, period)
        assert control.m == ended.m == m
        assert isinstance(m, int)
        assert 1 <= m <= m0 + more
        assert (ended.mean, ended.batches, ended.nonfinite) == (statistics.fmean(period), 2, 0)
        assert ended.deviation == pytest.approx(statistics.pstdev(period), abs=1e-12)


@together(
    ("periods", "reasons"),
    [
        ([level(1.0), level(1.1)], ("rose",)),
        ([level(1.0), level(1.1, 0.5)], ("rose",)),
        ([level(1.0), level(1.0425, 0.4)], ("rose",)),  # by more than sigma/10
        ([level(1.0), level(1.0375, 0.4)], ()),  # by less
        ([level(1.0, 0.5625)], ("noisy",)),
        ([level(1.0, 0.5)], ()),  # not above 1/2
        ([level(-1.0, 5.0)], ()),  # sigma/f says nothing of losses below 0
        ([level(1.0), level(0.0, 0.0)], ()),
        ([level(1.0), level(3.0), level(2.0), level(1.5)], ("stalled",)),
        ([level(1.0), level(3.0), level(1.0), level(0.9)], ()),
        ([level(1.0), level(3.0), level(2.0), level(3.0, 2.0)], ("rose", "noisy", "stalled")),
    ],
)
def test_conditions(periods: list[list[float]], reasons: tuple[str, ...]) -> None:
    control = BatchSizeController(m_max=100)
    for losses in periods:
        ended = play(control, losses)
    assert ended.reasons == reasons


def test_two_up_one_down() -> None:
    """m for ever rising losses, from the paper's starts of 1, 2 and 3 micro-batches."""

    def cascade(m0: int, periods: int) -> list[int]:
        control = BatchSizeController(m0=m0, m_max=1000)
        return [play(control, level(1.0 + s)).m for s in range(periods)]

    assert cascade(1, 10) == [1, 2, 3, 2, 3, 5, 3, 5, 8, 5]
    assert cascade(2, 7) == [2, 3, 5, 3, 5, 8, 5]
    assert cascade(3, 7) == [3, 5, 8, 5, 8, 12, 8]


@given(st.integers(1, 10**6))
def test_rounding(m: int) -> None:
    """Growth is 1.5 to the nearest, always a change; shrinking undoes it; neither leaves the whole numbers from 1."""
    control = BatchSizeController(m0=m, m_max=10**7)
    grown = [play_of_means(control, mean) for mean in (0.0, 1.0, 2.0)]
    assert grown[0] == m
    assert grown[1] > m
    assert abs(grown[1] - 1.5 * m) <= 0.5
    shrunk = play_of_means(control, 3.0)
    assert shrunk == grown[1]
    assert abs(shrunk - grown[2] / 1.5) <= 0.5

    control = BatchSizeController(m0=m, m_max=m)  # growth is held by the bound, so the third change is the first
    for mean in (0.0, 1.0, 2.0):
        assert play_of_means(control, mean) == m
    low = play_of_means(control, 3.0)
    assert 1 <= low <= m
    assert abs(low - m / 1.5) <= 0.5


def play_of_means(control: BatchSizeController, mean: float) -> int:
    """One period of one batch, without its micro-batches."""
    control.load_state_dict({**control.state_dict(), "batches": 1, "mean": mean, "squares": 0.0})
    return control.end_period().m


def test_a_batchs_loss_is_the_mean_of_its_micro_batches() -> None:
    control = BatchSizeController(m0=3, m_max=9)
    assert [control.record(loss) for loss in (1.0, 2.0, 6.0, 4.0, 4.0, 7.0)] == [False, False, True] * 2
    ended = control.end_period()
    assert (ended.mean, ended.deviation, ended.batches) == (4.0, 1.0, 2)


def test_a_batch_that_is_not_complete_is_dropped() -> None:
    control = BatchSizeController(m0=2, m_max=9)
    for loss in (1.0, 1.0, 100.0):
        control.record(loss)
    assert control.end_period().mean == 1.0
    assert not control.record(1.0), "the next batch begins anew"


# --- numbers that are none ---


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_losses_that_are_none_are_reported_and_left_out(bad: float) -> None:
    control = BatchSizeController(m0=2, m_max=9)
    for loss in (1.0, 3.0, 1.0, bad, 4.0, 4.0):
        control.record(loss)
    with pytest.warns(RuntimeWarning, match="1 of 3 batches was NaN or infinite"):
        ended = control.end_period()
    assert (ended.mean, ended.deviation, ended.batches, ended.nonfinite) == (3.0, 1.0, 2, 1)


def test_a_period_without_any_loss_is_an_error_that_loses_nothing() -> None:
    control = BatchSizeController(m0=2, m_max=9)
    for loss in (math.nan, 1.0, 5.0):
        control.record(loss)
    before = control.state_dict()
    with pytest.raises(BadValue, match="had 1 batches with a NaN or infinite loss and 1 micro-batches of a further"):
        control.end_period()
    assert control.state_dict() == before


# --- batches ---


@given(st.integers(0, 50), st.integers(1, 12))
def test_groups(count: int, m: int) -> None:
    """Whole batches in order; what is left over is left out."""
    groups = list(BatchSizeController(m0=m, m_max=m).group(range(count)))
    assert all(len(group) == m for group in groups)
    assert list(itertools.chain(*groups)) == list(range(count - count % m))


def test_m_changes_between_batches_also_within_an_epoch() -> None:
    control = BatchSizeController(m_max=100)
    sizes = []
    for number, group in enumerate(control.group(range(30))):
        for _ in group:
            control.record(float(number))
        sizes.append(len(group))
        if number % 2:
            control.end_period()
    assert sizes == [1, 1, 2, 2, 3, 3, 2, 2, 3, 3, 5]


def test_loaders_and_samplers() -> None:
    data = TensorDataset(torch.arange(23.0))
    control = BatchSizeController(m0=2, m_max=2)
    groups = list(control.group(DataLoader(data, batch_size=4, drop_last=True)))
    assert [[len(x) for (x,) in group] for group in groups] == [[4, 4], [4, 4]]
    sampler = BatchSampler(RandomSampler(data), 4, drop_last=True)
    assert [[len(rows) for rows in group] for group in control.group(sampler)] == [[4, 4], [4, 4]]
    assert len(list(control.group(DataLoader(data, batch_sampler=sampler)))) == 2
    assert len(list(control.group(DataLoader(data, batch_size=None)))) == 11
    for short in (DataLoader(data, batch_size=4), BatchSampler(RandomSampler(data), 4, drop_last=False)):
        with pytest.raises(BadValue, match="drop_last=True"):
            next(control.group(short))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()


def gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("gradient_decay", [False, True])
def test_the_accumulated_gradient_is_that_of_the_big_batch(gradient_decay: bool) -> None:
    """And with gradient decay m_0/m of it."""
    model, control = network(), BatchSizeController(m0=2, m_max=9, gradient_decay=gradient_decay)
    play(control, level(1.0))
    play(control, level(2.0))
    assert control.m == 3
    x, y = torch.randn(24, 5, dtype=torch.float64), torch.randn(24, 1, dtype=torch.float64)
    (batch,) = control.group(zip(x.split(8), y.split(8), strict=True))
    for one, target in batch:
        loss = nn.functional.mse_loss(model(one), target)
        (control.loss_factor * loss).backward()
        complete = control.record(loss)
    assert complete
    found = gradient(model)
    model.zero_grad()
    whole = nn.functional.mse_loss(model(x), y)
    whole.backward()
    assert torch.allclose(found, gradient(model) * (2 / 3 if gradient_decay else 1), rtol=1e-13, atol=0)
    assert control.end_period().mean == pytest.approx(whole.item(), rel=1e-14)


# --- state ---


@settings(max_examples=50, deadline=None)
@given(scripts, st.data())
def test_resume_is_exact(periods: list[list[float]], data: st.DataObject) -> None:
    """From plain numbers, at any moment: JSON is enough."""
    straight = BatchSizeController(m0=2, m_max=50)
    events = [event for period in periods for event in (*period, None)]
    resumed = BatchSizeController(m0=2, m_max=50)
    cut = data.draw(st.integers(0, len(events)))
    for i, event in enumerate(events):
        if i == cut:
            resumed.load_state_dict(json.loads(json.dumps(resumed.state_dict())))
        for control in (straight, resumed):
            if event is None:
                control.end_period()
            else:
                for k in range(control.m):
                    control.record(event + k)
    assert straight.state_dict() == resumed.state_dict()


def test_a_state_is_a_copy() -> None:
    control = BatchSizeController(m0=3, m_max=3)
    control.record(1.0)
    state = control.state_dict()
    other = BatchSizeController(m0=3, m_max=3)
    other.load_state_dict(state)
    control.record(2.0)
    assert state["losses"] == other.state_dict()["losses"] == [1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"m_max": 0}, "m_max"), ({"m_max": 3, "m0": 4}, "m_max = 3"), ({"m_max": 3, "m0": 1.5}, "m0 = 1.5")],
)
def test_bad_parameters(arguments: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        BatchSizeController(**arguments)


def test_bad_states() -> None:
    control = BatchSizeController(m_max=3)
    with pytest.raises(BadValue, match="a state dict has m, changes"):
        control.load_state_dict({"m": 2})
    with pytest.raises(BadValue, match="m = 4, but m_max is 3"):
        control.load_state_dict({**control.state_dict(), "m": 4})


# --- a loop with any optimizer ---


@pytest.mark.parametrize(
    "make",
    [
        lambda params: torch.optim.SGD(params, lr=0.05),
        lambda params: torch.optim.Adam(params, lr=0.01),
        lambda params: TrainableLR(torch.optim.SGD(params, lr=0.05), K=4),
    ],
    ids=["SGD", "Adam", "TrainableLR"],
)
def test_both_loops_train_alike(make: Any) -> None:
    """Grouped, or asking `record` when to step: the same parameters, the same sizes, the remainder of no effect."""
    torch.manual_seed(1)
    x = torch.randn(150, 5, dtype=torch.float64)
    y = x[:, :1] + torch.randn(150, 1, dtype=torch.float64)
    micro = [*zip(x.split(4), y.split(4), strict=True)][:-1]
    grouped, asking = network(), network()
    first, second = (make(model.parameters()) for model in (grouped, asking))
    control, other = (BatchSizeController(m_max=len(micro), gradient_decay=True) for _ in range(2))
    sizes = []
    for epoch in range(12):
        for batch in control.group(micro):
            for one, target in batch:
                loss = nn.functional.mse_loss(grouped(one), target)
                (control.loss_factor * loss).backward()
                control.record(loss * 2**epoch)  # said to rise, so that m changes every time
            first.step()
            first.zero_grad()
        sizes.append(control.end_period())

        second.zero_grad()
        for one, target in micro:
            loss = nn.functional.mse_loss(asking(one), target)
            (other.loss_factor * loss).backward()
            if other.record(loss * 2**epoch):
                second.step()
                second.zero_grad()
        assert other.end_period() == sizes[-1]
    assert all(map(torch.equal, grouped.parameters(), asking.parameters()))
    assert [period.m for period in sizes] == [2, 3, 2, 3, 5, 3, 5, 8, 5, 8, 12, 8]
