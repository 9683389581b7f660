"""Parameters as blocks ``(1, D_i)``: views, whatever their shape and memory format."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.core.errors import BadValue


def flat(tensor: Tensor) -> Tensor:
    """All numbers of a dense tensor, in the order of its memory, as a view ``(1, D_i)``; a complex number is two.

    Raises BadValue where several elements share memory or memory lies between them.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.is_contiguous():
        return tensor.view(1, -1)
    check_layout("a parameter", tensor)
    return tensor.as_strided((1, tensor.numel()), (tensor.numel(), 1))


def check_layout(name: str, tensor: Tensor) -> None:
    """Raise BadValue for a parameter that `flat` cannot view."""
    if tensor.layout != torch.strided:
        raise BadValue(f"{name} is {tensor.layout}; only dense parameters can be trained")
    if not tensor.is_contiguous() and not torch.ops.aten.is_non_overlapping_and_dense(tensor):
        raise BadValue(
            f"{name} of shape {tuple(tensor.shape)} with strides {tensor.stride()} does not fill its memory; make it "
            "contiguous()"
        )


def flat_as(tensor: Tensor, like: Tensor) -> Tensor:
    """The numbers of a tensor ``(1, D_i)`` in the order in which `like` has them: a view where they agree on that."""
    if tensor.stride() != like.stride():
        tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    return flat(tensor)


def shaped(block: Tensor, like: Tensor) -> Tensor:
    """A block ``(1, D_i)`` as a tensor shaped like `like`, in its precision."""
    tensor = torch.empty_like(like)
    flat(tensor).copy_(block)
    return tensor
