"""Problems made of other problems: turned, shifted, stretched, measured with noise.

The first three move the points of a problem: the new objective is g(move(y)) = f(y), and minimisers, start and domain
move along. A noise level stays what it was: a standard deviation per coordinate of the new problem's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue, check_range
from flowopt.core.roles import Seed
from flowopt.problems._dimensions import HUGE, vector
from flowopt.problems._problem import Problem

NARROW = 4
"""Up to this many coordinates a matrix product is a sum over columns; beyond it, sums within rows."""

CHUNK = 2**20
"""Numbers that a matrix product keeps at a time: bounds its memory, never changes its result."""

Map = Callable[[Tensor], Tensor]


def rotated(problem: Problem, seed: Annotated[int | None, Seed()] = None, *, matrix: Any = None) -> Problem:
    """The problem turned about the origin: f(Q^T x).

    seed     draws Q evenly from all rotations of R^D (Mezzadri 2007), by NumPy's generator.
    matrix   Q itself, orthogonal ``(D, D)``, instead of a seed; a reflection is allowed.

    The domain is the smallest box around the turned one. Raises BadValue unless exactly one of the two is given, or
    if the dimensions do not agree.
    """
    if (seed is None) == (matrix is None):
        raise BadValue("rotated: give either a seed or a matrix")
    q = _random_rotation(problem, seed) if seed is not None else _orthogonal(matrix)
    problem.check_dim(len(q))
    domain = None
    if problem.domain is not None:
        low, high = np.array(problem.domain).T
        middle, reach = q.numpy() @ (low + high) / 2, abs(q.numpy()) @ (high - low) / 2
        domain = tuple(zip((middle - reach).tolist(), (middle + reach).tolist(), strict=True))
    there, back = _product(q), _product(q.mT)
    return replace(_moved(problem, "rotated", len(q), there, back, there), domain=domain)


def shifted(problem: Problem, offset: Sequence[float]) -> Problem:
    """The problem moved by an offset ``(D,)``: f(x - offset)."""
    by = vector("shifted", "offset", offset)
    problem.check_dim(len(by))
    return _moved(problem, "shifted", len(by), lambda x: x + by.to(x), lambda x: x - by.to(x), lambda grad: grad)


def scaled(problem: Problem, factors: Sequence[float]) -> Problem:
    """The problem stretched by positive factors ``(D,)``, one a coordinate: f(x / factors)."""
    by = vector("scaled", "factors", factors, positive=True)
    problem.check_dim(len(by))
    return _moved(
        problem, "scaled", len(by), lambda x: x * by.to(x), lambda x: x / by.to(x), lambda grad: grad / by.to(grad)
    )


def noisy(problem: Problem, sigma: float) -> Problem:
    """The problem with Gaussian noise of standard deviation sigma > 0 on each coordinate of its gradient.

    The noise is drawn from the run's seed, row by row, and is the same whenever a row measures the same point again.
    Values and Hessian-vector products stay exact.
    """
    check_range("noisy", "sigma", sigma, 0.0, HUGE, open_low=True)
    return replace(problem, name=f"noisy {problem.name}", noise=float(sigma))


def _moved(problem: Problem, word: str, dim: int, there: Map, back: Map, pull: Map) -> Problem:
    """The problem with its points moved: `there` is the move, `back` undoes it, `pull` is the gradient's transform."""

    def moved(point: Sequence[float]) -> tuple[float, ...]:
        return tuple(there(torch.tensor(point, dtype=torch.float64)).tolist())

    inner = problem.value_and_gradient

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        assert inner is not None
        value, grad = inner(back(x))
        return value, pull(grad)

    domain = problem.domain
    return replace(
        problem,
        name=f"{word} {problem.name}",
        value=lambda x: problem.value(back(x)),
        value_and_gradient=None if inner is None else value_and_gradient,
        dim=dim,
        start=None if problem.start is None else moved(problem.start),
        domain=None if domain is None else tuple(zip(*map(moved, zip(*domain, strict=True)), strict=True)),
        minimisers=tuple(map(moved, problem.minimisers)),
    )


def _random_rotation(problem: Problem, seed: int) -> Tensor:
    if problem.dim is None:
        raise BadValue(f"rotated: {problem.name} takes points of any length; give a matrix (D, D), which fixes D")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise BadValue(f"rotated: seed = {seed!r} must be a whole number >= 0")
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((problem.dim, problem.dim)))
    q *= np.sign(np.diag(r))  # without this the distribution would depend on the sign convention of qr
    q[:, 0] *= np.linalg.det(q)
    return torch.from_numpy(q)


def _orthogonal(matrix: Any) -> Tensor:
    try:
        q = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        q = np.empty(0)
    if q.ndim != 2 or q.shape != (len(q),) * 2 or not np.allclose(q @ q.T, np.eye(len(q)), rtol=0, atol=1e-12):
        raise BadValue(f"rotated: the matrix must be orthogonal, of shape (D, D); this one is {matrix!r}")
    return torch.from_numpy(q)


def _product(matrix: Tensor) -> Map:
    """The function x -> matrix x of vectors ``(..., D)``.

    Not `@`: what BLAS makes of a row depends, in the last bits, on how many rows there are.
    """
    dim = len(matrix)
    rows, columns = matrix.contiguous(), matrix.mT.contiguous()

    def narrow(x: Tensor) -> Tensor:
        by = columns.to(x)
        total = x[..., :1] * by[0]
        for j in range(1, dim):
            total = torch.addcmul(total, x[..., j : j + 1], by[j])
        return total

    def wide(x: Tensor) -> Tensor:
        by = rows.to(x)
        parts = x.reshape(-1, dim).chunk(x.numel() * dim // CHUNK + 1)
        return torch.cat([(part.unsqueeze(-2) * by).sum(-1) for part in parts]).reshape(x.shape)

    return narrow if dim <= NARROW else wide
