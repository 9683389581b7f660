"""Row-wise helpers: everything that acts on a whole batch while keeping its rows apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from flowopt.core._blocks import Blocks, elementwise
from flowopt.core.state import Evaluation, Number, Rate, State

NARROW = 4
"""Up to this many coordinates a batch is stored coordinate by coordinate: sums over D are then sums of few long
vectors, many times faster, and torch adds up to four numbers in the same order in either layout."""


def every(mask: Tensor) -> bool:
    """Whether the mask ``(B,)`` holds in all rows; asking the host costs less without a reduction over one row."""
    return bool(mask) if len(mask) == 1 else bool(mask.all())


def surely(mask: Tensor) -> bool:
    """Whether the mask ``(B,)`` is known to hold in all rows.

    Not under torch.compile, and not on an accelerator, where asking would wait for the device.
    """
    return mask.is_cpu and not torch.compiler.is_compiling() and every(mask)


def lay_out(q: Tensor) -> Tensor:
    """Positions ``(B, D)`` in the layout in which all leaves of a run are kept: see NARROW."""
    return q.mT.contiguous().mT if q.shape[1] <= NARROW else q.contiguous()


def column(scalar: Tensor | float) -> Tensor | float:
    """A number per row, ``(B,)``, shaped ``(B, 1)`` so that it multiplies vectors ``(B, D)``."""
    return scalar.unsqueeze(-1) if isinstance(scalar, Tensor) and scalar.ndim == 1 else scalar


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each row, ``(B,)``."""
    return a.dot(b) if isinstance(a, Blocks) else (a * b).sum(-1)


def norm(a: Tensor) -> Tensor:
    """Euclidean norm of each row, ``(B,)``."""
    return dot(a, a).sqrt()


def max_norm(leaves: Rate) -> Tensor:
    """Largest absolute coordinate over all leaves of each row, ``(B,)``."""
    norms = [leaf.abs().amax(-1) for leaf in leaves.values()]
    return norms[0] if len(norms) == 1 else torch.stack(norms).amax(0)


def steps(h: Tensor, leaf: Tensor) -> Tensor:
    """The steps ``(B, 1)`` that a leaf makes in a step h ``(B,)``; blocks with lr_factors make steps of their own."""
    if isinstance(leaf, Blocks) and leaf.lr_factors is not None:
        return leaf.own_steps(h.unsqueeze(-1))
    return h.unsqueeze(-1)


def counter(leaf: Tensor) -> Tensor:
    """Zeros ``(B, 1)``, one number a row; of blocks, one a row and block."""
    if isinstance(leaf, Blocks):
        return cast(Tensor, Blocks([part.new_zeros(part.shape[0], 1) for part in leaf.parts], leaf.lr_factors))
    return leaf.new_zeros(leaf.shape[0], 1)


def joined(leaf: Tensor) -> Tensor:
    """A leaf as one matrix ``(B, D)``, in the widest of its blocks' precisions."""
    return torch.cat(leaf.parts, dim=-1) if isinstance(leaf, Blocks) else leaf


def parted(matrix: Tensor, like: Tensor) -> Tensor:
    """A matrix ``(B, D)`` as a leaf like another: the reverse of `joined`."""
    return like.part(matrix) if isinstance(like, Blocks) else matrix


def advance(state: State, rate: Rate, h: Tensor | float) -> State:
    """``state + h * rate`` on the leaves that the rate moves; the others stay.

    `addcmul` rounds exactly as `torch.add(..., alpha=h)`, so Euler steps equal torch.optim.SGD bit for bit.
    """
    if not isinstance(h, Tensor):
        return state | {name: torch.add(state[name], slope, alpha=h) for name, slope in rate.items()}
    return state | {name: torch.addcmul(state[name], slope, steps(h, state[name])) for name, slope in rate.items()}


def power(base: Tensor, exponent: Number) -> Tensor:
    """``base ** exponent``, ``(B,)``; NaN where a negative base meets an exponent that is not a whole number.

    torch's own pow rounds an element by its place in the batch (vectors and their tails differ by an ulp), so that a
    row would not be the row alone; its squares, logarithms and exponentials do not.
    """
    if not isinstance(exponent, Tensor) and exponent in (1, 2, 3):
        return base**exponent
    size = (exponent * base.abs().log()).exp()
    whole = torch.as_tensor(exponent % 1 == 0)
    odd = torch.as_tensor(exponent % 2 == 1)
    signed = torch.where(whole, torch.where(odd, -size, size), torch.nan)
    return torch.where(base < 0, signed, size)


