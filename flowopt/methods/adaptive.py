"""The named adaptive methods: adaptive flows by symplectic Euler, which are their published updates."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.fixed import Fixed
from flowopt.controllers.hypergradient import Hypergradient
from flowopt.controllers.newton_step import NewtonStep
from flowopt.core.kernel import Method
from flowopt.core.roles import StepSize
from flowopt.core.state import Number
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods import citations
from flowopt.methods.naming import named
from flowopt.systems.adabelief import AdaBelief
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adam import Adam
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adamomentum import AdaMomentum
from flowopt.systems.adaptive import AdaptiveFlow
from flowopt.systems.amsgrad import AMSGrad
from flowopt.systems.diffgrad import DiffGrad
from flowopt.systems.eadam import EAdam
from flowopt.systems.madgrad import MADGRAD
from flowopt.systems.rmsprop import RMSprop
from flowopt.transforms.decoupled_decay import DecoupledDecay

_HISTOGRAMS = "as in Table 5 of the epsilon paper"


def _published(system: AdaptiveFlow) -> Method:
    """The update as published: a step of symplectic Euler as long as the system's own."""
    return Method(system, SymplecticEuler(), Fixed(system.step))


@named("AdaGrad", citations.ADAGRAD)
def adagrad(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-2, eps: Number = 1e-10, weight_decay: Number = 0.0
) -> Method:
    """AdaGrad, which is torch.optim.Adagrad: the gradient over the root of the sum of all squared gradients."""
    return _published(AdaGrad(step=lr, eps=eps, weight_decay=weight_decay))


@named("RMSprop", citations.RMSPROP)
def rmsprop(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-2,
    beta2: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
) -> Method:
    """RMSprop, which is torch.optim.RMSprop(alpha=beta2): the gradient over the root of the mean squared gradient."""
    return _published(RMSprop(step=lr, beta2=beta2, eps=eps, weight_decay=weight_decay))


@named("Adam", citations.ADAM)
def adam(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
) -> Method:
    """Adam, which is torch.optim.Adam: the mean gradient over the root of the mean squared gradient."""
    return _published(Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


@named("AdamW", citations.ADAMW, "the decay of a step is lr weight_decay, as in torch.optim.AdamW")
def adamw(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 1e-2,
) -> Method:
    """AdamW, which is torch.optim.AdamW: Adam with a weight decay that the gradients know nothing of."""
    system = Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps)
    return Method(system, SymplecticEuler(), Fixed(lr), (DecoupledDecay(weight_decay),))


@named("AMSGrad", citations.AMSGRAD, "with the bias corrections of Adam, as in torch (the paper has none)")
def amsgrad(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
) -> Method:
    """AMSGrad, which is torch.optim.Adam(amsgrad=True): Adam whose mean squared gradient never falls."""
    return _published(AMSGrad(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


@named("DiffGrad", citations.DIFFGRAD, 'form="paper": eps beside the corrected root (the authors\' code: uncorrected)')
def diffgrad(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    form: Literal["paper", "library"] = "paper",
) -> Method:
    """DiffGrad: Adam that is slowed down to half where the gradient hardly changes."""
    return _published(DiffGrad(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, form=form))


@named(
    "AdaMod",
    citations.ADAMOD,
    'form="paper": the rates that are bounded are lr / (sqrt(v^) + eps) (the authors\' code puts the correction of m '
    "among them, and eps beside the uncorrected root)",
)
def adamod(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    beta3: Number = 0.9999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    form: Literal["paper", "library"] = "paper",
) -> Method:
    """AdaMod: Adam whose learning rates do not exceed their own average."""
    system = AdaMod(step=lr, beta1=beta1, beta2=beta2, beta3=beta3, eps=eps, weight_decay=weight_decay, form=form)
    return _published(system)


@named("AdaBelief", citations.ADABELIEF + citations.EPSILON, _HISTOGRAMS)
def adabelief(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-16,
    weight_decay: Number = 0.0,
) -> Method:
    """AdaBelief: Adam that divides by how far the gradient is from its mean."""
    return _published(AdaBelief(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


@named("MADGRAD", citations.MADGRAD, "Algorithm 1, with lr where the authors' code has lr + eps")
def madgrad(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-2,
    beta1: Number = 0.9,
    eps: Number = 1e-6,
    weight_decay: Number = 0.0,
    dual_averaging: bool = True,
) -> Method:
    """MADGRAD: dual averaging with momentum, the gradients' sum over the cube root of the sum of their squares."""
    return _published(MADGRAD(step=lr, beta1=beta1, eps=eps, weight_decay=weight_decay, dual_averaging=dual_averaging))


@named("EAdam", citations.EADAM + citations.EPSILON, _HISTOGRAMS)
def eadam(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
) -> Method:
    """EAdam: Adam with eps added to the mean squared gradient in every step."""
    return _published(EAdam(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


@named("AdaMomentum", citations.ADAMOMENTUM + citations.EPSILON, _HISTOGRAMS)
def adamomentum(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-16,
    weight_decay: Number = 0.0,
) -> Method:
    """AdaMomentum: EAdam that squares the mean gradient in place of the gradient."""
    return _published(AdaMomentum(step=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay))


@named("TLR over Adam", citations.TLR, "gamma = 0.33 as in the text (the authors' code: 0.20); guarded; K as in `tlr`")
def tlr_adam(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
    gamma: Number = 0.33,
    K: int | None = None,
    p: float = 0.20,
    batches_per_epoch: int | None = None,
    schedule: Literal["in_step", "lagged"] = "in_step",
    guard: bool = True,
    max_factor: Number = 100.0,
) -> Method:
    """TLR over Adam: a Newton step on its learning rate.

    K is 1, or well above the 1 / (1 - beta1) steps that the momentum lasts. In between, the moves over K steps and over
    the K before share their momentum; even where there is nothing but noise they look parallel, and the rate grows
    beyond all bounds (threefold in every two steps with K = 2, beta1 = 0.9). On test functions K = 1 does so too, for
    Adam's moves do not shrink with the gradient: on Rosenbrock it diverges, where K = 30 stays.
    """
    controller = NewtonStep(lr, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
    return Method(Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps), SymplecticEuler(), controller)


@named("hypergradient Adam", citations.HYPERGRADIENT, "Adam-HD is the additive form")
def hypergradient_adam(
    lr: Annotated[Number, StepSize(1e-5, 10.0)] = 1e-3,
    hyper_lr: Number = 1e-3,
    rule: Literal["additive", "multiplicative"] = "additive",
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
) -> Method:
    """Adam whose learning rate descends its own gradient."""
    return Method(
        Adam(step=lr, beta1=beta1, beta2=beta2, eps=eps), SymplecticEuler(), Hypergradient(lr, hyper_lr, rule)
    )
