"""The step-size rules: closed forms, scripted errors, schedules, identities, and the symmetries that runs must have."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import CONTROLLERS, build, fits
from hypothesis import assume, example, given
from hypothesis import strategies as st
from together import together
from torch import Tensor

from flowopt import BadValue, Method, Problem, Status, minimize, problem
from flowopt.controllers.armijo import Armijo
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.growing import Growing
from flowopt.controllers.hypergradient import Hypergradient
from flowopt.controllers.lte import LTE
from flowopt.controllers.newton_step import NewtonStep
from flowopt.controllers.orthogonal import H_MAX, H_MIN, OrthogonalGradient
from flowopt.controllers.pi import PI
from flowopt.controllers.polyak import Polyak
from flowopt.controllers.stability_limited_lte import StabilityLimitedLTE
from flowopt.controllers.step_decay import StepDecay
from flowopt.controllers.stochastic_polyak import StochasticPolyak
from flowopt.core.parts import Controller
from flowopt.core.rows import evaluation, max_norm
from flowopt.core.state import Point, Step
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.runge_kutta import Heun
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.heavy_ball import HeavyBall


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def point(q: Tensor, f: float, grad: Tensor) -> Point:
    return Point({"q": q}, evaluation(torch.full((len(q),), f, dtype=q.dtype), grad), {"q": -grad})


def euler_step(g0: Tensor, g1: Tensor, h: float, f0: float = 1.0, f1: float = 0.5, q0: Tensor | None = None) -> Step:
    """A step of forward Euler from gradient g0 to gradient g1, with its error estimate h/2 (g0 - g1)."""
    q0 = torch.zeros_like(g0) if q0 is None else q0
    error = {"q": 0.5 * h * (g0 - g1)}
    size = torch.full((len(g0),), h, dtype=g0.dtype)
    return Step(point(q0, f0, g0), point(q0 - h * g0, f1, g1), size, error, max_norm(error), 1)


def with_errors(step: Step, errors: list[float]) -> Step:
    """The same step in as many rows, each with an error of its own."""
    count = len(errors)

    def repeated(at: Point) -> Point:
        assert at.rate is not None
        state = {"q": at.state["q"].expand(count, -1)}
        measured = evaluation(at.evaluation.value.expand(count), at.evaluation.grad.expand(count, -1))
        return Point(state, measured, {"q": at.rate["q"].expand(count, -1)})

    error = {"q": torch.tensor(errors, dtype=torch.float64).unsqueeze(-1).expand(-1, 2)}
    return Step(repeated(step.before), repeated(step.after), step.h.expand(count), error, max_norm(error), step.order)


G0, G1 = row(3.0, -1.0), row(1.0, 2.0)
PLAIN = euler_step(G0, G1, 0.1)
SCRIPT = [1e-3, 0.0, 1e150, math.inf, math.nan, 1e-300]


def next_h(controller: Controller, step: Step = PLAIN) -> list[float]:
    _, memory = controller.start(step.before)
    return controller.judge(step, memory).h.tolist()


# --- scripted errors ---


def test_lte_on_scripted_errors() -> None:
    h = next_h(LTE(0.01, h_max=2.0), with_errors(PLAIN, SCRIPT))
    assert h[0] == pytest.approx(0.1 * 0.01 / 1e-3, rel=1e-15)
    assert h[1] == 2.0
    assert 0 < h[2] == pytest.approx(0.1 * 0.01 / 1e150, rel=1e-15)
    assert h[3] == 0.0
    assert math.isnan(h[4])
    assert h[5] == 2.0


def test_stability_limited_lte_on_scripted_errors() -> None:
    h = next_h(StabilityLimitedLTE(0.01, h_max=2.0, safety=0.25), with_errors(PLAIN, SCRIPT))
    # the error is (e, e), so 2/L = h^2 |d| / (sqrt(2) e)
    stable = 0.25 * 0.1**2 * math.sqrt(10) / (math.sqrt(2) * 1e-3)
    assert h[0] == pytest.approx(min(0.1 * 0.01 / 1e-3, stable), rel=1e-14)
    assert h[1] == 2.0
    assert 0 < h[2] < 1e-140
    assert h[3] == 0.0
    assert h[4] == 0.1, "nothing is known, so the step stays"
    assert h[5] == 2.0


def test_stability_limited_lte_takes_the_smaller_bound() -> None:
    # error 1/2 h |dg|: eta h / |error|_inf = 2 eta / 3; |d|/|dg| = 2/L / 2 with |g0| = sqrt 10, |dg| = sqrt 13
    secant = 2 * math.sqrt(10 / 13)
    assert next_h(StabilityLimitedLTE(10.0, h_max=9.0, safety=0.3)) == pytest.approx([0.3 * secant * 0.1], rel=1e-14)
    assert next_h(StabilityLimitedLTE(1e-3, h_max=9.0, safety=0.3)) == pytest.approx([2e-3 / 3], rel=1e-14)
    assert next_h(StabilityLimitedLTE(10.0, h_max=0.01, safety=0.3)) == [0.01]


def test_stability_limited_lte_where_nothing_changes() -> None:
    still = euler_step(row(0.0, 0.0), row(0.0, 0.0), 0.1)
    assert next_h(StabilityLimitedLTE(1e-3, h_max=7.0), still) == [7.0]
    straight = euler_step(G0, G0, 0.1)  # no curvature at all
    assert next_h(StabilityLimitedLTE(1e-3, h_max=7.0), straight) == [7.0]


def test_pi_on_scripted_errors() -> None:
    control = PI(rtol=0.0, atol=1e-2, safety=0.9, factor_min=0.3, factor_max=4.0)
    step = with_errors(PLAIN, SCRIPT)
    _, memory = control.start(step.before)
    verdict = control.judge(step, memory)
    assert verdict.accept is not None
    assert verdict.accept.tolist() == [True, True, False, False, False, True]
    close = control.judge(with_errors(PLAIN, [0.99e-2, 1.01e-2]), {"previous": torch.ones(2, dtype=torch.float64)})
    assert close.accept is not None
    assert close.accept.tolist() == [True, False]
    steady = 0.1 * 0.9 * 0.1 ** (-0.7 / 2)
    assert verdict.h.tolist() == pytest.approx([steady, 0.4, 0.03, 0.03, 0.03, 0.4], rel=1e-14)


def test_pi_control_by_hand() -> None:
    control = PI(rtol=0.1, atol=0.01, safety=0.8)
    step = euler_step(G0, G1, 0.1, q0=row(2.0, -4.0))
    error = 0.05 * np.array([2.0, -3.0])
    scale = 0.01 + 0.1 * np.maximum([2.0, 4.0], np.abs([2 - 0.3, -4 + 0.1]))
    e = math.sqrt(np.mean((error / scale) ** 2))
    assert e < 1
    verdict = control.judge(step, {"previous": torch.tensor([0.3], dtype=torch.float64)})
    assert float(verdict.h) == pytest.approx(0.1 * 0.8 * e ** (-0.7 / 2) * 0.3 ** (0.4 / 2), rel=1e-14)
    assert float(verdict.memory["previous"]) == pytest.approx(e, rel=1e-14)
    strict = PI(rtol=0.01, atol=0.001, safety=0.8)
    rejected = strict.judge(step, {"previous": torch.tensor([0.3], dtype=torch.float64)})
    assert not rejected.accept
    assert float(rejected.h) == pytest.approx(0.1 * 0.8 * (10 * e) ** (-1 / 2), rel=1e-13)


def test_pi_starts_with_one_percent_of_the_state() -> None:
    h, _ = PI(rtol=1.0, atol=1e-9).start(point(row(2.0, -4.0), 1.0, row(3.0, -1.0)))
    scaled = np.array([3.0, 1.0]) / np.array([2.0, 4.0])
    assert float(h) == pytest.approx(0.01 / math.sqrt(np.mean(scaled**2)), rel=1e-8)
    h, _ = PI(h0=0.5, h_max=0.2).start(point(row(2.0, -4.0), 1.0, row(3.0, -1.0)))
    assert float(h) == 0.2
    h, _ = PI().start(point(row(0.0, 0.0), 1.0, row(3.0, -1.0)))
    assert float(h) == 1e-6


def test_pi_holds_the_error_near_its_tolerance() -> None:
    chosen = Method(GradientFlow(), Heun(), PI(rtol=0.0, atol=1e-4))
    run = minimize("rosenbrock", method=chosen, max_steps=400)
    settled = run.error[100:][run.accepted[100:]] / math.sqrt(2)
    assert np.all(settled < 1e-4 * math.sqrt(2))
    assert np.median(settled) > 1e-5
    assert 0 < run.rejected[0] < 40


@given(
    size=st.floats(-12, 12).map(lambda k: 10**k),
    h=st.floats(-6, 3).map(lambda k: 10**k),
    which=st.sampled_from([LTE(0.1), StabilityLimitedLTE(0.1), PI()]),
)
def test_steps_stay_positive_and_finite_for_any_error(size: float, h: float, which: Any) -> None:
    step = with_errors(euler_step(G0, G1, h), [size])
    (new,) = next_h(which, step)
    assert 0 < new < math.inf
    assert new <= which.h_max


VECTORS = st.lists(st.floats(-10, 10), min_size=2, max_size=2).map(lambda v: row(*v))


@pytest.mark.parametrize("kind", CONTROLLERS, ids=lambda part: part.name)
@given(g0=VECTORS, g1=VECTORS, h=st.floats(1e-4, 10))
def test_every_rule_gives_a_positive_finite_step_where_f_is_convex(
    kind: type[Controller], g0: Tensor, g1: Tensor, h: float
) -> None:
    assume(float(((g0 - g1) * g0).sum()) > 1e-3)
    assume(float(g1.norm()) > 1e-3)
    (new,) = next_h(build(kind), euler_step(g0, g1, h, f0=20.0, f1=10.0))
    assert 0 < new < math.inf


# --- closed forms ---


def test_fixed() -> None:
    assert next_h(Fixed(0.1)) == [0.1]


def test_first_steps() -> None:
    """ECCO's rule with the gradient before the start taken as zero; the others as their parameters say."""
    at = point(row(0.0, 0.0), 4.0, row(3.0, -1.0))
    for rule, h in (
        (LTE(0.3), 0.2),
        (LTE(30.0), 1.0),
        (StabilityLimitedLTE(0.3), 0.2),
        (Armijo(h0=0.7), 0.7),
        (BarzilaiBorwein(h0=0.7), 0.7),
        (Hypergradient(0.7), 0.7),
        (NewtonStep(0.7), 0.7),
        (NewtonStep(0.7, K=3), 0.7),
        (OrthogonalGradient(0.7), 0.7),
        (OrthogonalGradient(1e-12), H_MIN),
        (Polyak(f_star=1.0), 0.3),
        (Polyak(f_star=1.0, scale=0.5), 0.15),
        (Polyak(f_star=1.0, h_max=0.1), 0.1),
        (StepDecay(0.7), 0.7),
        (Growing(0.7), 0.7),
        (Growing(0.7, h_max=0.2), 0.2),
        (StochasticPolyak(f_star=1.0), 0.3),
        (StochasticPolyak(f_star=1.0, growth=3.0, h0=0.05), 0.15),
        (StochasticPolyak(f_star=1.0, h_max=0.1), 0.1),
    ):
        assert float(rule.start(at)[0]) == pytest.approx(h, rel=1e-15), rule


