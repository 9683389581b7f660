"""Random numbers that belong to a row: a hash of (seed, counter, coordinate), so no row's noise depends on another's.

A counter-based generator has no state to keep: a run can be repeated, cut down to some of its rows, or resumed, and
every row still sees the same numbers. The hash is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # logical, not arithmetic


def scramble(z: Tensor) -> Tensor:
    """SplitMix64's finaliser of int64 numbers: a bijection in which every bit depends on every bit."""
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    return z ^ _shift(z, 31)


def uniform(seeds: Tensor, counter: Tensor, dim: int) -> Tensor:
    """Uniform numbers in (0, 1), ``(B, dim)`` float64, for seeds ``(B,)`` and counters ``(B,)`` int64."""
    key = scramble(scramble(seeds + GOLDEN) + counter * GOLDEN)
    index = torch.arange(1, dim + 1, device=seeds.device)
    bits = scramble(key.unsqueeze(-1) + index * GOLDEN)
    return (_shift(bits, 11).to(torch.float64) + 0.5) * 2.0**-53


def normal(seeds: Tensor, counter: Tensor, dim: int) -> Tensor:
    """Standard normal numbers, ``(B, dim)`` float64 (Box and Muller 1958)."""
    pairs = (dim + 1) // 2
    u = uniform(seeds, counter, 2 * pairs)
    radius = (-2 * u[:, :pairs].log()).sqrt()
    angle = 2 * math.pi * u[:, pairs:]
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1)[:, :dim]


def position_counter(q: Tensor) -> Tensor:
    """A counter ``(B,)``, a hash of the position's bits: the same point sees the same noise, any other another."""
    total = torch.zeros(q.shape[0], dtype=torch.int64, device=q.device)
    for coordinate in q.to(torch.float64).contiguous().view(torch.int64).unbind(-1):
        total = scramble(total + coordinate + GOLDEN)
    return total
