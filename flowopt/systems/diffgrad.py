"""The flow of DiffGrad."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowopt.core.state import Evaluation, Measure, Rate, State
from flowopt.systems._two_forms import TwoForms


@dataclass(frozen=True, kw_only=True)
class DiffGrad(TwoForms):
    """DiffGrad: Adam times a friction xi = 1 / (1 + exp(-|g_{k-1} - g_k|)), between 1/2 and 1; g_0 = 0.

    As the step goes to 0, so does the change of the gradient: the field is Adam's at half the rate.

    `form` says where eps is added, see `TwoForms`.
    """

    name = "diffgrad"
    source = "Dubey et al. 2019"
    vectors = ("m", "v", "previous_grad")
    plain_remark = "times its friction, 1/2 to 1"

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        return super().rate(self._still(state, evaluation), evaluation, measure)

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return super().energy(self._still(state, evaluation), evaluation)

    def drift(self, state: State, evaluation: Evaluation, h: Tensor) -> State:
        return super().drift(state, evaluation, h) | {"previous_grad": self.gradient(state, evaluation)}

    def _still(self, state: State, evaluation: Evaluation) -> State:
        """The state whose gradient has not changed."""
        return state | {"previous_grad": self.gradient(state, evaluation)}

    def displacement(self, s: State, g: Tensor, h: Tensor) -> Tensor:
        change = (s["previous_grad"] - g).abs()
        friction = 1 / (1 + torch.exp(-change))  # torch.sigmoid would round by the place in the batch
        return super().displacement(s, g, h) * friction
