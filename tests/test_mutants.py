"""The tests can fail: with one wrong formula in our code, a test that guards it does not pass."""

import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import test_adaptive as adaptive
import test_controllers as controllers
import test_integrators as integrators
import test_kernel as kernel_tests
import test_oracles as oracles
import test_transforms as transforms

from flowopt.controllers.armijo import Armijo
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
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
from flowopt.core import kernel, noise
from flowopt.core.state import Step
from flowopt.integrators import implicit
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.runge_kutta import RK4, DormandPrince, Heun
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.systems import adam as adam_module
from flowopt.systems import adaptive_flow as adaptive_module
from flowopt.systems import l2
from flowopt.systems import madgrad as madgrad_module
from flowopt.systems.adabelief import AdaBelief
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adam import Adam
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adamomentum import AdaMomentum
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.amsgrad import AMSGrad
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.diffgrad import DiffGrad
from flowopt.systems.eadam import EAdam
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.systems.madgrad import MADGRAD
from flowopt.systems.momentum import Momentum
from flowopt.systems.nesterov_flow import NesterovFlow
from flowopt.systems.rmsprop import RMSprop
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow
from flowopt.transforms import decoupled_decay
from flowopt.transforms.energy_projection import EnergyProjection
from flowopt.transforms.iterate_averaging import IterateAveraging
from flowopt.transforms.momentum_rotation import MomentumRotation

Test = Callable[[], None]


def mutated(owner: Any, name: str, right: str, wrong: str) -> Any:
    """The function once more, with one piece of its source replaced."""
    original = inspect.getattr_static(owner, name)
    function = original.fget if isinstance(original, property) else original
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"the formula to spoil is not there, or not once:\n{source}"
    source = source.replace(right, wrong).replace("super()", f"super({owner.__name__}, self)")
    names: dict[str, Any] = {}
    exec(source, sys.modules[function.__module__].__dict__, names)
    return names[name]


def ecdsep(**options: Any) -> Test:
    return partial(oracles.test_ecdsep, "zakharov", {"dE": 1.0, "eta": 1.5, "F0": -0.2, "dt": 0.1} | options, False)


def library(chosen: str) -> Test:
    return partial(adaptive.test_a_run_is_the_librarys, chosen, adaptive.SETTINGS[-1], "zakharov")


def table_5(chosen: str, **options: float) -> Test:
    options = {"lr": 0.05, "beta1": 0.7, "beta2": 0.95, "eps": 1e-2} | options
    return partial(adaptive.test_table_5, chosen, options, "zakharov")


def field(name: str) -> Test:
    return partial(adaptive.test_the_field_is_the_one_of_the_equations, name)


