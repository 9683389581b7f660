"""Dense Hessians of networks, for the methods that solve with them: small networks only."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.core._blocks import SCALAR
from flowopt.core.errors import BadValue
from flowopt.core.rows import joined, parted
from flowopt.core.state import Measure

LARGEST = 2000


def hessian(measure: Measure, q: Tensor) -> Tensor:
    """Hessian at q ``(B, D)``, ``(B, D, D)``, by D products with unit vectors. Raises BadValue for a large D."""
    count, size = q.shape
    if size > LARGEST:
        raise BadValue(f"the dense Hessian of {size} parameters is too large; networks have one up to {LARGEST}")
    units = torch.eye(size, dtype=SCALAR, device=q.device)
    columns = [joined(measure.hvp(q, parted(unit.expand(count, -1), q))) for unit in units]
    return torch.stack(columns, dim=-1)
