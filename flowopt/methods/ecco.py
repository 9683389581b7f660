"""ECCO-DNN, and ECCO inside the stability limit."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.lte import LTE
from flowopt.controllers.stability_limited_lte import StabilityLimitedLTE
from flowopt.core.method import Method
from flowopt.core.roles import Range, StepSize
from flowopt.core.state import Number
from flowopt.integrators.euler import ForwardEuler
from flowopt.methods._naming import named
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow

ECCO = """@article{fiscko2023ecco,
  title  = {Towards Hyperparameter-Agnostic {DNN} Training via Dynamical System Insights},
  author = {Fiscko, Carmel and Agarwal, Aayushya and Ruan, Yihan and Kar, Soummya and Pileggi, Larry and Sinopoli, Bruno},
  year   = {2023},
  note   = {Preprint, October 24, 2023}
}
"""


@named(
    "ECCO-DNN",
    ECCO,
    "eqs 9 and 10 (the gradient difference is divided by the step; Algorithm 1 multiplies); d_{-1} = 0 at the start",
)
def ecco(
    eta: Annotated[Number, StepSize(1e-5, 100.0)] = 0.1,
    scaling: Literal["identity", "curvature", "gradient_difference"] = "gradient_difference",
    difference: Literal["divide", "multiply"] = "divide",
    normalise: Literal["max", "mean"] | None = None,
    h_max: Annotated[Number, Range(1e-4, 1e3)] = 1.0,
) -> Method:
    """ECCO-DNN as published: scaled gradient flow by forward Euler under truncation-error control.

    It follows the flow but does not settle at a minimum whose curvature is above 2/h_max: see `ecco_stable`.
    """
    return Method(ScaledGradientFlow(scaling, difference, normalise), ForwardEuler(), LTE(eta, h_max))


MALITSKY_MISHCHENKO = """@inproceedings{malitsky2020,
  title     = {Adaptive Gradient Descent without Descent},
  author    = {Malitsky, Yura and Mishchenko, Konstantin},
  booktitle = {Proceedings of the 37th International Conference on Machine Learning},
  year      = {2020}
}
"""


@named(
    "ours, after ECCO-DNN",
    ECCO + MALITSKY_MISHCHENKO,
    "ours: ECCO's error control with identity scaling and a second bound from the secant curvature",
)
def ecco_stable(
    eta: Annotated[Number, StepSize(1e-5, 100.0)] = 0.1,
    safety: Annotated[Number, Range(0.1, 1.0, "linear")] = 0.5,
    h_max: Annotated[Number, Range(1e-4, 1e3)] = 1.0,
) -> Method:
    """Gradient flow by forward Euler under truncation-error control inside the stability limit (ours)."""
    return Method(GradientFlow(), ForwardEuler(), StabilityLimitedLTE(eta, h_max, safety))
