"""torch.compile where there is a compiler, and the same function as it is where there is none."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch


class Compiled:
    """A function compiled whole by `torch.compile` at its first call.

    Where that fails, for want of a C++ compiler say, a warning says so once and the function runs as it is.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        # many optimizers share the code of one function: what one of them compiles must not count for the others
        known = inspect.signature(torch.compile).parameters
        apart: dict[str, Any] = {"isolate_recompiles": True} if "isolate_recompiles" in known else {}
        self._compiled: Callable[..., Any] | None = torch.compile(function, fullgraph=True, dynamic=False, **apart)

    def __call__(self, *args: Any) -> Any:
        if self._compiled is not None:
            try:
                return self._compiled(*args)
            except Exception as error:
                from torch._dynamo.exc import TorchDynamoException  # a second of loading for those who never compile

                if not isinstance(error, TorchDynamoException):
                    raise
                reason = " ".join(str(error).split("\n")[:2]).strip()  # torch says who failed, and then why
                warnings.warn(
                    f"flowopt: torch.compile failed ({reason}); the optimizer goes on without it, more slowly. "
                    "A C++ compiler (CPU) or Triton (GPU) may be missing; compile=False asks for this silently",
                    stacklevel=2,
                )
                self._compiled = None
        return self._function(*args)
