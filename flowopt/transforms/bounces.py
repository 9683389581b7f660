"""BBI's billiard bounces."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_count
from flowopt.core.noise import normal_like
from flowopt.core.parts import System, Transform
from flowopt.core.roles import Range
from flowopt.core.state import Evaluation, Memory, State


@dataclass(frozen=True)
class Bounces(Transform):
    """Bounces: give the momentum a random direction and keep its norm, at fixed steps and where there is no progress.

    That is every `fixed_interval` steps, `fixed_bounces` times in all, and after `progress_interval` steps in a row
    without progress. Progress means a new lowest f. De Luca and Silverstein 2022, section 3.

    Raises BadValue for negative counts or intervals below 1.
    """

    fixed_bounces: Annotated[int, Range(1, 100)] = 0
    fixed_interval: Annotated[int, Range(10, 10_000)] = 100
    progress_interval: Annotated[int, Range(10, 10_000)] = 1000

    name = "bounces"
    source = "De Luca, Silverstein 2022 (BBI)"
    requires = frozenset({"momentum"})

    def __post_init__(self) -> None:
        for name, least in (("fixed_bounces", 0), ("fixed_interval", 1), ("progress_interval", 1)):
            check_count(self.name, name, getattr(self, name), least)

    @property
    def needs_value(self) -> bool:
        return True

    def start(self, state: State, evaluation: Evaluation, seeds: Tensor) -> Memory:
        nothing = torch.zeros_like(seeds)
        # settle() runs once at the start, before any step
        return {"seed": seeds, "steps": nothing - 1, "idle": nothing - 1, "best": evaluation.value}

    def settle(self, system: System, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
        steps, p = memory["steps"] + 1, state["p"]
        better = evaluation.value < memory["best"]
        idle = torch.where(better, 0, memory["idle"] + 1)
        stuck = idle >= self.progress_interval
        due = (steps > 0) & (steps % self.fixed_interval == 0) & (steps <= self.fixed_bounces * self.fixed_interval)
        direction = normal_like(p, memory["seed"], steps)
        turned = direction * (rows.norm(p) / rows.norm(direction)).unsqueeze(-1)
        p = torch.where((due | stuck).unsqueeze(-1), turned, p)
        return state | {"p": p}, {
            "seed": memory["seed"],
            "steps": steps,
            "idle": torch.where(stuck, 0, idle),
            "best": torch.where(better, evaluation.value, memory["best"]),
        }
