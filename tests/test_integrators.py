"""The schemes: order, cost, error estimates, symplecticity, energy over long times, reversibility, stability."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import INTEGRATORS, SYSTEMS, Measured, build, fits, in_steps, walk
from scipy.integrate import RK45, solve_ivp
from together import together
from torch import Tensor

from flowopt import Method, Problem, Status, minimize, problem
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.growing import Growing
from flowopt.controllers.pi import PI
from flowopt.core.parts import Integrator, System
from flowopt.core.rows import max_norm
from flowopt.core.state import Point, Rate, State
from flowopt.integrators import implicit
from flowopt.integrators._krylov import gmres
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.runge_kutta import RK4, DormandPrince, Heun
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.systems.madgrad import MADGRAD
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow
from flowopt.transforms.energy_projection import EnergyProjection


def valley(quartic: float, ripples: float) -> Measured:
    """3 + x^2 + x y + 3/2 y^2 + quartic x^4/4 + ripples (sin 10 x + sin(10 y + 1))/100, convex for ripples <= 1."""

    def function(q: Tensor) -> tuple[Tensor, Tensor]:
        x, y = q.unbind(-1)
        u, v = 10 * x, 10 * y + 1
        f = 3 + x * x + x * y + 1.5 * y * y + quartic * x**4 / 4 + ripples * (u.sin() + v.sin()) / 100
        dx = 2 * x + y + quartic * x**3 + ripples * u.cos() / 10
        return f, torch.stack((dx, x + 3 * y + ripples * v.cos() / 10), -1)

    def hessian(q: Tensor) -> Tensor:
        x, y = q.unbind(-1)
        one = torch.ones_like(x)
        xx = 2 + 3 * quartic * x * x - ripples * (10 * x).sin()
        return torch.stack((xx, one, one, 3 - ripples * (10 * y + 1).sin()), -1).reshape(-1, 2, 2)

    return Measured(function, hessian)


SMOOTH, RIPPLED = valley(quartic=1.0, ripples=0.0), valley(quartic=0.0, ripples=1.0)


def objective_for(system: System) -> Measured:
    """Where a flow contracts, Dormand-Prince's leading error on a smooth function is so small that its order shows only
    below rounding; so there are ripples, but for Newton's flow, whose linear solve rounds more.
    """
    return SMOOTH if isinstance(system, NewtonFlow) else RIPPLED


START = {
    "q": torch.tensor([[0.6, 0.3], [0.7, 0.4], [0.5, 0.5], [0.4, 0.6], [0.9, 0.2]], dtype=torch.float64),
    "p": torch.tensor([[0.4, -0.7], [0.1, 0.6], [-0.3, 0.2], [0.5, 0.5], [-0.6, -0.4]], dtype=torch.float64),
    "clock": torch.ones(5, 1, dtype=torch.float64),  # later than the singular friction of Nesterov's flow at t = 0
}
# memories of the adaptive flows: they have begun, and v_max and AdaMod's s are away from the kinks
START |= {
    "m": 0.8 * START["p"] + 0.5,
    "v": START["q"] + 0.5,
    "v_max": 2 * START["q"] + 2,
    "s": 0.1 * START["p"] + 0.2,
    "m_weight": torch.full((5, 1), 0.6, dtype=torch.float64),
    "v_weight": torch.full((5, 1), 0.7, dtype=torch.float64),
    "k": torch.full((5, 1), 3.0, dtype=torch.float64),
}
"""Five rows, so that an order is not judged where two error terms happen to cancel."""


def example(system: type[System]) -> System:
    """With its defaults; an adaptive flow with time constants that its position can feel."""
    given = {"step": 1.0, "beta1": 0.5, "beta2": 0.8, "beta3": 0.7}
    known = {name: value for name, value in given.items() if hasattr(system, name)}
    return build(system, **(known if issubclass(system, AdaptiveFlow) else {})).continuous()


# normalise="max" is left out: its field has a kink where another coordinate becomes the largest
EXAMPLES: list[System] = [
    *map(example, SYSTEMS),
    ScaledGradientFlow("identity"),
    ScaledGradientFlow("curvature"),
    ScaledGradientFlow("limit", normalise="mean"),
    SeparableHamiltonian(exponent=1.7, F0=-0.3, s=0, weight_decay=0.2),
    HeavyBall(mass=0.7, friction=0.4),
    BornInfeld(v0=-0.5, added_energy=0.8),
    NewtonFlow(damping=0.5),
    MADGRAD(step=1.0, beta1=0.5, dual_averaging=False),
]
# an adaptive flow is so smooth that the error of Dormand-Prince is lost in rounding before its order shows
PAIRS = [
    (system, build(integrator))
    for system in EXAMPLES
    for integrator in INTEGRATORS
    if fits(system, build(integrator), Fixed(0.1))
    and not (isinstance(system, AdaptiveFlow) and integrator is DormandPrince)
]


def begin_at(system: System) -> State:
    """The system's own start, with moving leaves from START."""
    q = START["q"]
    measure = objective_for(system)
    state = system.start(q, measure(q), measure)
    return {name: START.get(name, leaf) for name, leaf in state.items()}


