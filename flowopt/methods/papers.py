"""The named methods: each puts parts together, with its citation and the reading it follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import flowopt.methods.adaptive  # noqa: F401 - enters the adaptive methods
from flowopt.controllers.armijo import Armijo
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.growing import Growing
from flowopt.controllers.hypergradient import Hypergradient
from flowopt.controllers.lte import LTE
from flowopt.controllers.newton_step import NewtonStep
from flowopt.controllers.orthogonal import OrthogonalGradient
from flowopt.controllers.pi import PI
from flowopt.controllers.polyak import Polyak
from flowopt.controllers.stability_limited_lte import StabilityLimitedLTE
from flowopt.controllers.step_decay import StepDecay
from flowopt.controllers.stochastic_polyak import StochasticPolyak
from flowopt.core.errors import BadValue, UnknownName, check_count, check_positive, check_range
from flowopt.core.kernel import Method
from flowopt.core.parameters import as_parameter, hint, warn_of_a_factor
from flowopt.core.parts import Integrator, Transform
from flowopt.core.roles import LowerBound, StepSize
from flowopt.core.state import Number
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.runge_kutta import DormandPrince
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.methods import citations
from flowopt.methods.naming import METHODS, named
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.momentum import Momentum
from flowopt.systems.nesterov_flow import NesterovFlow
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow
from flowopt.transforms.bounces import Bounces
from flowopt.transforms.energy_projection import EnergyProjection
from flowopt.transforms.iterate_averaging import IterateAveraging
from flowopt.transforms.momentum_rotation import MomentumRotation
from flowopt.transforms.shrink import Shrink


def method(name: str, **parameters: Any) -> Method:
    """The method with that name; `parameters` replace its documented defaults.

    >>> method("gd", lr=1e-3).controller
    Fixed(h=0.001)

    Raises UnknownName for a name or a parameter that does not exist, BadValue for a number out of range.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    entry = METHODS[name]
    for parameter in parameters:
        if parameter not in entry.defaults:
            raise UnknownName(f"parameter of {name}", parameter, entry.defaults, hint(parameter, entry.defaults))
    parameters = {parameter: as_parameter(name, parameter, value) for parameter, value in parameters.items()}
    for parameter in ("lr", "eps"):  # an eps of 0 would make 0/0 of what has no gradient
        if parameter in parameters:
            check_positive(name, **{parameter: parameters[parameter]})
    try:
        built = entry.build(**parameters)
    except BadValue as error:  # the part says which of its numbers is wrong, but not whose part it is
        raise BadValue(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error
    return replace(built, name=name, citation=entry.citation, reading=entry.reading)


def as_method(given: str | Method, overrides: dict[str, Any]) -> Method:
    """A Method from a name and parameters, or the Method itself."""
    if isinstance(given, str):
        return method(given, **overrides)
    if isinstance(given, Method):
        if overrides:
            raise BadValue(
                f"parameters ({', '.join(overrides)}) go with a method's name; a Method that is already built "
                "takes none (set them on its parts)"
            )
        return given
    raise BadValue(f"a method is a name, a Method, or a torch.optim.Optimizer class or factory, not {given!r}")


__all__ = ["METHODS", "as_method", "method", "named"]


@named("gradient descent", citations.CAUCHY)
def gd(lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3) -> Method:
    """Gradient descent: gradient flow by forward Euler with a fixed step, which is torch.optim.SGD(lr).

    The default is half the stability limit 2/1002 of Rosenbrock's minimum.
    """
    return Method(GradientFlow(), ForwardEuler(), Fixed(lr))


@named("heavy ball (Polyak), ECDSep eq 13", citations.POLYAK_1964)
def gdm(lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3, beta: Number = 0.9) -> Method:
    """Gradient descent with momentum by symplectic Euler, which is torch.optim.SGD(lr, momentum=beta).

    p <- beta p - grad f, q <- q + lr p.
    """
    check_range("gdm", "beta", beta, 0.0, 1.0)
    return Method(Momentum(beta), SymplecticEuler(), Fixed(lr))


@named("Nesterov; Su, Boyd, Candes", citations.NESTEROV)
def nesterov(lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3, r: Number = 3.0) -> Method:
    """Nesterov's accelerated gradient: Nesterov's flow by look-ahead Euler with h = sqrt(lr).

    With r = 3 the momentum factor is Nesterov's k/(k+3).
    """
    check_positive("nesterov", lr=lr)
    return Method(NesterovFlow(r), Lookahead(), Fixed(lr**0.5))


@named(
    "ECCO-DNN",
    citations.ECCO,
    "eqs 9 and 10 (the gradient difference is divided by the step; Algorithm 1 multiplies); d_{-1} = 0 at the start",
)
def ecco(
    eta: Annotated[Number, StepSize(1e-5, 100.0)] = 0.1,
    scaling: Literal["identity", "curvature", "gradient_difference"] = "gradient_difference",
    difference: Literal["divide", "multiply"] = "divide",
    normalise: Literal["max", "mean"] | None = None,
    h_max: Number = 1.0,
) -> Method:
    """ECCO-DNN as published: scaled gradient flow by forward Euler under truncation-error control.

    It follows the flow but does not settle at a minimum whose curvature is above 2/h_max: see `ecco_stable`.
    """
    return Method(ScaledGradientFlow(scaling, difference, normalise), ForwardEuler(), LTE(eta, h_max))


@named(
    "ours, after ECCO-DNN",
    citations.ECCO + citations.MALITSKY_MISHCHENKO,
    "ours: ECCO's error control with identity scaling and a second bound from the secant curvature",
)
def ecco_stable(
    eta: Annotated[Number, StepSize(1e-5, 100.0)] = 0.1, safety: Number = 0.5, h_max: Number = 1.0
) -> Method:
    """Gradient flow by forward Euler under truncation-error control inside the stability limit (ours)."""
    return Method(GradientFlow(), ForwardEuler(), StabilityLimitedLTE(eta, h_max, safety))


def _ecdsep(
    scheme: Integrator,
    dt: Number,
    nu: Number,
    conserve_energy: bool,
    **system: Any,
) -> Method:
    transforms: tuple[Transform, ...] = (MomentumRotation(nu),) if _nonzero(nu) else ()
    if conserve_energy:  # after the rotation of the last step and before the next kick
        transforms += (EnergyProjection(),)
    return Method(SeparableHamiltonian(**system), scheme, Fixed(dt), transforms)


@named(
    "ECDSep",
    citations.ECDSEP,
    "Algorithm 1: p starts along -grad F (section 3.1 prints plus), the energy is restored before the kick (section "
    "3.3 says after); with tune_F0, Algorithm 2, the shift is part of the force (it is not in the authors' code)",
)
def ecdsep(
    exponent: Number = 1.0,
    dt: Annotated[Number, StepSize(1e-3, 10.0)] = 0.4,
    nu: Number = 1e-5,
    F0: Annotated[Number, LowerBound()] = 0.0,
    delta_energy: Number = 0.0,
    s: Literal[0, 1] = 1,
    weight_decay: Number = 0.0,
    conserve_energy: bool = True,
    tune_F0: bool = False,
) -> Method:
    """ECDSep: energy-conserving descent, a separable Hamiltonian by symplectic Euler with a random rotation.

    The paper gives no default for its eta, the exponent; 1 is the choice of its section 3.6.
    """
    return _ecdsep(
        SymplecticEuler(),
        dt,
        nu,
        conserve_energy,
        exponent=exponent,
        F0=F0,
        delta_energy=delta_energy,
        s=s,
        weight_decay=weight_decay,
        tune_F0=tune_F0,
    )


@named("ECDSep, second order", citations.ECDSEP, "the Strang splitting that the paper names as future work")
def ecdsep_strang(
    exponent: Number = 1.0,
    dt: Annotated[Number, StepSize(1e-3, 10.0)] = 0.4,
    nu: Number = 1e-5,
    F0: Annotated[Number, LowerBound()] = 0.0,
    delta_energy: Number = 0.0,
    s: Literal[0, 1] = 1,
    weight_decay: Number = 0.0,
    conserve_energy: bool = True,
) -> Method:
    """ECDSep with the Stoermer-Verlet scheme: the same Hamiltonian to second order, still one gradient a step."""
    return _ecdsep(
        StoermerVerlet(),
        dt,
        nu,
        conserve_energy,
        exponent=exponent,
        F0=F0,
        delta_energy=delta_energy,
        s=s,
        weight_decay=weight_decay,
    )


@named("BBI (Born-Infeld)", citations.BBI, "the energy is that of the start, V(q_0) + added_energy")
def bbi(
    dt: Annotated[Number, StepSize(1e-5, 1.0)] = 1e-2,
    v0: Annotated[Number, LowerBound()] = 0.0,
    added_energy: Number = 0.0,
    conserve_energy: bool = True,
    fixed_bounces: int = 0,
    fixed_interval: int = 100,
    progress_interval: int = 1000,
) -> Method:
    """BBI: Born-Infeld dynamics by symplectic Euler with bounces, the predecessor of ECDSep."""
    transforms: tuple[Transform, ...] = (Bounces(fixed_bounces, fixed_interval, progress_interval),)
    if conserve_energy:
        transforms += (EnergyProjection(),)
    return Method(BornInfeld(v0, added_energy), SymplecticEuler(), Fixed(dt), transforms)


@named(
    "ELRA",
    citations.ELRA,
    "kappa = 1 and gamma_max = 1e6 as for deterministic problems; the retrace formula with |G|^2, as its own parabola "
    "gives (the paper prints |G|); a denominator <= 0 counts as ratio gamma_max",
)
def elra(
    alpha0: Annotated[Number, StepSize(1e-8, 1.0)] = 1e-3,
    kappa: Number | Literal["auto"] = 1.0,
    gamma_max: Number = 1e6,
    retrace: Literal["initial", "epoch"] | None = "initial",
    retrace_formula: Literal["corrected", "printed"] = "corrected",
    crop: Number | None = None,
    warmup: Number | None = None,
    shrink: Number = 1.0,
    weight_decay: Number = 0.0,
    epoch_length: int | None = None,
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
    warn_of_a_factor(weight_decay)
    controller = OrthogonalGradient(
        alpha0, kappa, gamma_max, retrace, retrace_formula, crop, warmup, epoch_length if retrace == "epoch" else None
    )
    return Method(GradientFlow(weight_decay), ForwardEuler(), controller, transforms)


_TLR_READING = "gamma = 0.33 as in the text (the authors' code and figure 1: 0.20); guarded against a negative rate"


@named("TLR", citations.TLR, _TLR_READING)
def tlr(
    lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3,
    gamma: Number = 0.33,
    K: int | None = None,
    p: float = 0.20,
    batches_per_epoch: int | None = None,
    schedule: Literal["in_step", "lagged"] = "in_step",
    guard: bool = True,
    max_factor: Number = 100.0,
) -> Method:
    """TLR: gradient descent whose learning rate makes a damped Newton step of its own."""
    controller = NewtonStep(lr, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
    return Method(GradientFlow(), ForwardEuler(), controller)


@named("TLR over momentum", citations.TLR, _TLR_READING)
def tlr_gdm(
    lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3,
    beta: Number = 0.9,
    gamma: Number = 0.33,
    K: int | None = None,
    p: float = 0.20,
    batches_per_epoch: int | None = None,
    schedule: Literal["in_step", "lagged"] = "in_step",
    guard: bool = True,
    max_factor: Number = 100.0,
) -> Method:
    """TLR over gradient descent with momentum."""
    controller = NewtonStep(lr, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
    return Method(Momentum(beta), SymplecticEuler(), controller)


@named("hypergradient descent", citations.HYPERGRADIENT, "the two forms as the TLR paper compares them")
def hypergradient(
    lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3,
    hyper_lr: Number = 1e-3,
    rule: Literal["additive", "multiplicative"] = "multiplicative",
) -> Method:
    """Gradient descent whose learning rate descends its own gradient."""
    return Method(GradientFlow(), ForwardEuler(), Hypergradient(lr, hyper_lr, rule))


@named("Armijo line search", citations.ARMIJO)
def armijo(
    h0: Annotated[Number, StepSize(1e-6, 100.0)] = 1.0, c1: Number = 1e-4, backtrack: Number = 0.5, grow: Number = 2.0
) -> Method:
    """Gradient descent with Armijo backtracking."""
    return Method(GradientFlow(), ForwardEuler(), Armijo(h0, c1, backtrack, grow))


@named("Polyak's step size", citations.POLYAK_1969)
def polyak(
    f_star: Annotated[Number, LowerBound()] = 0.0,
    scale: Annotated[Number, StepSize(1e-2, 10.0)] = 1.0,
    h_max: Number = float("inf"),
) -> Method:
    """Gradient descent with Polyak's step size; f_star is the minimum of f, or a lower bound."""
    return Method(GradientFlow(), ForwardEuler(), Polyak(f_star, scale, h_max))


@named("step decay", citations.STEP_DECAY)
def step_decay(lr: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3, factor: Number = 0.1, every: int = 1000) -> Method:
    """Gradient descent whose learning rate falls by a factor every so many steps, which is SGD with StepLR in torch."""
    return Method(GradientFlow(), ForwardEuler(), StepDecay(lr, factor, every))


@named(
    "stochastic Polyak step (SPS)",
    citations.SPS,
    "SPS_max with the smoothing of the experiments; c = 0.5 as in the theory and in the authors' code by default (0.2 "
    "where they train deep networks), without the 1e-8 that the code adds to c |grad f|^2",
)
def sps(
    f_star: Annotated[Number, LowerBound()] = 0.0,
    c: Number = 0.5,
    epoch_growth: Number = 2.0,
    batches_per_epoch: int = 500,
    h0: Annotated[Number, StepSize(1e-6, 100.0)] = 1.0,
    h_max: Number = float("inf"),
) -> Method:
    """SPS: gradient descent with Polyak's step on each batch, which may grow by `epoch_growth` in an epoch.

    Give the length of the data loader; 500 is what the authors' code assumes. On a function every step sees all there
    is: with batches_per_epoch = 1 the step can double every time. (On a network that is too much, and it diverges.)
    """
    check_positive("sps", c=c)
    growth = _per_batch("sps", epoch_growth, batches_per_epoch)
    return Method(GradientFlow(), ForwardEuler(), StochasticPolyak(f_star, 1 / c, h_max, growth, h0))


@named(
    "stochastic line search (SLS)",
    citations.SLS,
    "SGD + Armijo as in the experiments: every search starts at epoch_growth^(b/n) times the last step; after `tries` "
    "steps that will not do, the next smaller one is made (the authors' code: one of 1e-6)",
)
def sls(
    h0: Annotated[Number, StepSize(1e-6, 10.0)] = 1.0,
    c1: Number = 0.1,
    backtrack: Number = 0.9,
    tries: int = 100,
    epoch_growth: Number = 2.0,
    batches_per_epoch: int = 500,
    h_max: Number = 10.0,
) -> Method:
    """SLS: gradient descent with an Armijo search on each batch, from a step that may grow from one to the next.

    Give the length of the data loader; 500 is what the authors' code assumes. On a function every step sees all there
    is: with batches_per_epoch = 1 the step can double every time, at the price of about seven more evaluations.
    """
    growth = _per_batch("sls", epoch_growth, batches_per_epoch)
    return Method(GradientFlow(), BacktrackingEuler(c1, backtrack, tries), Growing(h0, growth, h_max))


@named("Barzilai, Borwein", citations.BARZILAI_BORWEIN)
def bb(variant: Literal[1, 2] = 1, h0: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3, grow: Number = 10.0) -> Method:
    """Gradient descent with the Barzilai-Borwein step size."""
    return Method(GradientFlow(), ForwardEuler(), BarzilaiBorwein(variant, h0, grow))


@named("gradient flow, Dormand-Prince 5(4)", citations.DORMAND_PRINCE)
def flow(rtol: Annotated[Number, StepSize(1e-10, 1.0)] = 1e-6, atol: Number = 1e-9) -> Method:
    """Gradient flow itself, followed closely by Dormand-Prince 5(4) under PI control."""
    return Method(GradientFlow(), DormandPrince(), PI(rtol, atol))


@named("backward Euler (proximal point)", citations.ROCKAFELLAR)
def implicit(dt: Annotated[Number, StepSize(1e-3, 1e4)] = 0.1) -> Method:
    """Gradient flow by backward Euler, which is the proximal point method."""
    return Method(GradientFlow(), BackwardEuler(), Fixed(dt))


@named("Newton's flow", citations.BRANIN)
def newton(dt: Annotated[Number, StepSize(1e-2, 10.0)] = 1.0, damping: Number = 0.0) -> Method:
    """Newton's flow by forward Euler; with dt = 1 and no damping, Newton's method."""
    return Method(NewtonFlow(damping), ForwardEuler(), Fixed(dt))


def _nonzero(value: Number) -> bool:
    return not isinstance(value, float | int) or value != 0


def _per_batch(name: str, epoch_growth: Number, batches_per_epoch: int) -> Number:
    """The factor by which a step may grow from batch to batch, given the one for an epoch."""
    check_range(name, "epoch_growth", epoch_growth, 1.0, infinite=True)
    check_count(name, "batches_per_epoch", batches_per_epoch, 1)
    return epoch_growth ** (1 / batches_per_epoch)
