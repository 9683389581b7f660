"""ELRA."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.orthogonal import OrthogonalGradient
from flowopt.core.method import Method
from flowopt.core.parameters import warn_of_a_factor
from flowopt.core.parts import Transform
from flowopt.core.roles import EpochLength, Range, StepSize, WeightDecay
from flowopt.core.state import Number
from flowopt.integrators.euler import ForwardEuler
from flowopt.methods._naming import named
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.transforms.iterate_averaging import IterateAveraging
from flowopt.transforms.shrink import Shrink

ELRA = """@unpublished{elra,
  title  = {A Gradient Descent Optimizer with Auto-Controlled Large Learning Rates, Dynamic Batch Sizes and without Momentum},
  author = {{Anonymous authors}},
  note   = {Paper under double-blind review}
}
"""


@named(
    "ELRA",
    ELRA,
    "kappa = 1 and gamma_max = 1e6 as for deterministic problems; the retrace formula with |G|^2, as its own parabola "
    "gives (the paper prints |G|); a denominator <= 0 counts as ratio gamma_max",
)
def elra(
    alpha0: Annotated[Number, StepSize(1e-8, 1.0)] = 1e-3,
    kappa: Annotated[Number | Literal["auto"], Range(0.25, 4.0)] = 1.0,
    gamma_max: Annotated[Number, Range(2.0, 1e6)] = 1e6,
    retrace: Literal["initial", "epoch"] | None = "initial",
    retrace_formula: Literal["corrected", "printed"] = "corrected",
    crop: Annotated[Number | None, Range(1e-3, 100.0)] = None,
    warmup: Annotated[Number | None, Range(1e-6, 0.1)] = None,
    shrink: Annotated[Number, Range(0.99, 0.99999, "complement")] = 1.0,
    weight_decay: Annotated[Number, WeightDecay(factor="shrink")] = 0.0,
    epoch_length: Annotated[int | None, EpochLength()] = None,
    average: bool = False,
) -> Method:
    """ELRA: gradient flow by forward Euler, with the step that makes successive gradients orthogonal.

    `shrink` multiplies the position every step (the paper's weight decay, 0.9997; 1 is none); `average` is the paper's
    boosting, the mean of the iterates (over epoch_length of them, if given), used only to evaluate. Warns of a
    `weight_decay` above 0.5: it is a rate.
    """
    transforms: tuple[Transform, ...] = (IterateAveraging(epoch_length),) if average else ()
    if not isinstance(shrink, float | int) or shrink != 1:
        transforms += (Shrink(shrink),)
    warn_of_a_factor("elra", "weight_decay", weight_decay, "shrink")
    controller = OrthogonalGradient(
        alpha0, kappa, gamma_max, retrace, retrace_formula, crop, warmup, epoch_length if retrace == "epoch" else None
    )
    return Method(GradientFlow(weight_decay), ForwardEuler(), controller, transforms)
