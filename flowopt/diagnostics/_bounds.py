"""Which eps an adaptive optimizer should have: bounds from z_hat, and the share of it that a given eps leaves alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from flowopt.core._numbers import percent, short
from flowopt.core.errors import BadValue, check_positive
from flowopt.diagnostics._histogram import Histogram

if TYPE_CHECKING:
    from rich.table import Table

LOW, HIGH = 2.0, 98.0
"""Percentiles of Algorithm 2."""
LEAST_POWER = -323
"""Exponent of the smallest power of ten that a double can be."""
RARE = {"nonfinite": "NaN, inf", "unresolved": "unresolved"}
"""What most tensors have none of, with its heading."""

Numbers = Mapping[str, Tensor | Histogram]
"""z_hat of each parameter tensor by name: the numbers themselves, or their histogram."""


class Sample(Protocol):
    """What is asked of the numbers of a tensor."""

    @property
    def size(self) -> int:
        """All numbers."""

    @property
    def zeros(self) -> int:
        """Exact zeros."""

    @property
    def nonfinite(self) -> int:
        """NaN and infinite ones."""

    @property
    def unresolved(self) -> int:
        """Those below 0, of which only a bound is known."""

    def percentile(self, q: float) -> float:
        """Of the positive finite numbers; NaN if there are none."""

    def above(self, eps: float) -> float:
        """How many finite numbers are above eps."""


class _Exact:
    """The numbers of a tensor, sorted where percentiles are asked for."""

    def __init__(self, values: Tensor) -> None:
        real = torch.view_as_real(values.detach()) if values.is_complex() else values.detach()
        self._values = real.reshape(-1).to(torch.float64)
        self.size = len(self._values)
        self.zeros = int((self._values == 0).sum())
        self.nonfinite = int((~self._values.isfinite()).sum())
        self.unresolved = int(((self._values < 0) & self._values.isfinite()).sum())

    @cached_property
    def _ordered(self) -> Tensor:
        return self._values[(self._values > 0) & self._values.isfinite()].sort().values

    def percentile(self, q: float) -> float:
        count = len(self._ordered)
        if not count:
            return math.nan
        low, part = divmod(q / 100 * (count - 1), 1)
        below, above = self._ordered[int(low)].item(), self._ordered[min(int(low) + 1, count - 1)].item()
        return below + part * (above - below)

    def above(self, eps: float) -> float:
        return int(((self._values > eps) & self._values.isfinite()).sum())


class TensorRow(NamedTuple):
    """What the bounds are made of: one parameter tensor."""

    name: str
    size: int
    zeros: int
    nonfinite: int
    """NaN and infinite numbers."""
    unresolved: int
    """Numbers of which only a bound is known."""
    p2: float
    """2nd percentile of the positive numbers; NaN if there are none."""
    p98: float
    """98th percentile of them."""


@dataclass(frozen=True)
class EpsilonBounds:
    """Between which values eps should be looked for, and what says so: see `epsilon_bounds`."""

    tensors: tuple[TensorRow, ...]

    @property
    def lowest(self) -> TensorRow:
        """The tensor with the smallest 2nd percentile."""
        return min((row for row in self.tensors if row.p2 > 0), key=lambda row: row.p2)

    @property
    def highest(self) -> TensorRow:
        """The tensor with the largest 98th percentile."""
        return max((row for row in self.tensors if row.p98 > 0), key=lambda row: row.p98)

    @property
    def lower(self) -> float:
        """The smallest 2nd percentile as a power of ten: with this eps the optimizer is almost fully adaptive."""
        return self.powers[0]

    @property
    def upper(self) -> float:
        """The largest 98th percentile as a power of ten: with this eps the optimizer hardly adapts."""
        return self.powers[-1]

    @property
    def powers(self) -> tuple[float, ...]:
        """The powers of ten from the lower to the upper bound."""
        low, high = (round(math.log10(value)) for value in (self.lowest.p2, self.highest.p98))
        return tuple(float(f"1e{exponent}") for exponent in range(max(low, LEAST_POWER), high + 1))

    @property
    def candidates(self) -> tuple[float, ...]:
        """The values worth trying: the two bounds, as the paper advises, and the power of ten between them."""
        powers = self.powers
        return tuple(dict.fromkeys((powers[0], powers[(len(powers) - 1) // 2], powers[-1])))

    def table(self) -> Table:
        """A table with a line for each tensor, for ``flowopt.show.tables.show`` (or ``rich.print``)."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        rare = [name for name in RARE if any(getattr(row, name) for row in self.tensors)]
        table = Table(title=str(self), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("tensor", no_wrap=True, style="bold")
        for head in ("numbers", "zeros", *(RARE[name] for name in rare), "2nd percentile", "98th percentile"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        for row in self.tensors:
            gives = [word for word, one in (("lower", self.lowest), ("upper", self.highest)) if one is row]
            zeros = percent(row.zeros / row.size) if row.zeros else "-"
            odd = [str(getattr(row, name)) for name in rare]
            percentiles = [f"{value:.2e}" if value > 0 else "-" for value in (row.p2, row.p98)]
            table.add_row(Text(row.name), str(row.size), zeros, *odd, *percentiles, " and ".join(gives))
        return table

    def to_dict(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "lowest 2nd percentile": self.lowest.p2,
            "highest 98th percentile": self.highest.p98,
            "worth trying": list(self.candidates),
            "tensors": [row._asdict() for row in self.tensors],
        }

    def __str__(self) -> str:
        worth = ", ".join(map(short, self.candidates))
        return f"eps from {short(self.lower)} to {short(self.upper)}; worth trying: {worth}"


def epsilon_bounds(z_hats: Numbers) -> EpsilonBounds:
    """Bounds of the search for eps from z_hat at the end of the first epoch: Algorithm 2.

    The lower bound is the smallest 2nd percentile over the tensors, the upper one the largest 98th percentile, both as
    ``10 ** round(log10(.))``. Percentiles are NumPy's (linear between two numbers); of a `Histogram` they are within
    3.1 %. Exact zeros (dead ReLUs: eps may be anything there), NaN and infinite numbers and numbers below 0 (see
    `z_hats`) are left out and counted.

    >>> print(epsilon_bounds({"weight": torch.tensor([0.0, 1e-5, 2e-3, 3e-2])}))
    eps from 1e-4 to 1e-2; worth trying: 1e-4, 1e-3, 1e-2

    Raises BadValue where no tensor has a positive number. Source: epsilon from gradient histograms, section 3.3.
    """
    rows = []
    for name, sample in samples(z_hats).items():
        counted = (sample.size, sample.zeros, sample.nonfinite, sample.unresolved)
        rows.append(TensorRow(name, *counted, sample.percentile(LOW), sample.percentile(HIGH)))
    if not any(row.p2 > 0 for row in rows):
        odd = sum(row.nonfinite for row in rows)
        raise BadValue(
            f"epsilon_bounds: no z_hat is a positive number ({sum(row.zeros for row in rows)} zeros, {odd} NaN or "
            "infinite): there is nothing that eps could be compared with. Has the loss gradients, and is it finite?"
        )
    return EpsilonBounds(tuple(rows))


class Share(NamedTuple):
    """How many numbers are above eps, and of how many."""

    above: float
    finite: int
    """Zeros are among them, and those of which only a bound is known, far below eps."""
    zeros: int
    nonfinite: int

    @property
    def of_all(self) -> float:
        """Share of all finite numbers; NaN if there are none."""
        return self.above / self.finite if self.finite else math.nan

    @property
    def of_nonzero(self) -> float:
        """Share of all finite numbers but zeros."""
        return self.above / (self.finite - self.zeros) if self.finite > self.zeros else math.nan


class AdaptiveShare(NamedTuple):
    """Which share of z_hat is above eps, in each tensor: these coordinates move adaptively."""

    eps: float
    tensors: dict[str, Share]

    @property
    def overall(self) -> Share:
        """All tensors together."""
        columns = zip(*self.tensors.values(), strict=True)
        return Share(*map(sum, columns))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: shares of all finite numbers, and of those that are not 0."""
        named = {"overall": self.overall, **self.tensors}
        shares = {name: {"of all": one.of_all, "without zeros": one.of_nonzero} for name, one in named.items()}
        return {"eps": self.eps, **shares}


def adaptive_share(z_hats: Numbers, eps: float) -> AdaptiveShare:
    """The share of z_hat above eps, in each tensor and overall: Table 2.

    Of all finite numbers (`Share.of_all`): a zero is not one that adapts. Without zeros: `Share.of_nonzero`. In a
    `Histogram`, the numbers in the bin of eps count in proportion.

    >>> adaptive_share({"weight": torch.tensor([0.0, 1e-5, 2e-3, 3e-2])}, 1e-3).overall.of_all
    0.5

    Raises BadValue for eps <= 0.
    """
    check_positive("adaptive_share", eps=eps)
    tensors = {}
    for name, sample in samples(z_hats).items():
        tensors[name] = Share(sample.above(eps), sample.size - sample.nonfinite, sample.zeros, sample.nonfinite)
    return AdaptiveShare(eps, tensors)


def samples(numbers: Numbers) -> dict[str, Sample]:
    """Tensors and histograms in one form. Raises BadValue for anything else, and for nothing."""
    if not isinstance(numbers, Mapping):
        raise BadValue(
            f"z_hat is a dictionary of tensors or histograms, as z_hats(optimizer), not {type(numbers).__name__}"
        )
    if not numbers:
        raise BadValue("there is no z_hat: give the tensors of at least one parameter by name, as z_hats(optimizer)")
    found: dict[str, Sample] = {}
    for name, given in numbers.items():
        if not isinstance(given, Tensor | Histogram):
            raise BadValue(f"{name}: z_hat is a Tensor or a Histogram, not {type(given).__name__}")
        found[name] = given if isinstance(given, Histogram) else _Exact(given)
    return found
