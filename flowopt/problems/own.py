"""Users' own objectives: torch functions, NumPy functions, ``module:function`` names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.errors import BadValue, check_choice
from flowopt.problems.library import accepts
from flowopt.problems.library import problem as named
from flowopt.problems.problem import Problem


def as_problem(given: str | Problem | Callable[[Tensor], Tensor], x0: Any = None, **options: Any) -> Problem:
    """A Problem from a name, ``"module:function"``, a Problem, or a torch function of positions ``(..., D)``.

    A named problem that exists for any D gets the D of the start x0, if there is one and no option says otherwise.
    """
    if isinstance(given, str) and ":" not in given:
        if x0 is not None and "dim" in accepts(given) and not options:
            options = _dim_of(x0)
        return named(given, **options)
    if options:
        raise BadValue(f"options ({', '.join(options)}) go with a name of the library; {given!r} takes none")
    if isinstance(given, Problem):
        return given
    if isinstance(given, str):
        return _imported(given)
    if callable(given):
        return Problem(name=getattr(given, "__name__", type(given).__name__), value=given, dim=None)
    raise BadValue(f"a problem is a name, a Problem or a torch function of (..., D), not {given!r}")


def _dim_of(x0: Any) -> dict[str, int]:
    """The option `dim` for starts ``(D,)`` or ``(B, D)``; none for what is neither, which the driver refuses."""
    try:
        shape = np.shape(x0)
    except ValueError:  # rows of different length
        return {}
    return {"dim": shape[-1]} if len(shape) in (1, 2) else {}


def from_numpy(
    fun: Callable[[Any], Any],
    jac: Callable[[Any], Any] | None = None,
    *,
    difference: str = "central",
    **known: Any,
) -> Problem:
    """A Problem from a NumPy function of one point ``(D,)``, called row by row.

    `jac` gives the gradient ``(D,)``. Without it finite differences do, with steps of eps^(1/3) max(1, |x|) for
    "central" or eps^(1/2) max(1, |x|) for "forward", and every call of `fun` is counted as a value. `known` are
    fields of Problem: name, start, domain, minimisers, minimum.
    """
    check_choice("from_numpy", "difference", difference, ("central", "forward"))

    def value_at(point: Any) -> float:
        result = fun(point)
        try:
            number = np.asarray(result, dtype=np.float64)
        except (TypeError, ValueError):
            number = np.empty(0)
        if result is None or number.size != 1:  # NumPy reads None as NaN
            raise BadValue(f"a NumPy objective must return one number for a point (D,), not {result!r}")
        return number.item()

    def value(x: Tensor) -> Tensor:
        points = x.detach().reshape(-1, x.shape[-1]).numpy()
        return torch.tensor([value_at(point.copy()) for point in points], dtype=x.dtype).reshape(x.shape[:-1])

    def gradient_at(point: Any, f: float) -> Any:
        if jac is not None:
            gradient = np.asarray(jac(point.copy()), dtype=np.float64)
            if gradient.shape != point.shape:
                raise BadValue(f"jac must return shape {point.shape}, not {gradient.shape}")
            return gradient
        eps = np.finfo(np.float64).eps
        steps = eps ** (1 / 3 if difference == "central" else 1 / 2) * np.maximum(1.0, np.abs(point))
        gradient = np.empty_like(point)
        for i, step in enumerate(steps):
            high, low = point.copy(), point.copy()
            high[i] += step
            if difference == "central":
                low[i] -= step
                gradient[i] = (value_at(high) - value_at(low)) / (high[i] - low[i])
            else:
                gradient[i] = (value_at(high) - f) / (high[i] - low[i])
        return gradient

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        points = x.detach().to(torch.float64).numpy()
        values = [value_at(point.copy()) for point in points]
        gradients = [gradient_at(point.copy(), f) for point, f in zip(points, values, strict=True)]
        return torch.tensor(values, dtype=x.dtype), torch.tensor(np.array(gradients), dtype=x.dtype)

    known = {"name": getattr(fun, "__name__", "objective"), "dim": None} | known
    return Problem(
        **known,
        value=value,
        value_and_gradient=value_and_gradient,
        differentiable_twice=False,
        calls_per_difference=0 if jac is not None else 2 if difference == "central" else 1,
    )


def _imported(name: str) -> Problem:
    module_name, _, function_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise BadValue(f"{name!r} is not of the form module:function")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise BadValue(f"{name}: cannot import {module_name!r} from here: {reason}") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, function_name, None)
    if found is None:
        raise BadValue(f"{name}: {module.__file__} has no {function_name!r}")
    if isinstance(found, Problem):
        return found
    if not callable(found):
        raise BadValue(f"{name} is neither a Problem nor a function")
    return as_problem(found)