def step(system: System, integrator: Integrator, state: State, h: float | Tensor, measure: Any = None) -> State:
    """One step, measured before and after."""
    measure = measure or objective_for(system)
    h = torch.as_tensor(h, dtype=state["q"].dtype).expand(len(state["q"]))
    before = measure(state["q"])
    field = system.rate(state, before, measure) if integrator.uses_rate else None
    trial = integrator.move(system, Point(state, before, field), h, measure).trial
    after = measure(trial["q"])
    return system.observe(integrator.complete(system, trial, after, h), after, h, measure)


def as_published(system: AdaptiveFlow, state: State, h: float) -> State:
    """One step of symplectic Euler as the system means it: by the optimizer with such a step, in its units."""
    published, units = in_steps(system, h)
    scaled = {name: leaf * units.get(name, 1.0) for name, leaf in state.items()}
    after = step(published, SymplecticEuler(), scaled, published.step)
    return {name: leaf / units.get(name, 1.0) for name, leaf in after.items()}


def rate(system: System, state: State) -> Rate:
    measure = objective_for(system)
    return system.rate(state, measure(state["q"]), measure)


def flat(system: System, state: State) -> np.ndarray:
    return np.concatenate([state[name].numpy().ravel() for name in rate(system, state)])


def exact(system: System, state: State, t: float) -> np.ndarray:
    """The flow itself, by SciPy to nearly all digits."""
    moving = rate(system, state)
    ends = np.cumsum([0, *(leaf.numel() for leaf in moving.values())])

    def unflat(y: np.ndarray) -> State:
        spans = zip(moving, ends[:-1], ends[1:], strict=True)
        return state | {name: torch.from_numpy(y[a:b].copy()).reshape(moving[name].shape) for name, a, b in spans}

    def field(_: float, y: np.ndarray) -> np.ndarray:
        return np.concatenate([leaf.numpy().ravel() for leaf in rate(system, unflat(y)).values()])

    solution = solve_ivp(field, (0, t), flat(system, state), method="DOP853", rtol=3e-14, atol=1e-15)
    assert solution.success
    return solution.y[:, -1]


def slopes(errors: list[float] | Tensor) -> np.ndarray:
    """Powers of h at which errors of steps h, h/2, h/4, ... shrink."""
    return -np.diff(np.log2(np.asarray(errors)))


@cache
def reference(system: System) -> tuple[State, float, np.ndarray]:
    """A start, half the time in which the field changes by as much as itself, and the exact state then."""
    state = begin_at(system)
    t = 0.5 * timescale(system, state)
    return state, t, exact(system, state, t)


@pytest.mark.slow
@together(("system", "integrator"), PAIRS)
def test_order_of_convergence(system: System, integrator: Integrator) -> None:
    state, t, end = reference(system)
    errors: list[float] = []
    published = isinstance(system, AdaptiveFlow) and isinstance(integrator, SymplecticEuler)
    count = {1: 16 if integrator.needs_hvp else 64, 2: 16}.get(integrator.order, 2)
    # the smallest steps that still err by much more than rounding are the asymptotic range
    while len(errors) < 2 or (errors[-1] / 2**integrator.order > 5e-15 and count <= 64):
        now = state
        for _ in range(count):
            now = as_published(system, now, t / count) if published else step(system, integrator, now, t / count)
        errors.append(float(np.linalg.norm(flat(system, now) - end)))
        count *= 2
    assert slopes(errors)[-1] == pytest.approx(integrator.order, abs=0.15), errors


