"""GMRES on every row at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowopt.core import rows


def gmres(product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Solve A x = b for each row of b ``(B, n)``, given the product A v; one Krylov space, no restart.

    Saad and Schultz 1986, with modified Gram-Schmidt and a dense least-squares solve of the small system. Stops when
    every row's residual is below tolerance |b|, or after so many products. Rows do not mix; a row whose space is
    exhausted (its next vector is zero) has its exact solution.
    """
    size = rows.norm(b)
    safe = torch.where(size > 0, size, 1.0)
    basis = [b / safe.unsqueeze(-1)]
    m = min(iterations, b.shape[-1])
    hessenberg = b.new_zeros(b.shape[0], m + 1, m)
    y = b.new_zeros(b.shape[0], 0)
    for j in range(m):
        w = product(basis[j])
        for i, v in enumerate(basis):
            hessenberg[:, i, j] = rows.dot(v, w)
            w = w - hessenberg[:, i, j].unsqueeze(-1) * v
        length = rows.norm(w)
        hessenberg[:, j + 1, j] = length
        basis.append(w / torch.where(length > 0, length, 1.0).unsqueeze(-1))
        target = b.new_zeros(b.shape[0], j + 2, 1)
        target[:, 0, 0] = size
        small = hessenberg[:, : j + 2, : j + 1]
        y = torch.linalg.lstsq(small, target).solution.squeeze(-1)
        residual = rows.norm((small @ y.unsqueeze(-1) - target).squeeze(-1))
        if not bool((residual > tolerance * safe).any()):
            break
    return (torch.stack(basis[: y.shape[-1]], dim=-1) @ y.unsqueeze(-1)).squeeze(-1)
