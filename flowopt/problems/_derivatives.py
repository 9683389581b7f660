"""Derivatives by autograd, row by row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient(value: Callable[[Tensor], Tensor], x: Tensor, twice: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Where it was measured (a leaf), the value and the gradient, which autograd can follow further if `twice`."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        measured = value(leaf)
        return leaf, measured.detach(), derivative(measured, leaf, twice)


def derivative(numbers: Tensor, leaf: Tensor, twice: bool = False, keep: bool = False) -> Tensor:
    """The derivative of numbers ``(n,)``, one a row, by the leaf; 0 where they do not depend on it.

    `keep` lets their graph serve again; `twice` makes one of the derivative as well.
    """
    if not numbers.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(
        numbers.sum(), leaf, retain_graph=keep or twice, create_graph=twice, materialize_grads=True
    )
    return found


def reached(numbers: Tensor, leaf: Tensor) -> bool:
    """Whether autograd knows of any way from the leaf to the numbers; they may depend on other tensors only."""
    if not numbers.requires_grad:
        return False
    (found,) = torch.autograd.grad(numbers.sum(), leaf, retain_graph=True, allow_unused=True)
    return found is not None


def product(leaf: Tensor, grad: Tensor, vector: Tensor) -> Tensor:
    """The Hessian times a vector ``(n, D)``, from a gradient of `twice`."""
    with torch.enable_grad():
        return derivative((grad * vector.detach()).sum(-1), leaf)
