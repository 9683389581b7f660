"""TLR: Newton's step on the learning rate, over gradient descent, momentum and Adam."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.newton_step import NewtonStep
from flowopt.core.method import Method
from flowopt.core.roles import (
    Denominator,
    EpochLength,
    GradientAverage,
    LearningRate,
    MomentumFactor,
    Range,
    SquareAverage,
)
from flowopt.core.state import Number
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods._naming import named
from flowopt.systems.adam import Adam
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.momentum import Momentum

_TLR_READING = "gamma = 0.33 as in the text (the authors' code and figure 1: 0.20); guarded against a negative rate"


TLR = """@inproceedings{retsinas2023tlr,
  title  = {Newton-Based Trainable Learning Rate},
  author = {Retsinas, George and Sfikas, Giorgos and Filntisis, Panagiotis Paraskevas and Maragos, Petros},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year   = {2023}
}
"""


@named("TLR", TLR, _TLR_READING)
def tlr(
    lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3,
    gamma: Annotated[Number, Range(0.05, 1.0)] = 0.33,
    K: Annotated[int | None, Range(1, 1000)] = None,
    p: Annotated[float, Range(0.01, 1.0)] = 0.20,
    batches_per_epoch: Annotated[int | None, EpochLength(unless="K")] = None,
    schedule: Literal["in_step", "lagged"] = "in_step",
    guard: bool = True,
    max_factor: Annotated[Number, Range(1.1, 100.0)] = 100.0,
) -> Method:
    """TLR: gradient descent whose learning rate makes a damped Newton step of its own."""
    controller = NewtonStep(lr, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
    return Method(GradientFlow(), ForwardEuler(), controller)


@named("TLR over momentum", TLR, _TLR_READING)
def tlr_gdm(
    lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3,
    beta: Annotated[Number, MomentumFactor(0.0, 0.999)] = 0.9,
    gamma: Annotated[Number, Range(0.05, 1.0)] = 0.33,
    K: Annotated[int | None, Range(1, 1000)] = None,
    p: Annotated[float, Range(0.01, 1.0)] = 0.20,
    batches_per_epoch: Annotated[int | None, EpochLength(unless="K")] = None,
    schedule: Literal["in_step", "lagged"] = "in_step",
    guard: bool = True,
    max_factor: Annotated[Number, Range(1.1, 100.0)] = 100.0,
) -> Method:
    """TLR over gradient descent with momentum."""
    controller = NewtonStep(lr, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
    return Method(Momentum(beta), SymplecticEuler(), controller)


@named("TLR over Adam", TLR, "gamma = 0.33 as in the text (the authors' code: 0.20); guarded; K as in `tlr`")
def tlr_adam(
    lr: Annotated[Number, LearningRate(1e-5, 10.0)] = 1e-3,
    beta1: GradientAverage = 0.9,
    beta2: SquareAverage = 0.999,
    eps: Denominator = 1e-8,
    gamma: Annotated[Number, Range(0.05, 1.0)] = 0.33,
    K: Annotated[int | None, Range(1, 1000)] = None,
    p: Annotated[float, Range(0.01, 1.0)] = 0.20,
    batches_per_epoch: Annotated[int | None, EpochLength(unless="K")] = None,
    schedule: Literal["in_step", "lagged"] = "in_step",
    guard: bool = True,
    max_factor: Annotated[Number, Range(1.1, 100.0)] = 100.0,
) -> Method:
    """TLR over Adam: a Newton step on its learning rate.

    K is 1, or well above the 1 / (1 - beta1) steps that the momentum lasts. In between, the moves over K steps and over
    the K before share their momentum; even where there is nothing but noise they look parallel, and the rate grows
    beyond all bounds (threefold in every two steps with K = 2, beta1 = 0.9). On test functions K = 1 does so too, for
    Adam's moves do not shrink with the gradient: on Rosenbrock it diverges, where K = 30 stays.
    """
    controller = NewtonStep(lr, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
    return Method(Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps), SymplecticEuler(), controller)