def timescale(system: System, state: State) -> float:
    """The time in which the field changes by as much as itself, in the fastest row."""
    instant = 1e-6
    now = rate(system, state)
    then = rate(system, step(system, ForwardEuler(), state, instant))
    return float((instant * max_norm(now) / max_norm({name: then[name] - now[name] for name in now})).min())


def test_gradient_difference_follows_its_limit_flow_to_first_order() -> None:
    """The system with memory, stepped by forward Euler, tends to the flow that it names as its continuous limit."""
    memory = ScaledGradientFlow("gradient_difference")
    _, t, end = reference(memory.continuous())
    errors = []
    for count in (256, 512, 1024):
        now = begin_at(memory)
        for _ in range(count):
            now = step(memory, ForwardEuler(), now, t / count)
        errors.append(float(np.linalg.norm(now["q"].numpy().ravel() - end)))
    assert slopes(errors) == pytest.approx(1, abs=0.15)


@together("integrator", INTEGRATORS)
def test_stages_are_the_gradients_a_step_takes(integrator: type[Integrator]) -> None:
    systems = (GradientFlow(), *EXAMPLES)
    system = next(system for system in systems if fits(system, build(integrator), Fixed(1e-3)))
    method = Method(system, build(integrator), Fixed(1e-3))
    run = minimize("bowl", method=method, max_steps=7, gtol=0.0)
    # Newton's method in backward Euler needs two iterations on a quadratic: it solves at once, and looks again
    iterations = 2 if integrator is BackwardEuler else 0
    assert run.evaluations["gradient"].tolist() == [1 + 7 * (integrator.stages + iterations)]


@pytest.mark.parametrize(
    "integrator", [i for i in INTEGRATORS if i.error_order is not None], ids=lambda part: part.name
)
def test_error_estimate_shrinks_as_declared(integrator: type[Integrator]) -> None:
    system = GradientFlow()
    sizes = [0.02 / 2**k for k in range(4)]
    q = START["q"][:1]
    errors = []
    for h in sizes:
        method = Method(system, build(integrator), Fixed(h))
        *_, (_, report) = walk(method, smooth_problem(), q, 1)
        assert report is not None
        errors.append(float(report.error))
    assert slopes(errors) == pytest.approx(integrator.error_order + 1, abs=0.15)


@pytest.mark.parametrize("integrator", [ForwardEuler, BackwardEuler, Heun])
def test_error_estimate_is_the_local_error_of_euler(integrator: type[Integrator]) -> None:
    """Of the scheme itself for Euler's, of the Euler step embedded in it for Heun's."""
    h, q = 1e-4, START["q"][:1]
    method = Method(GradientFlow(), build(integrator), Fixed(h))
    (carry, _), (after, report) = walk(method, smooth_problem(), q, 1)
    flow = solve_ivp(
        lambda _, y: -SMOOTH(torch.from_numpy(y)[None]).grad[0].numpy(), (0, h), q[0], "DOP853", rtol=1e-13
    )
    euler = after.point.state["q"] if integrator is not Heun else q - h * carry.point.evaluation.grad
    assert report is not None
    assert float(report.error) == pytest.approx(np.abs(euler[0].numpy() - flow.y[:, -1]).max(), rel=1e-2)


def smooth_problem() -> Problem:
    hessian_free = SMOOTH.function
    return Problem("smooth", lambda q: hessian_free(q)[0], 2, value_and_gradient=hessian_free)


def test_dormand_prince_has_the_published_coefficients() -> None:
    """SciPy's RK45 is the same pair, typed in by somebody else."""
    for i, row in enumerate(DormandPrince.a, start=1):
        assert RK45.A[i, :i].tolist() == pytest.approx(row, rel=1e-15)
    assert RK45.B.tolist() == pytest.approx(DormandPrince.b, rel=1e-15)
    assert (-RK45.E).tolist() == pytest.approx(DormandPrince.e, rel=1e-15)


