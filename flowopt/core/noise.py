"""Random numbers that belong to a row: a hash of (seed, counter, coordinate), so no row's noise depends on another's.

A counter-based generator has no state to keep: a run can be repeated, cut down to some of its rows, or resumed, and
every row still sees the same numbers. The hash is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor

from flowopt.core._blocks import Blocks

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
    # the xor keeps compilers from taking this for the arithmetic of an index, which would not wrap around
    bits = scramble(key.unsqueeze(-1) + (index ^ 0) * GOLDEN)
    return (_shift(bits, 11).to(torch.float64) + 0.5) * 2.0**-53


def normal(seeds: Tensor, counter: Tensor, dim: int) -> Tensor:
    """Standard normal numbers, ``(B, dim)`` float64 (Box and Muller 1958)."""
    pairs = (dim + 1) // 2
    u = uniform(seeds, counter, 2 * pairs)
    radius = (-2 * u[:, :pairs].log()).sqrt()
    angle = 2 * math.pi * u[:, pairs:]
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1)[:, :dim]


def normal_like(leaf: Tensor, seeds: Tensor, counter: Tensor) -> Tensor:
    """Standard normal numbers for every coordinate of a leaf, ``(B, D)``, in its precision."""
    if not isinstance(leaf, Blocks):
        return normal(seeds, counter, leaf.shape[-1]).to(leaf)
    sizes = [part.shape[1] for part in leaf.parts]
    double = any(part.dtype == torch.float64 for part in leaf.parts)
    if torch.compiler.is_compiling() and not double:
        drawn = _drawn_apart(seeds, counter, sizes)
    else:
        drawn = _drawn(normal if double else single_normal, seeds, counter, sizes)
    return cast(Tensor, Blocks(z.to(part.dtype) for z, part in zip(drawn, leaf.parts, strict=True)))


def _drawn(draw: Callable[..., Tensor], seeds: Tensor, counter: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """A stream for each block, the first that of a plain leaf; the seeds of others are mixed: rows have neighbours."""
    streams = (scramble(scramble(seeds) + index) if index else seeds for index in range(len(sizes)))
    return [draw(stream, counter, size) for stream, size in zip(streams, sizes, strict=True)]


def single_normal(seeds: Tensor, counter: Tensor, dim: int) -> Tensor:
    """Standard normal numbers, ``(B, dim)`` float32, from 24-bit uniform ones: up to 5.9 standard deviations.

    The hash is in 32 bits, which processors do in vectors: on millions of parameters it is several times faster than
    the one in 64 bits.
    """
    pairs = (dim + 1) // 2
    key = scramble(scramble(seeds + GOLDEN) + counter * GOLDEN).unsqueeze(-1)
    if pairs <= CHUNK:
        return _single_pairs(key, 0, pairs)[:, :dim]
    # what fits into the processor's cache at a time
    starts = range(0, pairs, CHUNK)
    drawn = [_single_pairs(key, start, min(CHUNK, pairs - start)).chunk(2, -1) for start in starts]
    return torch.cat([cosine for cosine, _ in drawn] + [sine for _, sine in drawn], dim=-1)[:, :dim]


CHUNK = 1 << 15


def _compiled_normal(seeds: Tensor, counter: Tensor, dim: int) -> Tensor:
    """The same, compiled."""
    key = scramble(scramble(seeds + GOLDEN) + counter * GOLDEN).unsqueeze(-1)
    return _compiled_pairs()(key, 0, (dim + 1) // 2)[:, :dim]


@cache
def _compiled_pairs() -> Callable[..., Tensor]:
    return torch.compile(_single_pairs, fullgraph=True, dynamic=True)


def _single_pairs(key: Tensor, start: int, count: int) -> Tensor:
    """Box and Muller's pairs number `start` to ``start + count`` of the keys ``(B, 1)``: cosines, then sines."""
    low, high = key.to(torch.int32), (key >> 32).to(torch.int32)
    index = torch.arange(start, start + count, dtype=torch.int32, device=key.device)
    first = _scramble_32(_scramble_32(index ^ low) + high)
    second = _scramble_32(first ^ low)
    radius = (-2 * _unit_interval(first).log()).sqrt()
    angle = 2 * math.pi * _unit_interval(second)
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1)


def _unit_interval(z: Tensor) -> Tensor:
    return (((z >> 8) & 0xFFFFFF).to(torch.float32) + 0.5) * 2.0**-24


def _scramble_32(z: Tensor) -> Tensor:
    """A bijection of 32-bit integers like SplitMix64's, with the constants of Wellons 2018 ('lowbias32')."""
    z = (z ^ ((z >> 16) & 0xFFFF)) * 0x7FEB352D
    z = (z ^ ((z >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    return z ^ ((z >> 16) & 0xFFFF)


@torch.library.custom_op(
    "flowopt::normal_blocks", mutates_args=(), schema="(Tensor seeds, Tensor counter, SymInt[] sizes) -> Tensor[]"
)
def _drawn_apart(seeds: Tensor, counter: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Blocks of normal numbers by a compiled function of its own.

    As part of another one the compiler would draw each number again wherever it is used, and that would cost several
    times the rest of a step.
    """
    return _drawn(_compiled_normal, seeds, counter, sizes)


@_drawn_apart.register_fake
def _(seeds: Tensor, counter: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return [torch.empty(seeds.shape[0], size, dtype=torch.float32, device=seeds.device) for size in sizes]


def position_counter(q: Tensor) -> Tensor:
    """A counter ``(B,)``, a hash of the position's bits: the same point sees the same noise, any other another."""
    total = torch.zeros(q.shape[0], dtype=torch.int64, device=q.device)
    for coordinate in q.to(torch.float64).contiguous().view(torch.int64).unbind(-1):
        total = scramble(total + coordinate + GOLDEN)
    return total
