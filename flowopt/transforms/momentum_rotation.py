"""ECDSep's chaos: a small random rotation of the momentum."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_range
from flowopt.core.noise import normal_like
from flowopt.core.parts import System, Transform, times
from flowopt.core.roles import Range
from flowopt.core.state import Evaluation, Memory, Number, State


@dataclass(frozen=True)
class MomentumRotation(Transform):
    """Random rotation of the momentum after every step: p <- |p| (p/|p| + nu z) / |p/|p| + nu z|, z standard normal.

    ECDSep eq 14. The norm stays, the angle is about arctan(nu sqrt(D)). Every row has a random sequence of its own.
    Raises BadValue for nu < 0.
    """

    nu: Annotated[Number, Range(1e-8, 0.1)] = 1e-5

    name = "momentum_rotation"
    source = "ECDSep eq 14"
    requires = frozenset({"momentum"})

    def __post_init__(self) -> None:
        check_range(self.name, "nu", self.nu, 0.0)

    def start(self, state: State, evaluation: Evaluation, seeds: Tensor) -> Memory:
        # settle() runs once at the start, before any step
        return {"seed": seeds, "count": torch.zeros_like(seeds) - 1}

    def settle(self, system: System, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
        p = state["p"]
        size = rows.norm(p).unsqueeze(-1)
        z = normal_like(p, memory["seed"], memory["count"])
        turned = p / size + times(self.nu, z)
        turned = turned * (size / rows.norm(turned).unsqueeze(-1))
        stepped = (memory["count"] >= 0).unsqueeze(-1)
        p = torch.where(stepped & (size > 0), turned, p)
        return state | {"p": p}, memory | {"count": memory["count"] + 1}
