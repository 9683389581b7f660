"""Users' own objectives: torch functions, Problems, ``module:function`` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from flowopt.core.errors import BadValue
from flowopt.problems._library import accepts
from flowopt.problems._library import problem as named
from flowopt.problems._problem import Problem


def as_problem(given: str | Problem | Callable[[Tensor], Tensor], x0: Any = None, **options: Any) -> Problem:
    """A Problem from a name, ``"module:function"``, a Problem, or a torch function of ``(..., D)`` or ``(D,)``.

    A named problem that exists for any D gets the D of the start x0, if there is one and no option says otherwise.
    """
    if isinstance(given, str):
        if x0 is not None and "dim" in accepts(given) and not options:
            options = _dim_of(x0)
        return named(given, **options)
    if options:
        raise BadValue(f"options ({', '.join(options)}) go with a name of the library; {given!r} takes none")
    if isinstance(given, Problem):
        return given
    if callable(given):
        return Problem(name=getattr(given, "__name__", type(given).__name__), value=given, dim=None)
    raise BadValue(f"a problem is a name, a Problem or a torch function of (..., D) or (D,), not {given!r}")


def _dim_of(x0: Any) -> dict[str, int]:
    """The option `dim` for starts ``(D,)`` or ``(B, D)``; none for what is neither, which the driver refuses."""
    try:
        shape = np.shape(x0)
    except (ValueError, RuntimeError):  # rows of different length, tensors that autograd follows
        return {}
    return {"dim": shape[-1]} if len(shape) in (1, 2) else {}
