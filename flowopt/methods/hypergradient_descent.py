"""Hypergradient descent, plain and over Adam."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.hypergradient import Hypergradient
from flowopt.core.method import Method
from flowopt.core.roles import Denominator, GradientAverage, LearningRate, Range, SquareAverage
from flowopt.core.state import Number
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods._naming import named
from flowopt.systems.adam import Adam
from flowopt.systems.gradient_flow import GradientFlow

HYPERGRADIENT = """@inproceedings{baydin2018,
  title     = {Online Learning Rate Adaptation with Hypergradient Descent},
  author    = {Baydin, At{\\i}l{\\i}m G{\\"u}ne{\\c{s}} and Cornish, Robert and Mart{\\'i}nez Rubio, David and Schmidt, Mark and Wood, Frank},
  booktitle = {International Conference on Learning Representations},
  year      = {2018}
}
"""


@named("hypergradient descent", HYPERGRADIENT, "the two forms as the TLR paper compares them")
def hypergradient(
    lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3,
    hyper_lr: Annotated[Number, Range(1e-9, 0.1)] = 1e-3,
    rule: Literal["additive", "multiplicative"] = "multiplicative",
) -> Method:
    """Gradient descent whose learning rate descends its own gradient."""
    return Method(GradientFlow(), ForwardEuler(), Hypergradient(lr, hyper_lr, rule))


@named("hypergradient Adam", HYPERGRADIENT, "Adam-HD is the additive form")
def hypergradient_adam(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    hyper_lr: Annotated[Number, Range(1e-9, 0.1)] = 1e-3,
    rule: Literal["additive", "multiplicative"] = "additive",
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
) -> Method:
    """Adam whose learning rate descends its own gradient."""
    return Method(
        Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps), SymplecticEuler(), Hypergradient(lr, hyper_lr, rule)
    )