@pytest.mark.parametrize("integrator", [RK4, Heun, DormandPrince])
def test_a_linear_flow_meets_the_stability_polynomial(integrator: type[Integrator]) -> None:
    """On x' = -x one step multiplies by the Taylor polynomial of exp(-h), plus h^6/600 for Dormand-Prince."""
    h = 0.7
    taylor = sum((-h) ** k / math.factorial(k) for k in range(integrator.order + 1))
    extra = h**6 / 600 if integrator is DormandPrince else 0.0
    q = torch.ones(1, 1, dtype=torch.float64)
    after = step(GradientFlow(), build(integrator), {"q": q}, h, parabola())
    assert float(after["q"]) == pytest.approx(taylor + extra, rel=1e-14)


def parabola(stiffness: float = 1.0) -> Measured:
    """stiffness q^2 / 2."""
    return Measured(lambda q: (0.5 * stiffness * (q * q).sum(-1), stiffness * q))


# --- Hamiltonian systems ---

HAMILTONIAN = SeparableHamiltonian(exponent=1.5, F0=-1.0, delta_energy=0.7)


def bowl(q: Tensor) -> tuple[Tensor, Tensor]:
    """A skew bowl in three dimensions with a quartic part."""
    c = torch.tensor([1.0, 2.0, 0.5], dtype=q.dtype)
    return (0.5 * c * q * q).sum(-1) + (q**4).sum(-1) / 8 + q[..., 0] * q[..., 1] / 3, (
        c * q + q**3 / 2 + torch.stack((q[..., 1], q[..., 0], torch.zeros_like(q[..., 0])), -1) / 3
    )


BOWL = Measured(bowl)
PHASE_POINT = torch.tensor([0.8, -0.5, 0.3, 0.4, 0.2, -0.9], dtype=torch.float64)


def phase_map(integrator: Integrator, h: float, project: bool = False) -> Any:
    """One step as a function of (q, p), both in R^3, in one vector."""

    def one_step(z: Tensor) -> Tensor:
        state = {"q": z[None, :3], "p": z[None, 3:], "E": torch.tensor([2.0], dtype=z.dtype)}
        if project:
            state, _ = EnergyProjection().settle(HAMILTONIAN, state, BOWL(state["q"]), {})
        after = step(HAMILTONIAN, integrator, state, h, BOWL)
        return torch.cat((after["q"][0], after["p"][0]))

    return one_step


def jacobian(one_step: Any) -> Tensor:
    return torch.autograd.functional.jacobian(one_step, PHASE_POINT)


OMEGA = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.eye(3)).double()


@pytest.mark.parametrize("integrator", [i for i in INTEGRATORS if i.symplectic], ids=lambda part: part.name)
@pytest.mark.parametrize("h", [0.05, 0.5])
def test_symplectic_scheme_keeps_the_symplectic_form(integrator: type[Integrator], h: float) -> None:
    j = jacobian(phase_map(build(integrator), h))
    assert (j.T @ OMEGA @ j - OMEGA).abs().max() < 1e-14
    assert float(torch.linalg.det(j)) == pytest.approx(1, abs=1e-14)


def test_the_symplectic_schemes_are_known() -> None:
    symplectic = {i.name for i in INTEGRATORS if i.symplectic}
    assert symplectic >= {"stoermer_verlet", "symplectic_euler"}
    assert not symplectic & {"forward_euler", "backward_euler", "heun", "rk4"}


def test_other_schemes_do_not_keep_the_symplectic_form() -> None:
    for integrator in (ForwardEuler(), Heun(), RK4()):
        j = jacobian(phase_map(integrator, 0.5))
        assert (j.T @ OMEGA @ j - OMEGA).abs().max() > 1e-4


def test_energy_projection_folds_phase_space() -> None:
    j = jacobian(phase_map(SymplecticEuler(), 0.05, project=True))
    assert abs(float(torch.linalg.det(j))) < 1e-14


