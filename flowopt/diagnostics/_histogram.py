"""A histogram over all numbers that a format can hold: the bins are its leading bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.int64]

BITS = 4
OCTAVE = 1 << BITS
"""Bins an octave. A bin is at most 1/16 of its numbers wide."""
ERROR = math.sqrt(1 + 1 / OCTAVE) - 1
"""Largest relative error of a percentile, 3.1 %: that of the geometric middle of a bin."""
PIECE = 65_536
"""Numbers at a time, so that temporaries stay in a processor's cache."""


class _Format(NamedTuple):
    """A format of IEEE 754, and the integer that has the same bits."""

    integer: torch.dtype
    mantissa: int
    bias: int

    @property
    def shift(self) -> int:
        """Bits of the mantissa that do not count."""
        return self.mantissa - BITS

    @property
    def half(self) -> int:
        """Leading bits as a number are below this for numbers with no sign."""
        return (2 * self.bias + 2) * OCTAVE


_FORMATS = {torch.float32: _Format(torch.int32, 23, 127), torch.float64: _Format(torch.int64, 52, 1023)}


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many numbers of a tensor lie where: positive ones in bins, 16 an octave; all others are counted apart.

    Bin k holds the numbers from ``edges(k)`` up to ``edges(k + 1)``, its octave being k // 16. So all histograms have
    the same bins, whatever the precision of their tensors; subnormal numbers are in bins like any other.
    """

    first: int
    """The bin of counts[0]."""
    counts: Counts
    zeros: int = 0
    nonfinite: int = 0
    """NaN and infinite."""
    unresolved: int = 0
    """Below 0: numbers of which only a bound is known, see `flowopt.diagnostics.z_hats`."""

    @classmethod
    def of(cls, tensors: Tensor | Iterable[Tensor]) -> Histogram:
        """The histogram of a tensor of any shape, or of several together."""
        found, zeros = cls(0, np.zeros(0, dtype=np.int64)), 0
        totals: dict[torch.dtype, Tensor] = {}
        for values in _single(tensors):
            form = _FORMATS[values.dtype]
            leading = (values.view(form.integer) >> form.shift).bitwise_and_(2 * form.half - 1)
            binned = torch.bincount(leading, minlength=2 * form.half)
            lowest = binned.view(2, -1)[:, :OCTAVE]  # where leading bits tell nothing
            if tiny := int(lowest.sum()):
                none = len(values) - int(values.count_nonzero())
                zeros += none
                if tiny > none:
                    found = found + _subnormal(values, form)
                lowest.zero_()
            totals[values.dtype] = totals[values.dtype] + binned if values.dtype in totals else binned
        for dtype, binned in totals.items():
            found = found + _normal(binned.cpu().numpy(), _FORMATS[dtype])
        return replace(found, zeros=zeros)

    @property
    def positive(self) -> int:
        """Numbers in bins."""
        return int(self.counts.sum())

    @property
    def size(self) -> int:
        """All numbers."""
        return self.positive + self.zeros + self.nonfinite + self.unresolved

    def __add__(self, other: Histogram) -> Histogram:
        """The histogram of both tensors together."""
        filled = [part for part in (self, other) if len(part.counts)]
        first = min((part.first for part in filled), default=0)
        counts = np.zeros(max((part.first + len(part.counts) for part in filled), default=first) - first, np.int64)
        for part in filled:
            counts[part.first - first :][: len(part.counts)] += part.counts
        return Histogram(
            first,
            counts,
            self.zeros + other.zeros,
            self.nonfinite + other.nonfinite,
            self.unresolved + other.unresolved,
        )

    def percentile(self, q: float) -> float:
        """The q-th percentile of the positive numbers, as NumPy's: off by 3.1 % at most. NaN if there are none."""
        if not self.positive:
            return math.nan
        low, part = divmod(q / 100 * (self.positive - 1), 1)
        below, above = (self._at(rank) for rank in (int(low), min(int(low) + 1, self.positive - 1)))
        return below + part * (above - below)

    def above(self, eps: float) -> float:
        """How many numbers are above eps > 0; those in the bin of eps in proportion."""
        mantissa, exponent = math.frexp(eps)
        bin_, part = divmod((2 * mantissa - 1) * OCTAVE, 1)
        place = (exponent - 1) * OCTAVE + int(bin_) - self.first
        whole = float(self.counts[max(0, place + 1) :].sum())
        return whole + ((1 - part) * float(self.counts[place]) if 0 <= place < len(self.counts) else 0.0)

    def edges(self) -> NDArray[np.float64]:
        """Where the bins of `counts` begin, and where the last one ends."""
        return edges(np.arange(self.first, self.first + len(self.counts) + 1))

    def _at(self, rank: int) -> float:
        """The geometric middle of the bin with the number of that rank, from 0."""
        found = self.first + int(np.searchsorted(self.counts.cumsum(), rank, side="right"))
        return float(edges(np.array(found))) * math.sqrt(1 + 1 / (OCTAVE + found % OCTAVE))


def edges(bins: Counts) -> NDArray[np.float64]:
    """Where these bins begin."""
    octaves, parts = np.divmod(bins, OCTAVE)
    found: NDArray[np.float64] = np.ldexp(1 + parts / OCTAVE, octaves)
    return found


def pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    """The real numbers of a tensor, flat, piece by piece; on an accelerator, where a piece costs a wait, in one."""
    real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    flat = real.reshape(-1)
    return torch.split(flat, PIECE) if flat.is_cpu else (flat,)


def _single(given: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
    """Pieces in single or double precision."""
    for tensor in [given] if isinstance(given, Tensor) else given:
        for piece in pieces(tensor):
            if len(piece):
                yield piece.to(torch.promote_types(piece.dtype, torch.float32))


def _normal(binned: Counts, form: _Format) -> Histogram:
    """From the counts of the leading bits, sign included, without those of subnormal numbers and zeros."""
    infinite = form.half - OCTAVE
    plus, minus = binned[: form.half], binned[form.half :]
    nonfinite = int(plus[infinite:].sum() + minus[infinite:].sum())
    unresolved = int(minus[:infinite].sum())
    return _trimmed(plus[:infinite], -form.bias * OCTAVE, nonfinite=nonfinite, unresolved=unresolved)


def _subnormal(values: Tensor, form: _Format) -> Histogram:
    """Of the subnormal ones among the values: times a power of two, which is exact, they are normal."""
    subnormal = values[(values != 0) & (values.abs() < torch.finfo(values.dtype).tiny)]
    positive = subnormal[subnormal > 0]
    leading = (positive * 2.0**form.mantissa).view(form.integer) >> form.shift
    counts = torch.bincount(leading).cpu().numpy()
    return _trimmed(counts, -(form.bias + form.mantissa) * OCTAVE, unresolved=len(subnormal) - len(positive))


def _trimmed(counts: Counts, first: int, nonfinite: int = 0, unresolved: int = 0) -> Histogram:
    """Without the empty bins at both ends."""
    filled = np.flatnonzero(counts)
    start, stop = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    return Histogram(first + start, counts[start:stop].astype(np.int64), 0, nonfinite, unresolved)
