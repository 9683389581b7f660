"""Leaves in blocks: the vectors of a network, one block a parameter tensor, where a function has one matrix ``(B, D)``.

The parts are written for leaves ``(B, D)``. The D coordinates of a network lie in many tensors, and copying them into
one would cost as much time and memory as the step itself. `Blocks` stands for these tensors side by side, and torch's
elementwise functions and the reductions over a row act on it as they would on that one matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node

SCALAR = torch.float64
"""Numbers of a row (step size, loss, inner products) are in double precision, whatever the blocks are."""


class Blocks:
    """Tensors ``(B, D_i)`` that together are one leaf ``(B, D)``, D being the sum of the D_i.

    In elementwise functions a plain Tensor is a number per row, ``(B, 1)``; each block computes in its own precision.
    Reductions over the last dimension run over all blocks and give ``(B,)``, or ``(B, 1)`` with keepdim, in double
    precision.

    `lr_factors` multiply the steps of each block: a number, 0-dim or ``(B, 1)``, a block (what the learning rate of a
    parameter group comes to). None is 1 everywhere. What is computed from a leaf inherits them.
    """

    ndim = 2
    dtype = SCALAR

    def __init__(self, parts: Iterable[Tensor], lr_factors: Sequence[Tensor] | None = None) -> None:
        self.parts = tuple(parts)
        self.lr_factors = lr_factors

    @property
    def shape(self) -> tuple[int, int]:
        """``(B, D)``."""
        return self.parts[0].shape[0], sum(part.shape[1] for part in self.parts)

    @property
    def device(self) -> torch.device:
        """Where the blocks are."""
        return self.parts[0].device

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return elementwise(func, *args, **(kwargs or {}))

    def __add__(self, other: Any) -> Blocks:
        return elementwise(torch.add, self, other)

    def __sub__(self, other: Any) -> Blocks:
        return elementwise(torch.sub, self, other)

    def __rsub__(self, other: Any) -> Blocks:
        return elementwise(torch.sub, other, self)

    def __mul__(self, other: Any) -> Blocks:
        return elementwise(torch.mul, self, other)

    def __truediv__(self, other: Any) -> Blocks:
        return elementwise(torch.div, self, other)

    def __rtruediv__(self, other: Any) -> Blocks:
        return elementwise(torch.div, other, self)

    def __pow__(self, exponent: Any) -> Blocks:
        return elementwise(torch.pow, self, exponent)

    def __neg__(self) -> Blocks:
        return elementwise(torch.neg, self)

    def __gt__(self, other: Any) -> Blocks:
        return elementwise(torch.gt, self, other)

    def __lt__(self, other: Any) -> Blocks:
        return elementwise(torch.lt, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def abs(self) -> Blocks:
        """Absolute values."""
        return elementwise(torch.abs, self)

    def sign(self) -> Blocks:
        """Signs."""
        return elementwise(torch.sign, self)

    def sqrt(self) -> Blocks:
        """Square roots."""
        return elementwise(torch.sqrt, self)

    def clamp(self, min: Any = None, max: Any = None) -> Blocks:
        """Values brought within bounds."""
        return elementwise(torch.clamp, self, min=min, max=max)

    def new_full(self, shape: Sequence[int], value: float) -> Tensor:
        """Numbers of a row, all the same."""
        return torch.full(tuple(shape), value, dtype=SCALAR, device=self.device)

    def own_steps(self, step: Tensor) -> Tensor:
        """A step ``(B, 1)`` at the learning rate of each block: Blocks of ``(B, 1)``, in the blocks' precision."""
        assert self.lr_factors is not None
        pairs = zip(self.parts, self.lr_factors, strict=True)
        return cast(Tensor, Blocks((step * factor).to(part.dtype) for part, factor in pairs))

    def part(self, matrix: Tensor) -> Tensor:
        """A matrix ``(B, D)`` cut into blocks like these."""
        shares = torch.split(matrix, [part.shape[1] for part in self.parts], dim=-1)
        parts = (share.to(part.dtype) for share, part in zip(shares, self.parts, strict=True))
        return cast(Tensor, Blocks(parts, self.lr_factors))

    def rows(self, index: Tensor) -> Blocks:
        """The rows `index` only."""
        parts = (part[index] for part in self.parts)
        if self.lr_factors is None:
            return Blocks(parts)
        return Blocks(parts, [factor[index] if factor.ndim else factor for factor in self.lr_factors])

    def sum(self, dim: int, keepdim: bool = False) -> Tensor:
        """Sum over all coordinates of a row."""
        return _over(torch.sum, [part.sum(dim, keepdim) for part in self.parts])

    def mean(self, dim: int, keepdim: bool = False) -> Tensor:
        """Mean over all coordinates of a row."""
        return self.sum(dim, keepdim) / self.shape[1]

    def amax(self, dim: int, keepdim: bool = False) -> Tensor:
        """Largest coordinate of a row."""
        return _over(torch.amax, [part.amax(dim, keepdim) for part in self.parts])

    def dot(self, other: Blocks) -> Tensor:
        """Inner product of each row with the same row of another, ``(B,)``."""
        pairs = zip(self.parts, other.parts, strict=True)
        return _over(torch.sum, [torch.linalg.vecdot(mine, theirs) for mine, theirs in pairs])


# so that torch.func (jvp, for one) goes through to the tensors inside; lr_factors concern steps, not functions
register_pytree_node(Blocks, lambda leaf: (list(leaf.parts), None), lambda parts, _: Blocks(parts))


def elementwise(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Blocks:
    """Apply an elementwise torch function to Blocks, block by block, and to the numbers per row that go with them."""
    leaves = [arg for arg in args if isinstance(arg, Blocks)]
    floats = next((leaf.parts for leaf in leaves if leaf.parts[0].is_floating_point()), None)
    lr_factors = next((leaf.lr_factors for leaf in leaves if leaf.lr_factors is not None), None)
    shares = [arg.parts if isinstance(arg, Blocks) else _shares(arg, floats) for arg in args]
    return Blocks([func(*share, **kwargs) for share in zip(*shares, strict=False)], lr_factors)


def _shares(arg: Any, floats: tuple[Tensor, ...] | None) -> Iterable[Any]:
    """What each block gets of an argument that is not Blocks: a number per row comes in the block's precision."""
    if floats is None or not isinstance(arg, Tensor) or not arg.is_floating_point():
        return itertools.repeat(arg)
    converted = {dtype: arg.to(dtype) for dtype in {part.dtype for part in floats}}
    return [converted[part.dtype] for part in floats]


def _over(reduce: Callable[..., Tensor], partial: list[Tensor]) -> Tensor:
    return reduce(torch.stack([part.to(SCALAR) for part in partial]), 0)