def energy_error(integrator: Integrator, h: float, steps: int) -> np.ndarray:
    """Relative deviation from the conserved energy, at up to a thousand records of a long run on a bowl."""
    run = minimize(
        problem("bowl", coefficients=(0.5, 1.0)),
        [0.8, -0.5],
        Method(HAMILTONIAN, integrator, Fixed(h)),
        max_steps=steps,
        gtol=0.0,
        record_every=max(1, steps // 1000),
    )
    assert run.steps.tolist() == [steps]
    return np.abs(run.energy[:, 0] / run.energy[0, 0] - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("integrator", "bound"), [(SymplecticEuler(), 0.07), (StoermerVerlet(), 5e-4)])
def test_energy_error_stays_bounded_for_a_hundred_thousand_steps(integrator: Integrator, bound: float) -> None:
    """Of the bare scheme, which is a tenth of the work that the driver's records make of a step."""
    measure = Measured(problem("bowl", coefficients=(0.5, 1.0)).value_and_gradient)
    q = torch.tensor([[0.8, -0.5]], dtype=torch.float64)
    h = torch.tensor([0.05], dtype=torch.float64)
    here = measure(q)
    state = HAMILTONIAN.start(q, here, measure)
    start = float(HAMILTONIAN.energy(state, here))
    energies = []
    for k in range(1, 100_001):
        trial = integrator.move(HAMILTONIAN, Point(state, here, None), h, measure).trial
        here = measure(trial["q"])
        state = integrator.complete(HAMILTONIAN, trial, here, h)
        if k % 100 == 0:
            energies.append(float(HAMILTONIAN.energy(state, here)))
    error = np.abs(np.array(energies) / start - 1)
    assert error.max() < bound
    assert error[-200:].max() < 1.1 * error[:200].max(), "it must not grow"


@pytest.mark.parametrize(("integrator", "bound"), [(SymplecticEuler(), 0.07), (StoermerVerlet(), 5e-4)])
def test_energy_error_is_recorded_by_a_run(integrator: Integrator, bound: float) -> None:
    error = energy_error(integrator, 0.05, 5000)
    assert len(error) == 1001
    assert bound / 10 < error.max() < bound


def test_energy_of_forward_euler_drifts() -> None:
    error = energy_error(ForwardEuler(), 0.05, 4000)
    assert error[-1] > 20
    assert error[-1] > 2 * error[500] > 4 * error[250]


@pytest.mark.parametrize(("integrator", "order"), [(SymplecticEuler(), 1), (StoermerVerlet(), 2)])
def test_order_of_the_energy_error(integrator: Integrator, order: int) -> None:
    errors = [energy_error(integrator, 0.05 / 2**k, 200 * 2**k).max() for k in range(3)]
    assert slopes(errors) == pytest.approx(order, abs=0.15)


def there_and_back(integrator: Integrator, h: float = 0.1, steps: int = 200) -> float:
    """How far from the start one is after going on, turning the momentum round, and going on as long again."""
    forth = phase_map(integrator, h)
    mirror = torch.tensor([1.0, 1, 1, -1, -1, -1], dtype=torch.float64)
    z = PHASE_POINT
    for _ in range(2):
        for _ in range(steps):
            z = forth(z)
        z = mirror * z
    return float((z - PHASE_POINT).abs().max())


def test_stoermer_verlet_is_reversible_and_symplectic_euler_is_not() -> None:
    assert there_and_back(StoermerVerlet()) < 1e-11
    assert there_and_back(SymplecticEuler()) > 1e-2


# --- backward Euler ---


def test_backward_euler_on_a_quadratic() -> None:
    spectrum = (1.0, 10.0, 100.0)
    h = 0.3
    run = minimize(
        problem("quadratic", spectrum=spectrum),
        [3.0, -2.0, 5.0],
        Method(GradientFlow(), BackwardEuler(), Fixed(h)),
        max_steps=5,
        gtol=0.0,
    )
    expected = np.array([3.0, -2.0, 5.0]) / (1 + h * np.array(spectrum)) ** np.arange(6)[:, None]
    assert run.x[:, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("system", [HeavyBall(mass=0.7, friction=0.4), SeparableHamiltonian(), BornInfeld()])
def test_backward_euler_solves_its_equation_on_systems_with_momentum(system: System) -> None:
    state, h = begin_at(system), 0.2
    after = step(system, BackwardEuler(), state, h)
    slope = rate(system, after)
    for name in slope:
        assert torch.allclose(after[name], state[name] + h * slope[name], rtol=0, atol=1e-9)
        assert (after[name] - state[name]).abs().max() > 1e-2


def test_backward_euler_is_stable_however_large_the_step() -> None:
    run = minimize(
        problem("quadratic", spectrum=(1.0, 1e6)),
        [1.0, 1.0],
        Method(GradientFlow(), BackwardEuler(), Fixed(1e8)),
        max_steps=2,
        gtol=0.0,
    )
    assert np.all(np.diff(run.f[:, 0]) < 0)
    assert np.all(np.abs(run.x[1, 0]) <= 1.01e-8)


def arctan_valley(q: Tensor) -> Tensor:
    """Its gradient is the arctangent, on which Newton's method diverges from beyond 1.39."""
    return (q * q.atan() - 0.5 * (1 + q * q).log()).sum(-1)


def test_unsolved_equations_end_their_row_only() -> None:
    method = Method(GradientFlow(), BackwardEuler(), Fixed(1e3))
    starts = [[0.5], [40.0], [1.0]]
    together = minimize(arctan_valley, starts, method, max_steps=3, gtol=0.0)
    assert together.status.tolist() == [Status.MAX_STEPS, Status.SOLVER_FAILED, Status.MAX_STEPS]
    assert "implicit equations" in together.message[1]
    assert together.final_x[1].tolist() == [40.0], "the last good state stands"
    assert together.steps[1] == 1
    for i in (0, 2):
        alone = minimize(arctan_valley, starts[i], method, max_steps=3, gtol=0.0)
        assert np.array_equal(together.row(i).x, alone.x)


def test_too_few_iterations_are_a_failure_and_pi_control_takes_a_smaller_step() -> None:
    impatient = BackwardEuler(max_iterations=2)
    fixed = minimize("rosenbrock", method=Method(GradientFlow(), impatient, Fixed(0.1)), max_steps=10)
    assert fixed.status.tolist() == [Status.SOLVER_FAILED]
    controlled = minimize(
        "rosenbrock", method=Method(GradientFlow(), impatient, PI(rtol=1e-3, atol=1e-3, h0=0.1)), max_steps=10
    )
    assert controlled.status.tolist() == [Status.MAX_STEPS]
    assert not controlled.accepted[1, 0]
    assert controlled.h[2, 0] < controlled.h[1, 0]


def test_gmres_branch_agrees_with_the_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    dim = implicit.DENSE_UP_TO + 6
    x0 = np.random.default_rng(0).uniform(-1.5, 1.5, (2, dim))

    def run() -> Any:
        method = Method(GradientFlow(), BackwardEuler(), Fixed(1e-2))
        return minimize(problem("rosenbrock", dim=dim), x0, method, max_steps=3)

    sparse = run()
    monkeypatch.setattr(implicit, "DENSE_UP_TO", dim)
    dense = run()
    assert np.abs(sparse.x - dense.x).max() < 1e-9
    assert np.all(sparse.evaluations["hvp"] < dense.evaluations["hvp"])


def test_gmres_solves_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64) + 4 * torch.eye(8, dtype=torch.float64)
    b = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    b[1] = 0
    x = gmres(lambda v: (a @ v.unsqueeze(-1)).squeeze(-1), b, 1e-12, 20)
    assert torch.allclose((a @ x.unsqueeze(-1)).squeeze(-1), b, rtol=0, atol=1e-10)


def test_lookahead_is_refused_where_there_is_no_friction() -> None:
    assert not fits(GradientFlow(), Lookahead(), Fixed(0.1))
    assert not fits(HAMILTONIAN, Lookahead(), Fixed(0.1))


# --- the line search ---

SEARCH = {"c1": 0.3, "backtrack": 0.6}


def searching(growth: float = 1.5, h_max: float = 0.5, **options: Any) -> Method:
    return Method(GradientFlow(), BacktrackingEuler(**(SEARCH | options)), Growing(h_max, growth, h_max))


def test_a_line_search_makes_the_first_step_that_will_do() -> None:
    """Armijo's condition holds for every step that was made, and fails for every longer one that was tried."""
    given = problem("rosenbrock")
    starts = np.random.default_rng(3).uniform(-2, 2, (40, 2))
    run = minimize(given, starts, searching(), max_steps=30, gtol=0.0)
    f, h, grad = run.f, run.h, given.value_and_gradient(torch.from_numpy(run.x))[1].numpy()
    slope = SEARCH["c1"] * (grad**2).sum(-1)
    tried = np.zeros(len(starts))
    for k in range(30):
        assert np.all(f[k + 1] <= f[k] - h[k + 1] * slope[k])
        trial = np.minimum(1.5 * h[k], 0.5) if k else np.full(len(starts), 0.5)
        while (longer := trial > 1.0001 * h[k + 1]).any():
            tried += longer
            far = given.value(torch.from_numpy(run.x[k] - trial[:, None] * grad[k])).numpy()
            assert np.all((far > f[k] - trial * slope[k])[longer])
            trial = np.where(longer, SEARCH["backtrack"] * trial, trial)
        assert trial == pytest.approx(h[k + 1], rel=1e-13)
    assert tried.min() > 25, "there was something to search for"
    assert run.evaluations["gradient"].tolist() == (1 + 2 * 30 + tried).tolist(), "rows that are done pay nothing"
    assert run.t[-1] == pytest.approx(h[1:].sum(0), rel=1e-13)
    assert run.error[5] == pytest.approx(0.5 * h[5] * np.abs(grad[5] - grad[4]).max(-1), rel=1e-12)


def uphill(q: Tensor) -> tuple[Tensor, Tensor]:
    """|q|^2 / 2 with a gradient of the wrong sign."""
    return 0.5 * q.square().sum(-1), -q


def test_a_line_search_without_a_step_that_will_do_makes_a_small_one() -> None:
    lying = Problem("uphill", lambda q: uphill(q)[0], 1, value_and_gradient=uphill)
    chosen = searching(growth=1.0, backtrack=0.1, tries=5)
    once, run = (minimize(lying, [1.0], chosen, max_steps=steps) for steps in (1, 2))
    assert run.h[1:, 0] == pytest.approx([0.5e-5, 0.5e-10], rel=1e-12)
    assert run.x[1, 0, 0] == pytest.approx(1 + 0.5e-5, rel=1e-15)
    assert (run.evaluations["gradient"] - once.evaluations["gradient"]).tolist() == [6]


def test_a_line_search_steps_back_from_where_f_is_no_number() -> None:
    def cliff(q: Tensor) -> Tensor:
        return torch.where(q[..., 0] < 0.5, torch.nan, q.square().sum(-1))

    run = minimize(cliff, [1.0, 0.0], searching(backtrack=0.5), max_steps=1)
    assert run.h[1].tolist() == [0.25]
    assert run.final_x[0].tolist() == [0.5, 0.0]


def test_a_line_search_asks_along_the_whole_move() -> None:
    """Over a system whose field is not -grad f the fall that is asked for is that along the move."""
    system = ScaledGradientFlow("curvature")
    given = problem("rosenbrock")
    method = Method(system, BacktrackingEuler(**SEARCH), Growing(0.5, 1.5, 0.5))
    run = minimize(given, [-1.2, 1.0], method, max_steps=20, gtol=0.0)
    grad = given.value_and_gradient(torch.from_numpy(run.x[:, 0]))[1].numpy()
    moved = np.diff(run.x[:, 0], axis=0)
    fall = (grad[:-1] * moved).sum(-1)
    assert np.all(np.diff(run.f[:, 0]) <= SEARCH["c1"] * fall)
    assert (np.abs(fall) > 1.5 * run.h[1:, 0] * (grad[:-1] ** 2).sum(-1)).any(), "the scaling had a say"
