"""The helper for what rounding decides: a chaotic map, a contraction, a law that is known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from flowopt.core.errors import BadValue
from flowopt.testing import Distribution, common_length, nudged, over_seeds, reproducible_length

STEPS = 200


def logistic(x: np.ndarray) -> list[np.ndarray]:
    """A chaotic map with the Lyapunov exponent log 2: a bit is lost in every step."""
    return [x := 4 * x * (1 - x) for _ in range(STEPS)]


def halving(x: np.ndarray) -> list[np.ndarray]:
    return [x := np.cos(x) / 2 for _ in range(STEPS)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_entry_moves_by_one_ulp(dtype: type) -> None:
    start = np.array([1.0, -3.0, 1e-30, 0.0, 100.0], dtype)
    for seed in range(5):
        moved = nudged(start, seed)
        assert moved.dtype == dtype
        ulp = np.spacing(np.array([1.0, 3.0, 1e-30, 100.0, 100.0], dtype))
        assert (np.abs(moved - start)[[0, 1, 4]] == ulp[[0, 1, 4]]).all()
        assert abs(moved[2] - start[2]) == ulp[2]
        assert abs(moved[3]) == ulp[3]
    assert len({tuple(nudged(start, seed)) for seed in range(20)}) > 10


def test_a_tensor_stays_one_and_the_original_stays() -> None:
    start = torch.ones(3, dtype=torch.float32, requires_grad=True)
    moved = nudged(start)
    assert moved.dtype == torch.float32
    assert (moved != start).all()
    assert start.tolist() == [1, 1, 1]
    assert nudged([1, 2]).dtype == np.float64
    assert (nudged(np.zeros(2)) != 0).all()


def test_common_length() -> None:
    path = np.arange(12.0).reshape(6, 2)
    other = path.copy()
    assert common_length(path, other, rtol=0, atol=0) == 6
    other[4, 1] += 1e-3
    assert common_length(path, other, rtol=0, atol=1e-4) == 4
    assert common_length(path, other, rtol=1e-3, atol=0) == 6
    assert common_length(path, other[:3], rtol=0, atol=0) == 3
    assert common_length([math.nan, math.inf, 1], [math.nan, math.inf, 2], rtol=0, atol=0) == 2


def test_a_chaotic_map_is_followed_for_its_bits_only() -> None:
    for atol in (1e-3, 1e-6, 1e-9):
        bits = math.log2(atol / 2**-53)  # of the tolerance over those of rounding
        length = reproducible_length(logistic, np.array([0.3]), rtol=0, atol=atol, at_least=1)
        assert bits - 12 < length < bits + 12
    with pytest.raises(BadValue, match=r"one ulp .* for \d\d records only, and the comparison needs 100"):
        reproducible_length(logistic, np.array([0.3]), rtol=0, atol=1e-6, at_least=100)


def test_a_contraction_is_followed_to_its_end() -> None:
    assert reproducible_length(halving, np.array([0.3]), rtol=0, atol=1e-12, at_least=STEPS) == STEPS


def test_a_start_of_another_kind() -> None:
    def run(start: dict[str, float]) -> list[float]:
        return [start["x"]] * 5

    length = reproducible_length(
        run, {"x": 1.0}, rtol=0, atol=1e-3, at_least=5, nudge=lambda s, seed: {"x": s["x"] + 10.0 ** (seed - 5)}
    )
    assert length == 5


def test_the_intervals_cover_what_they_say() -> None:
    """2000 samples of ten numbers each: the mean's interval of a normal law, the median's of a skew one."""
    generator = np.random.default_rng(0)
    normal = [Distribution(tuple(row)) for row in generator.standard_normal((2000, 10))]
    hit = np.mean([low <= 0 <= high for low, high in (each.mean_interval() for each in normal)])
    assert 0.93 < hit < 0.97
    skew = [Distribution(tuple(row)) for row in generator.exponential(size=(2000, 10))]
    hit = np.mean([low <= math.log(2) <= high for low, high in (each.median_interval() for each in skew)])
    assert 0.96 < hit < 0.99  # two order statistics of ten: 97.9 %


def test_the_interval_is_scipys() -> None:
    values = tuple(np.random.default_rng(1).standard_normal(15))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert Distribution(values).mean_interval(0.9) == pytest.approx(tuple(expected), rel=1e-12)
    low, high = Distribution(tuple(map(float, range(12)))).median_interval()
    assert (low, high) == (2, 9)


def test_the_text() -> None:
    assert str(over_seeds(lambda seed: 1.0)) == "1 [1, 1] (mean of 10 seeds, 95 %)"
    assert str(over_seeds(lambda seed: math.inf if seed > 8 else seed)) == "4.5 [1, 8] (median of 10 seeds, 95 %)"


def test_refusals() -> None:
    with pytest.raises(BadValue, match="at least 10 seeds, not 9"):
        over_seeds(float, range(9))
    with pytest.raises(BadValue, match="NaN"):
        over_seeds(lambda seed: math.nan)
    with pytest.raises(BadValue, match="median"):
        over_seeds(lambda seed: math.inf).mean_interval()
