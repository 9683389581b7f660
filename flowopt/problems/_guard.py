"""A user's torch function, not trusted: it is handed copies, and what it returns is checked and copied."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from flowopt.core.errors import BadValue

Call = Callable[[Tensor], tuple[Tensor, ...]]
"""The value, or the value and the gradient, at one point ``(D,)`` or at a batch ``(n, D)``."""


class Guarded:
    """A user's function of a batch ``(n, D)`` or of one point ``(D,)`` as a Call that nothing can spoil.

    It is handed a copy, which it may overwrite: autograd follows `x.mul_(2)`, and keeps what it saved before. What it
    returns is copied, so that it may be a view of the argument or a buffer of the function's own.
    """

    def __init__(self, name: str, fun: Callable[[Tensor], Any], outputs: int) -> None:
        self.name, self.fun, self.outputs = name, fun, outputs

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        handed = x.clone()
        try:
            with _saved_apart(handed) if x.requires_grad else nullcontext():
                returned = self.fun(handed)
        except (RuntimeError, TypeError) as error:
            if "numpy()" in str(error) or _raised_in_numpy(error):  # it asked for a tensor that autograd follows
                raise BadValue(f"{self.name} is a NumPy function; wrap it with flowopt.from_numpy") from error
            raise
        if self.outputs == 1:
            return (self._checked(returned, "value", x, x.shape[:-1]),)
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise BadValue(
                f"{self.name}: value_and_gradient must return a value and a gradient, not {_described(returned)}"
            )
        value, gradient = returned
        return self._checked(value, "value", x, x.shape[:-1]), self._checked(gradient, "gradient", x, x.shape)

    def _checked(self, returned: Any, what: str, x: Tensor, shape: torch.Size) -> Tensor:
        """A copy of what was returned, in the wanted shape; one point's value may come as one number in any shape."""
        where = f"{self.name}: the {what} at positions of shape {tuple(x.shape)}"
        if not isinstance(returned, Tensor):
            raise BadValue(
                f"{where} is {_described(returned)}; return a torch tensor (torch.zeros(()) for a constant), "
                "or wrap a NumPy function with flowopt.from_numpy"
            )
        if returned.is_complex():
            raise BadValue(f"{where} is complex ({returned.dtype}); return a real number, x.real or x.abs()")
        if returned.dtype != x.dtype:
            raise BadValue(f"{where} is of {returned.dtype}, but the run is in {x.dtype}; return {x.dtype}")
        if returned.device != x.device:
            raise BadValue(f"{where} is on {returned.device}, but the run is on the {x.device}; return it from there")
        if returned.shape != shape and not (shape == () and returned.numel() == 1):
            raise BadValue(f"{where} has shape {tuple(returned.shape)}; it must have shape {tuple(shape)}")
        return returned.reshape(shape).clone()


def _saved_apart(handed: Tensor) -> AbstractContextManager[Any]:
    """Inside, what autograd saves of the memory handed out is a copy, which later writes do not reach."""
    memory = handed.untyped_storage().data_ptr()

    def pack(saved: Tensor) -> Tensor:
        return saved.clone() if saved.untyped_storage().data_ptr() == memory else saved

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved)


def _raised_in_numpy(error: BaseException) -> bool:
    """Whether NumPy's own code raised it, which hands tensors arguments that they do not take."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").partition(".")[0] == "numpy"


def _described(returned: Any) -> str:
    text = repr(returned)
    return f"of type {type(returned).__name__}: {text if len(text) <= 60 else text[:57] + '...'}"