order = integrators.test_order_of_convergence.__wrapped__
FORMULAS: list[tuple[Any, str, str, str, Test]] = [
    # controllers
    (LTE, "judge", "self.eta / error", "0.5 * self.eta / error", controllers.test_lte_by_hand),
    (LTE, "start", "2 * self.eta", "self.eta", controllers.test_first_steps),
    (
        Step,
        "position_error",
        'self.error["q"].abs().amax(-1)',
        "self.error_max",
        adaptive.test_adams_flow_under_truncation_error_control,
    ),
    (
        StabilityLimitedLTE,
        "judge",
        "self.safety * step.h**2",
        "self.safety * step.h",
        controllers.test_stability_limited_lte_takes_the_smaller_bound,
    ),
    (PI, "judge", "-0.7 / k", "-1.0 / k", controllers.test_pi_control_by_hand),
    (PI, "judge", "good = e <= 1", "good = e <= 2", controllers.test_pi_on_scripted_errors),
    (
        OrthogonalGradient,
        "judge",
        "before.square - rows.dot(after.grad, before.grad)",
        "before.square + rows.dot(after.grad, before.grad)",
        controllers.test_orthogonal_gradient_by_hand,
    ),
    (
        OrthogonalGradient,
        "judge",
        "0.5 * h * slope",
        "h * slope",
        partial(controllers.test_retrace_goes_back_to_the_bottom_of_a_parabola, "corrected", 1.0, 1.2),
    ),
    (
        NewtonStep,
        "judge",
        "rows.dot(u, step.after.evaluation.grad)",
        "rows.dot(u, step.before.evaluation.grad)",
        controllers.test_newton_step_by_hand,
    ),
    (
        NewtonStep,
        "judge",
        'memory["blocks"] >= 1',
        'memory["blocks"] >= 0',
        partial(controllers.test_schedule_lagged, 2),
    ),
    (NewtonStep, "_factor", "(denominator > 0) & ", "", controllers.test_newton_step_guard),
    (
        Hypergradient,
        "judge",
        "g.square.sqrt()",
        "g.square",
        controllers.test_hypergradient_by_hand,
    ),
    (
        BarzilaiBorwein,
        "judge",
        "rows.dot(y, y)",
        "rows.dot(s, s)",
        partial(controllers.test_barzilai_borwein_by_hand, 2, 9 / 13),
    ),
    (
        Armijo,
        "judge",
        "self.c1 * predicted",
        "0.5 * self.c1 * predicted",
        controllers.test_armijo_accepts_if_and_only_if_f_fell_enough,
    ),
    (Polyak, "_step", "measured.square", "measured.square.sqrt()", controllers.test_polyak_by_hand),
    (Polyak, "_step", "square > 0", "square >= 0", controllers.test_polyak_where_there_is_no_slope),
    (StepDecay, "judge", "count == self.every", "count > self.every", partial(controllers.test_step_decay_by_hand, 3)),
    (Growing, "judge", "self.growth * step.h", "step.h", controllers.test_growing_by_hand),
    (
        StochasticPolyak,
        "_smoothed",
        "self.growth * last",
        "last",
        partial(oracles.test_sps, "zakharov", 1.2, 1, 1e-2),
    ),
    (
        StochasticPolyak,
        "_smoothed",
        "torch.where(h > 0, h, last)",
        "h",
        controllers.test_stochastic_polyak_goes_on_after_a_batch_without_loss,
    ),
    # integrators
    (BacktrackingEuler, "move", "h * slope", "slope", integrators.test_a_line_search_makes_the_first_step_that_will_do),
    (
        BacktrackingEuler,
        "move",
        "self.c1 * rows.dot(start.grad, unit)",
        "-self.c1 * start.square",
        integrators.test_a_line_search_asks_along_the_whole_move,
    ),
    (
        BacktrackingEuler,
        "move",
        'measure(trial["q"], todo)',
        'measure(trial["q"])',
        integrators.test_a_line_search_makes_the_first_step_that_will_do,
    ),
    (
        kernel,
        "propose",
        "h if move.h is None else move.h",
        "h",
        partial(oracles.test_sls, "zakharov", 100, 1.3, 1, 0.5),
    ),
    (
        StoermerVerlet,
        "move",
        "0.5 * h",
        "h",
        partial(order, integrators.HAMILTONIAN, StoermerVerlet()),
    ),
    (
        StoermerVerlet,
        "complete",
        "0.5 * h",
        "0.4 * h",
        integrators.test_stoermer_verlet_is_reversible_and_symplectic_euler_is_not,
    ),
    (
        SymplecticEuler,
        "move",
        "system.drift(kicked, point.evaluation, h)",
        "kicked | {'q': system.drift(point.state, point.evaluation, h)['q']}",
        partial(integrators.test_symplectic_scheme_keeps_the_symplectic_form, SymplecticEuler, 0.5),
    ),
    (Lookahead, "move", "h * system.gain(h)", "h", partial(oracles.test_nesterov, "zakharov")),
    (
        BackwardEuler,
        "move",
        "x - origin - step *",
        "x - origin - 0.9 * step *",
        integrators.test_backward_euler_on_a_quadratic,
    ),
    (implicit._Jacobian, "solve", "unit - step *", "unit + step *", integrators.test_backward_euler_on_a_quadratic),
    # systems
    (SeparableHamiltonian, "_force", "self.exponent / ", "1 / ", ecdsep()),
    (l2, "value", "0.5 * w", "w", ecdsep(w=0.3)),
    (SeparableHamiltonian, "aimed", '"p": -along', '"p": along', ecdsep()),
    (
        BornInfeld,
        "rate",
        "-0.5 * (slowness",
        "-1.0 * (slowness",
        partial(oracles.test_bbi, "zakharov", True, -1.0, 0.5),
    ),
    (
        HeavyBall,
        "decay",
        "1 - self.friction",
        "1 - 0.9 * self.friction",
        partial(oracles.test_momentum_is_torch_sgd_bit_for_bit, "zakharov", oracles.HEAVY_BALL),
    ),
    (
        Momentum,
        "kick",
        "times(self.beta, state",
        "times(0.9 * self.beta, state",
        partial(oracles.test_momentum_is_torch_sgd_bit_for_bit, "zakharov", oracles.GDM),
    ),
    (NesterovFlow, "decay", "self.r * h", "h", partial(oracles.test_nesterov, "zakharov")),
    (
        ScaledGradientFlow,
        "observe",
        "change / step",
        "-change / step",
        partial(oracles.test_ecco, "zakharov", "divide", None),
    ),
    # adaptive flows
    (AdaptiveFlow, "rate", "increment / step", "increment", field("adam")),
    (AdaptiveFlow, "kick", "law(new, g, step)", "law(state, g, step)", library("adabelief")),
    (l2, "gradient", "+ times(", "- times(", library("rmsprop")),
    (
        l2,
        "value",
        "0.5 * w",
        "w",
        partial(adaptive.test_the_lyapunov_function_falls_along_the_flow, "adagrad"),
    ),
    (
        adaptive_module,
        "_begun",
        "state[ones] > 0",
        "state[ones] >= 0",
        adaptive.test_adams_field_begins_with_the_slope_over_its_size,
    ),
    (AdaGrad, "laws", "g * g", "1.1 * g * g", library("adagrad")),
    (AdaGrad, "displacement", "self.eps", "2 * self.eps", library("adagrad")),
    (RMSprop, "laws", "self.beta2", "0.99 * self.beta2", library("rmsprop")),
    (RMSprop, "displacement", "self.z_hat(s) + ", "self.z_hat(s) - ", library("rmsprop")),
    (adam_module, "towards", "return (target - leaf)", "return (target - 0.999 * leaf)", library("adam")),
    (Adam, "laws", '"m_weight"], self.beta1', '"m_weight"], self.beta2', library("adam")),
    (Adam, "laws", '"v_weight"], self.beta2', '"v_weight"], self.beta1', library("adam")),
    (Adam, "squared", "g * g", "g * s['m']", library("adam")),
    (Adam, "denominator", "self.z_hat(s) + ", "self.z_hat(s) - ", library("adam")),
    (
        Adam,
        "energy",
        "0.5 * kinetic",
        "-0.5 * kinetic",
        partial(adaptive.test_the_lyapunov_function_falls_along_the_flow, "adam"),
    ),
    (AMSGrad, "laws", "clamp(min=0.0)", "clamp(min=-1e-3)", library("amsgrad")),
    (AMSGrad, "z_hat", ' / weight(s, "v")', "", library("amsgrad")),
    (DiffGrad, "displacement", "torch.exp(-change)", "torch.exp(change)", table_5("diffgrad")),
    (
        DiffGrad,
        "denominator",
        ' / weight(s, "v").sqrt()',
        "",
        adaptive.test_diffgrad_adds_eps_after_the_correction_or_before_it,
    ),
    (DiffGrad, "rate", "self._still(state, evaluation)", "state", field("diffgrad")),
    (AdaMod, "displacement", "torch.minimum", "torch.maximum", table_5("adamod", beta3=0.9)),
    (AdaMod, "laws", "self.beta3", "self.beta2", library("adamod")),
    (AdaMod, "rates", 'n / weight(s, "m")', "n", library("adamod")),
    (AdaBelief, "squared", 'g - s["m"]', "g", library("adabelief")),
    (AdaBelief, "denominator", " + rows.column(self.eps)", "", table_5("adabelief")),
    (EAdam, "root", "self.eps / (1 - self.beta2)", "self.eps", table_5("eadam")),
    (
        EAdam,
        "z_hat",
        " * rows.column(1 - self.beta2)",
        "",
        partial(adaptive.test_z_hat_is_that_of_table_5, EAdam, "zakharov"),
    ),
    (AdaMomentum, "squared", 's["m"] * s["m"]', "g * g", table_5("adamomentum")),
    (MADGRAD, "displacement", 's["q_0"]', 's["q"]', library("madgrad")),
    (MADGRAD, "z_hat", "/ 3", "/ 2", library("madgrad")),
    (madgrad_module, "_weighted", 's["k"].sqrt()', 's["k"]', library("madgrad")),
    (
        RMSprop,
        "plain_rate",
        "lr / self.eps",
        "lr / self.eps**0.5",
        partial(adaptive.test_a_large_eps_leaves_momentum_sgd, RMSprop),
    ),
    # transforms, random numbers
    (decoupled_decay, "decayed", " * rows.steps(h, q)", "", library("adamw")),
    (EnergyProjection, "settle", "target / square", "square / target", ecdsep()),
    (
        EnergyProjection,
        "settle",
        "target / square, 1.0).sqrt()",
        "target / square, 1.0)",
        partial(transforms.test_projection_puts_the_energy_back, BornInfeld(-0.5, 2.0)),
    ),
    (
        MomentumRotation,
        "settle",
        "size / rows.norm(turned)",
        "size / size",
        partial(transforms.test_rotation_keeps_the_norm, 0.1),
    ),
    (IterateAveraging, "settle", "count == self.window", "count >= 2", transforms.test_averages_at_every_step),
    (
        transforms,
        "normal",
        "(-2 * ",
        "(-1.9 * ",
        partial(transforms.test_numbers_are_standard_normal_along_every_axis, "seeds"),
    ),
    (
        noise,
        "uniform",
        "(index ^ 0) * GOLDEN",
        "0 * index",
        partial(transforms.test_neighbours_are_not_correlated, "counters"),
    ),
    # the kernel
    (
        kernel,
        "commit",
        "pick(assessment.verdict.memory, carry.memory)",
        "assessment.verdict.memory",
        partial(kernel_tests.test_a_rejected_step_leaves_no_trace, GradientFlow(), ForwardEuler(), ()),
    ),
    (
        kernel,
        "commit",
        "pick(carry.t + assessment.h, carry.t)",
        "carry.t + assessment.h",
        partial(kernel_tests.test_a_rejected_step_leaves_no_trace, GradientFlow(), ForwardEuler(), ()),
    ),
]

