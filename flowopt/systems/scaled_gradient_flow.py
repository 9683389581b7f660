"""Gradient flow with a diagonal scaling, the system of ECCO-DNN."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from flowopt.core import rows
from flowopt.core.errors import check_choice
from flowopt.core.parts import System
from flowopt.core.state import Evaluation, Measure, Rate, State

FIXED_POINT_STEPS = 60
"""The square root halves the logarithmic error of z a step, so 60 steps go from 1e18 to rounding."""


@dataclass(frozen=True)
class ScaledGradientFlow(System):
    """Scaled gradient flow: q' = -z(q) * grad f(q), z a positive diagonal. Lyapunov function: f.

    ECCO-DNN (Fiscko et al. 2023), eq 3, with z the diagonal of Z^-1:

    - ``identity``: z = 1.
    - ``curvature`` (eq 8): z = max(g * (H g), 1), one Hessian-vector product a rate, O(D).
    - ``gradient_difference`` (eqs 9, 10): z = sqrt(max(1, g_k * (g_{k-1} - g_k) / h_{k-1})), 1 at the start.
      Algorithm 1 of the paper prints a product with h where eqs 9 and 10 divide: ``difference="multiply"``.
    - ``limit``: what ``gradient_difference`` tends to as h -> 0. There (g_{k-1} - g_k)/h becomes H (z * g), so
      z solves z^2 = max(1, g * H (z * g)); found by fixed-point iteration on a dense Hessian (small D).
      It is the field a reference solver integrates; where the iteration does not settle, z is NaN.

    ``normalise`` divides z by its largest entry ("max") or its mean ("mean"), or not at all (None).
    """

    scaling: Literal["identity", "curvature", "gradient_difference", "limit"] = "gradient_difference"
    difference: Literal["divide", "multiply"] = "divide"
    normalise: Literal["max", "mean"] | None = None

    name = "scaled_gradient_flow"
    source = "ECCO-DNN eqs 3, 8, 9, 10"
    provides = frozenset({"descent"})

    def __post_init__(self) -> None:
        check_choice(self.name, "scaling", self.scaling, ("identity", "curvature", "gradient_difference", "limit"))
        check_choice(self.name, "difference", self.difference, ("divide", "multiply"))
        check_choice(self.name, "normalise", self.normalise, ("max", "mean", None))

    @property
    def needs_hvp(self) -> bool:
        return self.scaling in ("curvature", "limit")

    def continuous(self) -> Self:
        return replace(self, scaling="limit") if self.scaling == "gradient_difference" else self

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        if self.scaling == "gradient_difference":
            return {"q": q, "previous_grad": evaluation.grad, "z": torch.ones_like(q)}
        return {"q": q}

    def observe(self, state: State, evaluation: Evaluation, h: Tensor, measure: Measure | None) -> State:
        if self.scaling != "gradient_difference":
            return state
        g = evaluation.grad
        change = state["previous_grad"] - g
        step = rows.steps(h, state["q"])
        step = torch.where(step > 0, step, torch.inf)  # what rests (at a learning rate of 0) shows no curvature
        slope = change / step if self.difference == "divide" else change * step
        return state | {"previous_grad": g, "z": (g * slope).clamp(min=1.0).sqrt()}

    def rate(self, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
        g = evaluation.grad
        if self.scaling == "identity":
            return {"q": -g}
        z = self._z(state, g, measure)
        if self.normalise == "max":
            z = z / z.amax(-1, keepdim=True)
        elif self.normalise == "mean":
            z = z / z.mean(-1, keepdim=True)
        return {"q": -(z * g)}

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return evaluation.value

    def _z(self, state: State, g: Tensor, measure: Measure | None) -> Tensor:
        if self.scaling == "gradient_difference":
            return state["z"]
        assert measure is not None, "the driver gives a measure to systems that need Hessian-vector products"
        if self.scaling == "curvature":
            return (g * measure.hvp(state["q"], g)).clamp(min=1.0)
        hessian = measure.hessian(state["q"])

        def update(z: Tensor) -> Tensor:
            return (g * (hessian @ (z * g).unsqueeze(-1)).squeeze(-1)).clamp(min=1.0).sqrt()

        leaf, g = g, rows.joined(g)
        z = torch.ones_like(g)
        for _ in range(FIXED_POINT_STEPS):
            z = update(z)
        settled = (update(z) - z).abs() <= 1e-6 * z
        return rows.parted(torch.where(settled, z, torch.nan), leaf)