def test_lte_by_hand() -> None:
    assert next_h(LTE(0.06)) == pytest.approx([2 * 0.06 / 3.0], rel=1e-15)


@pytest.mark.parametrize(("variant", "expected"), [(1, 10 / (10 - 1)), (2, (10 - 1) / 13)])
def test_barzilai_borwein_by_hand(variant: Any, expected: float) -> None:
    # |g0|^2 = 10, <g0, g1> = 1, |g0 - g1|^2 = 13
    assert next_h(BarzilaiBorwein(variant)) == pytest.approx([0.1 * expected], rel=1e-14)


def test_barzilai_borwein_where_the_curvature_is_not_positive() -> None:
    for g1 in (row(4.0, -1.5), G0):
        assert next_h(BarzilaiBorwein(grow=3.0), euler_step(G0, g1, 0.1)) == pytest.approx([0.3], rel=1e-15)
    assert next_h(BarzilaiBorwein(grow=3.0, h_max=0.2), euler_step(G0, G0, 0.1)) == [0.2]
    assert next_h(BarzilaiBorwein(h_min=5.0)) == [5.0]


def test_hypergradient_by_hand() -> None:
    cosine = 1 / math.sqrt(10 * 5)
    assert next_h(Hypergradient(0.1, hyper_lr=0.2, rule="additive")) == pytest.approx([0.1 + 0.2 * 1], rel=1e-14)
    assert next_h(Hypergradient(0.1, hyper_lr=0.2)) == pytest.approx([0.1 * (1 + 0.2 * cosine)], rel=1e-14)