COEFFICIENTS: list[tuple[Any, str, Any, Test]] = [
    (
        DormandPrince,
        "e",
        (*DormandPrince.e[:4], -DormandPrince.e[4], *DormandPrince.e[5:]),
        partial(integrators.test_error_estimate_shrinks_as_declared, DormandPrince),
    ),
    (
        DormandPrince,
        "b",
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784 + 1e-3, 11 / 84 - 1e-3),
        partial(integrators.test_a_linear_flow_meets_the_stability_polynomial, DormandPrince),
    ),
    (RK4, "b", (1 / 4, 1 / 4, 1 / 4, 1 / 4), partial(order, GradientFlow(), RK4())),
    (Heun, "e", (-1 / 4, 1 / 4), partial(integrators.test_error_estimate_is_the_local_error_of_euler, Heun)),
    (Heun, "a", ((1 / 2,),), partial(order, GradientFlow(), Heun())),
]


@pytest.mark.parametrize(
    ("owner", "name", "right", "wrong", "test"),
    [pytest.param(*row, id=f"{row[0].__name__}.{row[1]}: {row[3]}") for row in FORMULAS],
)
def test_a_wrong_formula_is_caught(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, right: str, wrong: str, test: Test
) -> None:
    test()
    monkeypatch.setattr(owner, name, mutated(owner, name, right, wrong))
    with pytest.raises(AssertionError):
        test()


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "test"),
    [pytest.param(*row, id=f"{row[0].__name__}.{row[1]}") for row in COEFFICIENTS],
)
def test_a_wrong_coefficient_is_caught(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, wrong: Any, test: Test
) -> None:
    test()
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        test()
