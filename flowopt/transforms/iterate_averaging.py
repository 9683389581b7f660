"""Averages of the iterates."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from flowopt.core.errors import check_count
from flowopt.core.parts import System, Transform
from flowopt.core.roles import EpochLength
from flowopt.core.state import Evaluation, Memory, State


@dataclass(frozen=True)
class IterateAveraging(Transform):
    """Mean of the positions over the last `window` accepted steps or more (restarted every `window`), or over all.

    Polyak and Ruppert; ELRA section 3.7 ('boosting', window = an epoch). The average is a leaf ``"average"`` of the
    state that the motion does not feel; a Trajectory gives it as `average`, with its objective `average_f`. With a
    window the mean of the last complete one is shown (until one is complete, of the running one).

    Raises BadValue for a window below 1.
    """

    window: Annotated[int | None, EpochLength()] = None

    name = "iterate_averaging"
    source = "Polyak, Juditsky 1992; ELRA section 3.7"

    def __post_init__(self) -> None:
        if self.window is not None:
            check_count(self.name, "window", self.window, 1)

    def start(self, state: State, evaluation: Evaluation, seeds: Tensor) -> Memory:
        q = state["q"]
        nothing = torch.zeros_like(evaluation.value)
        # settle() runs once at the start, which is not an iterate of the method: it counts as step -1 -> 0
        return {"sum": torch.zeros_like(q), "count": nothing - 1, "full": nothing}

    def settle(self, system: System, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
        q, count = state["q"], memory["count"] + 1
        total = torch.where((count > 0).unsqueeze(-1), memory["sum"] + q, 0.0)
        mean = torch.where((count > 0).unsqueeze(-1), total / count.clamp(min=1).unsqueeze(-1), q)
        over = count == self.window if self.window is not None else torch.zeros_like(count, dtype=torch.bool)
        shown = over | (memory["full"] == 0)
        average = torch.where(shown.unsqueeze(-1), mean, state.get("average", q))
        return state | {"average": average}, {
            "sum": torch.where(over.unsqueeze(-1), 0.0, total),
            "count": torch.where(over, 0.0, count),
            "full": torch.where(over, 1.0, memory["full"]),
        }