def test_polyak_by_hand() -> None:
    assert next_h(Polyak(f_star=0.25)) == pytest.approx([0.25 / 5], rel=1e-15)
    assert next_h(Polyak(f_star=0.6)) == [0.0]
    run = minimize("booth", [0.0, 0.0], "polyak", f_star=100.0)
    assert run.status.tolist() == [Status.STEP_TOO_SMALL]


def test_polyak_where_there_is_no_slope() -> None:
    """A batch that teaches nothing moves nothing, far from f_star too, where the formula says 0 times infinity."""
    flat = euler_step(G0, row(0.0, 0.0), 0.1)
    assert next_h(Polyak()) == [0.1]
    assert next_h(Polyak(), flat) == [0.0]
    assert next_h(Polyak(f_star=0.5), flat) == [0.0]
    assert next_h(StochasticPolyak(), flat) == [0.0]


def test_stochastic_polyak_goes_on_after_a_batch_without_loss() -> None:
    """Such a batch moves nothing, and the step after it grows from the last one that moved something."""
    control = StochasticPolyak(f_star=0.25, scale=2.0, growth=1.5, h0=0.01, h_max=0.04)
    _, memory = control.start(PLAIN.before)  # 0.015
    found = []
    for f1 in (0.5, 0.2, 0.25, 0.5, 0.5, 0.2501):
        verdict = control.judge(euler_step(G0, G1, 0.1, f1=f1), memory)
        memory = verdict.memory
        found.append(float(verdict.h))
    assert found == pytest.approx([0.0225, 0, 0, 0.03375, 0.04, 2 * 1e-4 / 5], rel=1e-12)


