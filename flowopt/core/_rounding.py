"""What rounding decides, and what it does not.

Two processors add in a different order, so that their results differ in the last digit, and a chaotic run makes that
difference large. So a run is compared with another only for as long as it agrees with its own replay from a start
nudged by one ulp (`reproducible_length`), or else by a number that is a distribution over seeds (`Distribution`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor

from flowopt.core.errors import BadValue

Start = TypeVar("Start")
Array = NDArray[Any]

LEAST = 10
"""Seeds below which a distribution is not one."""
CONFIDENCE = 0.95
"""Of the intervals."""


@overload
def nudged(start: Tensor, seed: int = 0) -> Tensor: ...
@overload
def nudged(start: ArrayLike, seed: int = 0) -> Array: ...
def nudged(start: Any, seed: int = 0) -> Any:
    """Every entry moved by one ulp, up or down at random: x + s ulp(x) with s = -1 or 1.

    A tensor gives a tensor of its dtype, anything else an array of the same shape; the original stays. The ulp of 0
    is 5e-324, which no computation notices: an entry of 0 moves by the ulp of the largest one, of 1 if all are 0.

    >>> start = np.array([1.0, 100.0])
    >>> np.abs(nudged(start) - start)
    array([2.22044605e-16, 1.42108547e-14])
    """
    if isinstance(start, Tensor):
        return torch.as_tensor(nudged(start.detach().cpu().numpy(), seed), device=start.device)
    x = np.asarray(start)
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float64)
    largest = np.abs(x).max(initial=0) or 1
    signs = np.random.default_rng(seed).choice((-1, 1), size=x.shape).astype(x.dtype)
    return x + signs * np.spacing(np.where(x == 0, x.dtype.type(largest), np.abs(x)))


def common_length(first: ArrayLike, second: ArrayLike, *, rtol: float, atol: float) -> int:
    """How many leading records of two paths ``(T, ...)`` agree: |a - b| <= atol + rtol |b| in every entry.

    NaN agrees with NaN, and inf with inf.

    >>> common_length([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.1, 4.0], rtol=1e-6, atol=0.0)
    2
    """
    a, b = np.asarray(first), np.asarray(second)
    length = min(len(a), len(b))
    same = np.isclose(a[:length], b[:length], rtol=rtol, atol=atol, equal_nan=True).reshape(length, -1).all(1)
    return length if same.all() else int(same.argmin())


def reproducible_length(
    run: Callable[[Start], ArrayLike],
    start: Start,
    *,
    rtol: float,
    atol: float,
    at_least: int,
    nudge: Callable[[Start, int], Start] = nudged,  # type: ignore[assignment]
    replays: int = 3,
) -> int:
    """How many leading records of ``run(start)``, ``(T, ...)``, its replays from nudged starts agree with.

    Beyond that a difference from anything else (another implementation, another processor) says nothing. Give the
    tolerance of the comparison that is to follow. ``nudge(start, seed)`` makes the nudged start; give your own where
    `start` is not an array.

    Raises BadValue if fewer than `at_least` records agree, which is what the comparison needs to mean something.

    >>> def doubling(x):  # loses one bit in every step
    ...     return [x := 2 * x % 1 for _ in range(100)]
    >>> 25 <= reproducible_length(doubling, np.array([0.1]), rtol=0.0, atol=1e-6, at_least=20) <= 40
    True
    """
    path = run(start)
    length = min(common_length(run(nudge(start, seed)), path, rtol=rtol, atol=atol) for seed in range(replays))
    if length < at_least:
        raise BadValue(
            f"a start nudged by one ulp gives the same path (rtol {rtol:g}, atol {atol:g}) for {length} records only, "
            f"and the comparison needs {at_least}: rounding decides it. Compare an invariant, or a distribution over "
            "seeds (flowopt.testing.Distribution), or ask for a wider tolerance"
        )
    return length


@dataclass(frozen=True)
class Distribution:
    """A number measured on ten seeds or more.

    Raises BadValue for fewer. Values may be infinite (a run that never arrives); NaN is refused.

    >>> print(Distribution((94.0, 95.0, 95.5, 96.0, 94.5, 95.0, 93.5, 96.5, 95.0, 95.0)))
    95 [94.369, 95.631] (mean of 10 seeds, 95 %)
    """

    values: tuple[float, ...]
    of: Literal["mean", "median"] = "mean"
    """Which centre is given: the mean, as long as no value is infinite, or the median."""

    def __post_init__(self) -> None:
        if len(self.values) < LEAST:
            raise BadValue(f"a distribution needs at least {LEAST} seeds, not {len(self.values)}")
        if any(math.isnan(value) for value in self.values):
            raise BadValue("a distribution over seeds has NaN among its values: say what such a run counts as")

    @property
    def mean(self) -> float:
        """Mean; infinite if a value is."""
        return math.fsum(self.values) / len(self.values)

    @property
    def median(self) -> float:
        """Median: it is finite as long as half of the values are."""
        return float(np.median(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation of the values, with n - 1."""
        return float(np.std(self.values, ddof=1))

    @property
    def finite(self) -> bool:
        """Whether all values are, so that there is a mean to speak of."""
        return all(map(math.isfinite, self.values))

    @property
    def centre(self) -> Literal["mean", "median"]:
        """Which centre is given."""
        return self.of if self.finite else "median"

    @property
    def middle(self) -> float:
        """The mean or the median."""
        return self.mean if self.centre == "mean" else self.median

    @property
    def interval(self) -> tuple[float, float]:
        """That of the middle, at 95 %."""
        return self.mean_interval() if self.centre == "mean" else self.median_interval()

    def mean_interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Student's t: mean -+ t deviation/sqrt(n). Raises BadValue where a value is infinite."""
        if not self.finite:
            raise BadValue("a mean over infinite values has no interval: take the median")
        half = stats.t.ppf((1 + confidence) / 2, len(self.values) - 1) * self.deviation / math.sqrt(len(self.values))
        return self.mean - float(half), self.mean + float(half)

    def median_interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Two order statistics, by the binomial law of how many values lie below the median: it holds for any law."""
        rank = int(stats.binom.ppf((1 - confidence) / 2, len(self.values), 0.5))
        ranked = sorted(self.values)
        low = max(rank - 1, 0)
        return ranked[low], ranked[-1 - low]

    def __str__(self) -> str:
        low, high = self.interval
        what = f"{self.centre} of {len(self.values)} seeds, {100 * CONFIDENCE:g} %"
        return f"{self.middle:.5g} [{low:.5g}, {high:.5g}] ({what})"


@dataclass(frozen=True)
class Share:
    """How many of ten seeds or more did something, in percent, with Clopper and Pearson's exact interval.

    Raises BadValue for fewer seeds, and for more hits than seeds.

    >>> print(Share(3, 20))
    15 [3.2071, 37.893] (percent of 20 seeds, 95 %)
    """

    hits: int
    seeds: int

    def __post_init__(self) -> None:
        if self.seeds < LEAST:
            raise BadValue(f"a share needs at least {LEAST} seeds, not {self.seeds}")
        if not 0 <= self.hits <= self.seeds:
            raise BadValue(f"{self.hits} hits of {self.seeds} seeds: expected 0 to {self.seeds}")

    @property
    def values(self) -> tuple[float, ...]:
        """Hits and seeds."""
        return float(self.hits), float(self.seeds)

    @property
    def middle(self) -> float:
        """The share in percent."""
        return 100 * self.hits / self.seeds

    @property
    def interval(self) -> tuple[float, float]:
        """At 95 %, in percent."""
        exact = stats.binomtest(self.hits, self.seeds).proportion_ci(CONFIDENCE)
        return 100 * float(exact.low), 100 * float(exact.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.middle:.5g} [{low:.5g}, {high:.5g}] (percent of {self.seeds} seeds, {100 * CONFIDENCE:g} %)"


def over_seeds(measure: Callable[[int], float], seeds: Iterable[int] = range(LEAST)) -> Distribution:
    """``measure(seed)`` of every seed.

    >>> over_seeds(lambda seed: float(seed)).median
    4.5
    """
    return Distribution(tuple(measure(seed) for seed in seeds))