def trapezium_defect(before: Rate, after: Rate, h: Tensor) -> Rate:
    """``h/2 (after - before)``: what the trapezium rule has more than an Euler step, its local error."""
    half = column(0.5 * h)
    return {name: half * (after[name] - slope) for name, slope in before.items()}


def evaluation(value: Tensor, grad: Tensor) -> Evaluation:
    """An Evaluation from its two measurements."""
    return Evaluation(value, grad, dot(grad, grad))


TINY = {dtype: torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}
"""Below it the square of a norm has lost digits, or all of them."""


def finite(measured: Evaluation) -> Tensor:
    """Rows, ``(B,)`` bool, whose value and gradient are finite numbers; in blocks |grad|^2 must not overflow either."""
    both = measured.value + measured.square
    if not _asks(measured.grad):
        return both.abs() < torch.inf  # NaN compares false
    if math.isfinite(both.sum()):
        return torch.ones_like(both, dtype=torch.bool)
    return torch.isfinite(measured.value) & torch.isfinite(measured.grad).all(-1)


def slope(measured: Evaluation) -> Tensor:
    """``|grad f|``, ``(B,)``; where its square is beyond the range of numbers, measured in units of its largest entry.

    The square of 4e-170 is 0 and that of 4e170 infinite, though |grad f| is neither.
    """
    square, norm = measured.square, measured.square.sqrt()
    low, high = (square, square) if len(square) == 1 else torch.aminmax(square)
    tiny = TINY[square.dtype]
    if tiny <= float(low) and float(high) < torch.inf:  # NaN compares false
        return norm
    largest = measured.grad.abs().amax(-1)
    unit = torch.where((largest > 0) & (largest < torch.inf), largest, 1.0)
    scaled = measured.grad / unit.unsqueeze(-1)
    return torch.where((square >= tiny) & (square < torch.inf), norm, unit * dot(scaled, scaled).sqrt())


def _asks(leaf: Tensor) -> bool:
    """Whether code may depend on what a leaf holds: not under torch.compile, nor where it waits for a device."""
    return isinstance(leaf, Tensor) and leaf.is_cpu and not torch.compiler.is_compiling()


Pick = Callable[[Any, Any], Any]


def picker(take: Tensor | None) -> Pick:
    """A function ``pick(new, old)``: rows of `new` where `take`, else of `old`, through any record of tensors.

    None takes them all.

    Where every row takes the new value (the usual case) nothing is copied; under torch.compile, and on an
    accelerator, where asking would wait for the device, the selection is always made row by row.
    """
    if take is None or surely(take):
        return lambda new, old: new

    def pick(new: Any, old: Any) -> Any:
        if isinstance(new, Tensor | Blocks) and new is old:  # a compiler compares no tuples
            return new
        if isinstance(new, Blocks):
            return elementwise(torch.where, take.unsqueeze(-1), new, old)
        if isinstance(new, Tensor):
            return torch.where(take.unsqueeze(-1) if new.ndim == 2 else take, new, old)
        if isinstance(new, dict):
            return {name: pick(leaf, old[name]) for name, leaf in new.items()}
        if isinstance(new, tuple):
            leaves = [pick(a, b) for a, b in zip(new, old, strict=True)]
            return type(new)(*leaves) if hasattr(new, "_fields") else tuple(leaves)
        return new

    return pick


def select(record: Any, index: Tensor) -> Any:
    """The rows `index` of any record of tensors (None and plain values pass through)."""

    def cut(path: str, leaf: Any) -> Any:
        if isinstance(leaf, Blocks):
            return leaf.rows(index)
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf[index] if leaf.ndim < 2 or leaf.shape[1] > NARROW else leaf.mT[..., index].mT

    return mapped(record, cut)


def with_lr_factors(record: Any, lr_factors: Sequence[Tensor]) -> Any:
    """The record with all its Blocks with other factors of their steps, one number a block."""
    return mapped(record, lambda path, leaf: Blocks(leaf.parts, lr_factors) if isinstance(leaf, Blocks) else leaf)


def mapped(record: Any, change: Callable[[str, Any], Any], path: str = "") -> Any:
    """A record like this one with ``change(path, leaf)`` for every leaf; paths read ``point.state.q``. None stays."""
    if isinstance(record, dict):
        return {name: mapped(leaf, change, f"{path}.{name}") for name, leaf in record.items()}
    if isinstance(record, tuple):
        names = record._fields if hasattr(record, "_fields") else map(str, range(len(record)))
        leaves = [mapped(leaf, change, f"{path}.{name}") for name, leaf in zip(names, record, strict=True)]
        return type(record)(*leaves) if hasattr(record, "_fields") else tuple(leaves)
    return None if record is None else change(path.removeprefix("."), record)