@pytest.mark.parametrize("every", [1, 3])
def test_step_decay_by_hand(every: int) -> None:
    control = StepDecay(0.8, factor=0.5, every=every)
    h, memory = control.start(PLAIN.before)
    found = []
    for _ in range(8):
        found.append(float(h))
        h, memory, accept = control.judge(euler_step(G0, G1, float(h)), memory)
        assert accept is None
    assert found == [0.8 * 0.5 ** (k // every) for k in range(8)]


def test_growing_by_hand() -> None:
    assert next_h(Growing(growth=3.0)) == pytest.approx([0.3], rel=1e-15)
    assert next_h(Growing(growth=3.0, h_max=0.25)) == [0.25]
    assert next_h(Growing(growth=1.0)) == [0.1]
    assert next_h(Growing(growth=math.inf, h_max=7.0)) == [7.0]


@given(
    part=st.floats(-2, 4) | st.sampled_from([math.nan, math.inf, -math.inf]),
    c=st.floats(1e-6, 0.99),
    shrink=st.floats(0.01, 0.99),
    grow=st.floats(1, 10),
)
@example(part=0.9, c=0.1, shrink=0.5, grow=2.0)
@example(part=1.1, c=0.1, shrink=0.5, grow=2.0)
def test_armijo_accepts_if_and_only_if_f_fell_enough(part: float, c: float, shrink: float, grow: float) -> None:
    """Where f falls by `part` of what is asked for, c h |g|^2."""
    assume(not abs(part - 1) < 1e-3)
    control = Armijo(c1=c, backtrack=shrink, grow=grow)
    verdict = control.judge(euler_step(G0, G1, 0.1, f0=1.0, f1=1.0 - part * c * 0.1 * 10), {})
    assert verdict.accept is not None
    enough = 1 < part < math.inf  # a value that is no number is no success
    assert bool(verdict.accept) == enough
    assert float(verdict.h) == pytest.approx(0.1 * (grow if enough else shrink), rel=1e-15)


# --- ELRA ---


def elra_h(step: Step = PLAIN, **parameters: Any) -> list[float]:
    return next_h(OrthogonalGradient(**parameters), step)


def test_orthogonal_gradient_by_hand() -> None:
    assert elra_h() == pytest.approx([0.1 * 10 / 9], rel=1e-15)
    assert elra_h(kappa=0.9) == pytest.approx([0.09 * 10 / 9], rel=1e-15)
    assert elra_h(kappa="auto") == pytest.approx([0.1 * 10 / 9 * (1 + 0.15 / 1.01)], rel=1e-15)


def test_orthogonal_gradient_is_orthogonal() -> None:
    """What the rule is for: along a parabola the step it finds would have made the gradients orthogonal."""
    hessian = torch.tensor([[2.0, 0.5], [0.5, 7.0]], dtype=torch.float64)
    step = euler_step(G0, G0 - 0.1 * G0 @ hessian, 0.1)
    (h,) = elra_h(step)
    assert float((G0 * (G0 - h * G0 @ hessian)).sum()) == pytest.approx(0, abs=1e-13)


def test_orthogonal_gradient_grows_where_the_curvature_is_not_positive() -> None:
    for g1 in (row(4.0, -1.5), G0):
        assert elra_h(euler_step(G0, g1, 0.1), gamma_max=50.0) == pytest.approx([5.0], rel=1e-15)
    assert elra_h(euler_step(G0, row(2.9, -1.0), 0.1), gamma_max=2.0) == pytest.approx([0.2], rel=1e-15)
    assert elra_h(euler_step(G0, G0, 0.1), kappa="auto", gamma_max=2.0) == pytest.approx([0.2], rel=1e-15)


def test_orthogonal_gradient_stays_in_its_limits() -> None:
    assert elra_h(euler_step(G0, G0, 1e5)) == [H_MAX]
    assert elra_h(euler_step(G0, -1e9 * G0, 0.1)) == [H_MIN]


def test_crop_and_warmup_bound_the_move() -> None:
    size = math.sqrt(5)  # of the new gradient
    assert elra_h(crop=0.1) == pytest.approx([0.1 / size], rel=1e-15)
    assert elra_h(crop=100.0) == elra_h()
    assert elra_h(warmup=1.0) == pytest.approx([1.0 / size], rel=1e-15)
    assert elra_h(warmup=1e-9) == elra_h()
    assert elra_h(warmup=1.0, crop=0.5) == pytest.approx([0.5 / size], rel=1e-15), "the crop has the last word"
    first, _ = OrthogonalGradient(1.0, crop=0.1).start(PLAIN.before)
    assert float(first) == pytest.approx(0.1 / math.sqrt(10), rel=1e-15)


@pytest.mark.parametrize(("formula", "slope"), [("corrected", 0.1 * 10), ("printed", 0.1 * math.sqrt(10))])
@pytest.mark.parametrize("f1", [1.2, 5.0, 1e300])
def test_retrace_goes_back_to_the_bottom_of_a_parabola(formula: Any, slope: float, f1: float) -> None:
    control = OrthogonalGradient(retrace_formula=formula)
    step = euler_step(G0, G1, 0.1, f0=1.0, f1=f1)
    _, memory = control.start(step.before)
    verdict = control.judge(step, memory)
    assert not verdict.accept
    expected = 0.5 * 0.1 * slope / (f1 - 1.0 + slope)
    assert float(verdict.h) == pytest.approx(max(expected, H_MIN), rel=1e-14)


@pytest.mark.parametrize("f1", [math.nan, math.inf])
def test_retrace_from_where_f_is_not_a_number(f1: float) -> None:
    control = OrthogonalGradient()
    step = euler_step(G0, G1, 0.1, f1=f1)
    _, memory = control.start(step.before)
    verdict = control.judge(step, memory)
    assert not verdict.accept
    assert float(verdict.h) == pytest.approx(0.01)


def test_retrace_where_f_may_stay() -> None:
    control = OrthogonalGradient()
    for f0, good, bad in ((1.0, 1.0999, 1.1001), (-1.0, -0.9001, -0.8999)):
        start = euler_step(G0, G1, 0.1, f0=f0)
        _, memory = control.start(start.before)
        for f1 in (good, bad):
            verdict = control.judge(euler_step(G0, G1, 0.1, f0=f0, f1=f1), memory)
            assert bool(verdict.accept) == (f1 == good)


def test_retrace_by_epochs() -> None:
    """The bound is that of the start until an epoch is over, then mean + 5 sigma of the last one."""
    control = OrthogonalGradient(retrace="epoch", epoch_length=4)
    _, memory = control.start(PLAIN.before)
    bounds = []
    for f1 in (0.5, 0.7, 0.6, 0.8, 0.2, 0.2, 0.2, 0.2):
        bounds.append(float(memory["bound"]))
        memory = control.judge(euler_step(G0, G1, 0.1, f1=f1), memory).memory
    first = np.array([0.5, 0.7, 0.6, 0.8])
    assert bounds[:4] == pytest.approx([1.1] * 4)
    assert bounds[4:] == pytest.approx([first.mean() + 5 * first.std()] * 4, rel=1e-12)
    assert float(memory["bound"]) == pytest.approx(0.2, rel=1e-6)


def test_statistics_of_an_epoch_in_single_precision() -> None:
    """Losses near 2 that vary in the fourth digit: the bound must not fall to their mean."""
    losses = 2 + 1e-4 * torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    control = OrthogonalGradient(retrace="epoch", epoch_length=200)
    g0, g1 = G0.float(), G1.float()
    _, memory = control.start(point(torch.zeros_like(g0), 2.0, g0))
    for loss in losses.tolist():
        memory = control.judge(euler_step(g0, g1, 0.1, f0=2.0, f1=loss), memory).memory
    sigma = (memory["bound"].double() - losses.mean()) / 5
    assert float(sigma) == pytest.approx(float(losses.std(correction=0)), rel=1e-2)


def test_without_retrace_nothing_is_rejected() -> None:
    control = OrthogonalGradient(retrace=None)
    assert not control.rejects
    assert control.judge(euler_step(G0, G1, 0.1, f1=1e9), {}).accept is None


def test_retrace_by_epochs_needs_an_epoch() -> None:
    for parameters in ({"retrace": "epoch"}, {"epoch_length": 5}):
        with pytest.raises(BadValue, match="go together"):
            OrthogonalGradient(**parameters)  # type: ignore[arg-type]


def test_one_step_is_the_same_for_elra_barzilai_borwein_and_tlr() -> None:
    assert elra_h() == pytest.approx(next_h(BarzilaiBorwein(1)), rel=1e-14)
    assert elra_h() == pytest.approx(next_h(NewtonStep(0.1, gamma=1.0)), rel=1e-14)


@given(g0=VECTORS, g1=VECTORS, h=st.floats(1e-4, 1))
def test_elra_barzilai_borwein_and_tlr_are_one_rule(g0: Tensor, g1: Tensor, h: float) -> None:
    fall = float(((g0 - g1) * g0).sum())
    assume(fall > 1e-2)
    assume(float((g0 * g0).sum()) / fall > 1e-2)
    step = euler_step(g0, g1, h)
    (elra,) = elra_h(step)
    expected = h * float((g0 * g0).sum()) / fall
    assert elra == pytest.approx(expected, rel=1e-12)
    assert next_h(BarzilaiBorwein(1), step) == pytest.approx([elra], rel=1e-10)
    assert next_h(NewtonStep(h, gamma=1.0, max_factor=1e9), step) == pytest.approx([elra], rel=1e-10)


def test_runs_of_elra_barzilai_borwein_and_tlr_are_one_run() -> None:
    bowl = problem("quadratic", spectrum=(1.0, 3.0, 10.0))
    common = {"problem": bowl, "x0": [1.0, -2.0, 0.5], "max_steps": 15, "gtol": 0.0}
    elra = minimize(**common, method="elra", alpha0=0.05, retrace=None)
    bb = minimize(**common, method="bb", h0=0.05)
    tlr = minimize(**common, method="tlr", lr=0.05, gamma=1.0)
    for other in (bb, tlr):
        assert other.h[1:] == pytest.approx(elra.h[1:], rel=1e-9)
        assert other.x == pytest.approx(elra.x, rel=1e-9, abs=1e-12)


# --- TLR ---


def test_newton_step_by_hand() -> None:
    # <u, g1> / <u, g0 - g1> with u along g0: 1 / 9
    assert next_h(NewtonStep(0.1, gamma=0.3)) == pytest.approx([0.1 * (1 + 0.3 / 9)], rel=1e-14)


def test_newton_step_guard() -> None:
    rising = euler_step(G0, row(4.0, -1.5), 0.1)  # <u, g0 - g1> < 0
    falling = euler_step(G0, -20 * G0, 0.1)  # factor 1 - 0.9 * 20/21 > 0
    backwards = euler_step(G0, row(-1.0, -10.0), 0.1)
    assert next_h(NewtonStep(0.1), rising) == [0.1]
    assert next_h(NewtonStep(0.1, gamma=0.1), rising) == [0.1], "also where the factor would be positive"
    ratio = 13.5 / (10 - 13.5)
    assert next_h(NewtonStep(0.1, gamma=0.3, guard=False), rising) == pytest.approx(
        [0.1 * (1 + 0.3 * ratio)], rel=1e-13
    )
    assert next_h(NewtonStep(0.1, gamma=0.9), falling) == pytest.approx([0.1 * (1 - 0.9 * 20 / 21)], rel=1e-13)
    assert next_h(NewtonStep(0.1, gamma=0.3), backwards) == pytest.approx([0.1 * (1 + 0.3 * 7 / 3)], rel=1e-13)
    assert next_h(NewtonStep(0.1, gamma=2.0), falling) == [0.1], "a negative factor keeps the rate"
    negative = next_h(NewtonStep(0.1, gamma=2.0, guard=False), falling)
    assert negative == pytest.approx([0.1 * (1 - 2 * 20 / 21)], rel=1e-13)
    assert negative[0] < 0


def test_newton_step_is_bounded() -> None:
    flat = euler_step(G0, 0.999 * G0, 0.1)
    assert next_h(NewtonStep(0.1, gamma=1.0), flat) == pytest.approx([10.0], rel=1e-13)
    assert next_h(NewtonStep(0.1, gamma=1.0, max_factor=3.0), flat) == pytest.approx([0.3], rel=1e-13)
    assert next_h(NewtonStep(0.1, gamma=1.0, max_factor=1e9), flat) == pytest.approx([100.0], rel=1e-9)


def changes(**parameters: Any) -> list[int]:
    """The attempts after which the rate of a TLR run on a bowl is another one."""
    bowl = problem("quadratic", spectrum=(1.0, 10.0))
    run = minimize(bowl, [1.0, 1.0], "tlr", max_steps=41, gtol=0.0, lr=1e-3, gamma=1e-3, **parameters)
    h = run.h[1:, 0]
    return (1 + np.flatnonzero(h[1:] != h[:-1])).tolist()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_schedule_in_step(k: int) -> None:
    """Averages over K steps are compared first after 2K; with K = 1 the two gradients of the first step will do."""
    first = 1 if k == 1 else 2 * k
    assert changes(K=k) == list(range(first, 41, k))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_schedule_lagged(k: int) -> None:
    """As the authors' code: it looks after steps K+1, 2K+1, ..., and first changes the rate after step 3K+1."""
    assert changes(K=k, schedule="lagged") == list(range(3 * k + 1, 41, k))


@together(("p", "batches", "k"), [(0.2, 17, 3), (0.2, 4, 1), (0.33, 60, 19), (1.0, 5, 5)])
def test_period_from_an_epoch(p: float, batches: int, k: int) -> None:
    assert NewtonStep(0.1, p=p, batches_per_epoch=batches).period == k == max(1, int(p * batches))


def test_period_is_given_once() -> None:
    assert NewtonStep(0.1).period == 1
    assert NewtonStep(0.1, K=4).period == 4
    with pytest.raises(BadValue, match="not both"):
        NewtonStep(0.1, K=4, batches_per_epoch=10)


# --- what goes together ---


def test_which_controllers_go_with_which_schemes() -> None:
    for kind in CONTROLLERS:
        assert fits(GradientFlow(), ForwardEuler(), build(kind)), kind.name
    offered = HeavyBall.provides | SymplecticEuler.provides
    over_momentum = {kind.name for kind in CONTROLLERS if fits(HeavyBall(), SymplecticEuler(), build(kind))}
    assert over_momentum == {kind.name for kind in CONTROLLERS if kind.requires <= offered}
    for kind in CONTROLLERS:
        assert fits(GradientFlow(), BacktrackingEuler(), build(kind)), kind.name
    assert not fits(HeavyBall(), BacktrackingEuler(), Fixed(0.1)), "there is no descent to search for"
    assert over_momentum >= {"fixed", "growing", "hypergradient", "newton_step", "step_decay"}
    assert not over_momentum & {"armijo", "lte", "orthogonal_gradient", "pi", "polyak"}


# --- symmetries ---


def objective(x: Tensor) -> Tensor:
    """Smooth, convex, skew, minimum 1 at 0."""
    a, b = x.unbind(-1)
    return 1 + a**2 + 2 * b**2 + 0.5 * a * b + 0.25 * a**4


def gradient(x: Tensor) -> Tensor:
    a, b = x.unbind(-1)
    return torch.stack((2 * a + 0.5 * b + a**3, 4 * b + 0.5 * a), -1)


def transformed(scale: float = 1.0, factor: float = 1.0, turn: Tensor | None = None) -> Problem:
    """factor f(turn^T x / scale); powers of two leave every digit."""
    back = torch.eye(2, dtype=torch.float64) if turn is None else turn

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        y = (x if turn is None else x @ back) / scale
        g = gradient(y) * (factor / scale)
        return factor * objective(y), g if turn is None else g @ back.T

    def value(x: Tensor) -> Tensor:
        return factor * objective((x if turn is None else x @ back) / scale)

    return Problem("transformed", value, 2, value_and_gradient=value_and_gradient)


RUNS: dict[str, tuple[dict[str, float], dict[str, float], dict[str, float]]] = {
    # method: parameters, their powers of the unit of length, their powers of the unit of f
    "gd": ({"lr": 0.05}, {"lr": 2}, {"lr": -1}),
    "gdm": ({"lr": 0.05}, {"lr": 2}, {"lr": -1}),
    "nesterov": ({"lr": 0.05}, {"lr": 2}, {"lr": -1}),
    "elra": ({"alpha0": 0.01}, {"alpha0": 2}, {"alpha0": -1}),
    "tlr": ({"lr": 0.01}, {"lr": 2}, {"lr": -1}),
    "tlr_gdm": ({"lr": 0.01}, {"lr": 2}, {"lr": -1}),
    "hypergradient": ({"lr": 0.01, "hyper_lr": 0.1}, {"lr": 2}, {"lr": -1}),
    "armijo": ({"h0": 1.0}, {"h0": 2}, {"h0": -1}),
    "polyak": ({"f_star": 0.5}, {}, {"f_star": 1}),
    "sps": ({"f_star": 0.5, "h0": 0.01}, {"h0": 2}, {"f_star": 1, "h0": -1}),
    "sls": ({"h0": 1.0, "h_max": 2.0}, {"h0": 2, "h_max": 2}, {"h0": -1, "h_max": -1}),
    "bb": ({"h0": 0.01}, {"h0": 2}, {"h0": -1}),
    "newton": ({"dt": 0.5}, {}, {}),
    "ecco_stable": ({"eta": 0.1, "h_max": 1.0}, {"eta": 1, "h_max": 2}, {"h_max": -1}),
    "flow": ({"rtol": 1e-4, "atol": 1e-5}, {"atol": 1}, {}),
}
DIRECTED = {"ecco_stable", "flow"}
"""Their errors are measured coordinate by coordinate, so they know directions."""

STARTS = st.tuples(st.floats(-2, 2), st.floats(-2, 2)).filter(lambda x: max(map(abs, x)) > 0.1)


@pytest.mark.parametrize("name", RUNS)
@given(x0=STARTS, k=st.integers(-4, 4))
def test_runs_do_not_depend_on_the_unit_of_length(name: str, x0: tuple[float, float], k: int) -> None:
    parameters, powers, _ = RUNS[name]
    scale = 4.0**k
    one = minimize(transformed(), x0, name, max_steps=8, gtol=0.0, **parameters)
    scaled = {parameter: value * scale ** powers.get(parameter, 0) for parameter, value in parameters.items()}
    other = minimize(transformed(scale=scale), np.array(x0) * scale, name, max_steps=8, gtol=0.0, **scaled)
    assert np.array_equal(other.x, one.x * scale)


@pytest.mark.parametrize("name", RUNS)
@given(x0=STARTS, k=st.integers(-4, 4))
def test_runs_do_not_depend_on_the_unit_of_f(name: str, x0: tuple[float, float], k: int) -> None:
    """A larger f is the same flow in a shorter time."""
    parameters, _, powers = RUNS[name]
    factor = 4.0**k
    one = minimize(transformed(), x0, name, max_steps=8, gtol=0.0, **parameters)
    scaled = {parameter: value * factor ** powers.get(parameter, 0) for parameter, value in parameters.items()}
    other = minimize(transformed(factor=factor), x0, name, max_steps=8, gtol=0.0, **scaled)
    assert np.array_equal(other.x, one.x)


@given(x0=STARTS, k=st.integers(-4, 4))
def test_energy_conserving_descent_does_not_feel_the_unit_of_f(x0: tuple[float, float], k: int) -> None:
    one = minimize(transformed(), x0, "ecdsep", max_steps=8)
    other = minimize(transformed(factor=4.0**k), x0, "ecdsep", max_steps=8)
    assert np.array_equal(other.x, one.x)
    slow = minimize(transformed(), x0, "bbi", max_steps=8)
    fast = minimize(transformed(factor=4.0**k), x0, "bbi", max_steps=8, dt=1e-2 / 2.0**k)
    assert np.array_equal(fast.x, slow.x)


def turned_run(name: str, x0: tuple[float, float], angle: float, **parameters: Any) -> tuple[Any, Any]:
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    one = minimize(transformed(), x0, name, max_steps=6, gtol=0.0, **parameters)
    other = minimize(transformed(turn=turn), turn.numpy() @ x0, name, max_steps=6, gtol=0.0, **parameters)
    return one.x @ turn.numpy().T, other.x


@pytest.mark.parametrize("name", sorted(set(RUNS) - DIRECTED))
@given(x0=STARTS, angle=st.floats(0, 2 * math.pi))
def test_runs_turn_with_the_problem(name: str, x0: tuple[float, float], angle: float) -> None:
    expected, got = turned_run(name, x0, angle, **RUNS[name][0])
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["ecdsep", "ecdsep_strang", "bbi"])
@given(x0=STARTS, angle=st.floats(0, 2 * math.pi))
def test_hamiltonian_runs_turn_with_the_problem(name: str, x0: tuple[float, float], angle: float) -> None:
    quiet = {"added_energy": 0.5} if name == "bbi" else {"nu": 0.0, "delta_energy": 0.5}
    expected, got = turned_run(name, x0, angle, **quiet)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", sorted(DIRECTED))
def test_errors_by_coordinate_know_directions(name: str) -> None:
    expected, got = turned_run(name, (1.0, 0.7), 0.6, **RUNS[name][0])
    assert np.abs(got - expected).max() > 1e-3
