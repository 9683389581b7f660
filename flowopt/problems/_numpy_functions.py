"""Users' NumPy functions of one point as problems, with their own gradients or finite differences."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core.errors import BadValue, UnknownName, check_choice
from flowopt.problems._batching import Batching
from flowopt.problems._problem import Problem

Array = NDArray[np.float64]
Measured = tuple[float, Array]

KNOWN = ("name", "dim", "start", "domain", "minimisers", "minimum", "source", "noise")
"""Fields of a Problem that may be known of a NumPy function."""


def from_numpy(
    fun: Callable[[Any], Any],
    jac: Callable[[Any], Any] | Literal[True] | None = None,
    *,
    difference: str = "central",
    **known: Any,
) -> Problem:
    """A Problem from a NumPy function of one point ``(D,)``, called row by row.

    `jac` gives the gradient ``(D,)``; ``jac=True`` says, as in SciPy, that `fun` returns the value and the gradient.
    Without it finite differences do, with steps of eps^(1/3) max(1, |x|) for "central" or eps^(1/2) max(1, |x|) for
    "forward", and every call of `fun` is counted as a value. `known` are fields of Problem: name, dim, start,
    domain, minimisers, minimum, source, noise.

    Both functions get an array of their own, which they may overwrite, and what they return is copied: it may be a
    buffer of theirs.

    >>> import numpy as np
    >>> from flowopt import from_numpy, minimize
    >>> def overwrites(x):
    ...     x *= x
    ...     return x.sum()
    >>> run = minimize(from_numpy(overwrites), [[1.0, 2.0], [3.0, 4.0]], "bb")
    >>> run.converged.tolist(), run.f[0].tolist()
    ([True, True], [5.0, 25.0])
    >>> run = minimize(from_numpy(lambda x: ((x - 1) @ (x - 1), 2 * (x - 1)), jac=True), [3.0, 4.0], "bb")
    >>> np.round(run.final_x[0], 3).tolist()
    [1.0, 1.0]

    Raises BadValue at once for what is not a function, and in a run for results that are not real numbers (complex,
    masked, text, objects) or have a wrong shape.
    """
    check_choice("from_numpy", "difference", difference, ("central", "forward"))
    if not callable(fun):
        raise BadValue(f"from_numpy takes a function of one point (D,), not {fun!r}; for a constant: lambda x: {fun!r}")
    if jac is not None and jac is not True and not callable(jac):
        raise BadValue(
            f"from_numpy: jac = {jac!r} must be a function of one point (D,), True where fun returns the value and the "
            'gradient, or None for finite differences (difference="central" or "forward")'
        )
    for field in known:
        if field not in KNOWN:
            raise UnknownName("argument of from_numpy", field, ("fun", "jac", "difference", *KNOWN))
    known = {"name": getattr(fun, "__name__", "objective"), "dim": None} | known

    def value_at(point: Array) -> float:
        returned = fun(point.copy())
        return number(_pair(returned)[0] if jac is True else returned)

    def both_at(point: Array) -> Measured:
        if jac is True:
            value, gradient = _pair(fun(point.copy()))
            return number(value), _vector(gradient, point, "the gradient of fun (jac=True)")
        value = value_at(point)
        if jac is None:
            return value, _difference(value_at, point, value, difference)
        return value, _vector(jac(point.copy()), point, "jac")

    def value(x: Tensor) -> Tensor:
        values = [value_at(point) for point in _points(x)]
        return torch.tensor(values, dtype=x.dtype).reshape(x.shape[:-1])

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = zip(*(both_at(point) for point in _points(x)), strict=True)
        return torch.tensor(values, dtype=x.dtype), torch.tensor(np.array(gradients), dtype=x.dtype)

    return Problem(
        **known,
        value=value,
        value_and_gradient=value_and_gradient,
        differentiable_twice=False,
        calls_per_difference=0 if jac is not None else 2 if difference == "central" else 1,
        batching=Batching("a NumPy function of one point, called row by row", row_by_row=True),
    )


def number(returned: Any) -> float:
    """The one real number that an objective returned. Raises BadValue for anything else."""
    numbers = _real(returned, "the objective", "one number for a point (D,)")
    if numbers.size != 1:
        raise BadValue(f"a NumPy objective must return one number for a point (D,), not {returned!r}")
    return numbers.item()


def _vector(returned: Any, point: Array, owner: str) -> Array:
    """A copy of a gradient. Raises BadValue for a wrong shape or what is not real numbers."""
    gradient = _real(returned, owner, f"shape {point.shape}")
    if gradient.shape != point.shape:
        raise BadValue(f"{owner} must return shape {point.shape}, not {gradient.shape}")
    return gradient


def _real(returned: Any, owner: str, wanted: str) -> Array:
    """A float64 copy of real numbers. Raises BadValue for complex, masked, boolean and text values, and objects."""
    masked = np.ma.is_masked(returned) or (isinstance(returned, (list, tuple)) and any(map(np.ma.is_masked, returned)))
    try:
        found = np.empty((), dtype=object) if masked else np.asarray(returned)
    except (TypeError, ValueError, RuntimeError):  # ragged lists; tensors that autograd follows
        found = np.empty((), dtype=object)
    if found.dtype.kind == "O" and isinstance(returned, Real):  # fractions, whole numbers beyond 64 bits
        found = np.asarray(float(returned))
    if found.dtype.kind not in "fiu":
        kind = "masked" if masked else f"of type {found.dtype}"
        raise BadValue(f"{owner} must return {wanted} as real numbers, not {returned!r} ({kind})")
    return np.array(found, dtype=np.float64)


def _pair(returned: Any) -> tuple[Any, Any]:
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise BadValue(f"with jac=True the objective must return its value and its gradient, not {returned!r}")
    return returned[0], returned[1]


def _points(x: Tensor) -> Array:
    points = x.detach().reshape(-1, x.shape[-1]).to(torch.float64)
    return np.ascontiguousarray(points.numpy())


def _difference(value_at: Callable[[Array], float], point: Array, f: float, kind: str) -> Array:
    """The finite-difference gradient at a point ``(D,)`` of value f; an error of the objective says where it was."""
    eps = np.finfo(np.float64).eps
    steps = eps ** (1 / 3 if kind == "central" else 1 / 2) * np.maximum(1.0, np.abs(point))
    gradient = np.empty_like(point)
    for i, step in enumerate(steps):
        high, low = point.copy(), point.copy()
        high[i] += step
        low[i] -= step if kind == "central" else 0.0
        try:
            difference = value_at(high) - (value_at(low) if kind == "central" else f)
        except Exception as error:
            error.add_note(
                f"(in the finite difference of coordinate {i}, a step of {step:.3g} beside x[{i}] = {point[i]:.6g}, "
                "where the objective itself has a value; give jac, or return NaN outside its domain)"
            )
            raise
        gradient[i] = difference / (high[i] - low[i])
    return gradient
