"""Rotations, projections, bounces, averages, decay, and the random numbers behind them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import walk
from scipy import stats
from torch import Tensor

from flowopt import Method, Problem, method, minimize, problem
from flowopt.controllers.fixed import Fixed
from flowopt.core.kernel import Carry
from flowopt.core.noise import normal, position_counter, scramble, uniform
from flowopt.core.parts import System
from flowopt.core.rows import dot, evaluation, norm
from flowopt.core.state import State
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.runge_kutta import RK4
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.problems import noisy
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.transforms.bounces import Bounces
from flowopt.transforms.decoupled_decay import DecoupledDecay
from flowopt.transforms.energy_projection import EnergyProjection
from flowopt.transforms.iterate_averaging import IterateAveraging
from flowopt.transforms.momentum_rotation import MomentumRotation
from flowopt.transforms.shrink import Shrink

# --- random numbers ---


def numbers(*, seeds: int = 1, counters: int = 1, dim: int = 1) -> Tensor:
    """Normal numbers of neighbouring seeds and counters, (seeds, counters, dim)."""
    seed = torch.arange(seeds).repeat_interleave(counters)
    return normal(seed, torch.arange(counters).repeat(seeds), dim).reshape(seeds, counters, dim)


AXES = {"seeds": 0, "counters": 1, "dim": 2}


@pytest.mark.parametrize("axis", AXES)
def test_numbers_are_standard_normal_along_every_axis(axis: str) -> None:
    count = 100_000
    z = numbers(**{axis: count}).ravel().numpy()  # type: ignore[arg-type]
    assert z.mean() == pytest.approx(0, abs=4 / math.sqrt(count))
    assert z.var() == pytest.approx(1, abs=4 * math.sqrt(2 / count))
    assert stats.skew(z) == pytest.approx(0, abs=4 * math.sqrt(6 / count))
    assert stats.kurtosis(z) == pytest.approx(0, abs=4 * math.sqrt(24 / count))
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert np.unique(z).size == count


@pytest.mark.parametrize("axis", AXES)
def test_neighbours_are_not_correlated(axis: str) -> None:
    z = numbers(seeds=40, counters=40, dim=40)
    assert z.unique().numel() == 40**3
    for lag in (1, 2):
        a, b = (z.narrow(AXES[axis], start, 40 - lag) for start in (0, lag))
        for one, other in ((a, b), (a * a - 1, b * b - 1)):
            spread = float((one * one).mean())
            assert float((one * other).mean()) / spread == pytest.approx(0, abs=4 / math.sqrt(a.numel()))


def test_pairs_of_the_same_radius_are_independent() -> None:
    """Box and Muller's two numbers share a radius; their squares must not know of each other."""
    z = numbers(seeds=50_000, dim=2)[:, 0].numpy()
    assert np.corrcoef(z[:, 0], z[:, 1])[0, 1] == pytest.approx(0, abs=4 / math.sqrt(50_000))
    assert np.corrcoef(z[:, 0] ** 2, z[:, 1] ** 2)[0, 1] == pytest.approx(0, abs=4 / math.sqrt(50_000))


def test_uniform_numbers_stay_inside_and_fill_the_interval() -> None:
    u = uniform(torch.arange(1000), torch.zeros(1000, dtype=torch.int64), 100).numpy().ravel()
    assert u.min() > 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_scramble_is_splitmix64() -> None:
    """The first output of the published generator seeded with 1234567 (gamma added to the seed, then the finaliser)."""
    assert int(scramble(torch.tensor([1234567 - 7046029254386353131]))) == 6457827717110365317


def test_odd_dimensions_are_cut_from_even_ones() -> None:
    seeds, counter = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    for dim in (1, 2, 3, 7):
        assert normal(seeds, counter, dim).shape == (3, dim)
        assert torch.isfinite(normal(seeds, counter, dim)).all()


def test_every_bit_of_a_position_counts() -> None:
    q = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0 + 2**-51], [1.0, 2.0]], dtype=torch.float64)
    counters = position_counter(q).tolist()
    assert counters[0] == counters[3]
    assert len(set(counters)) == 3


def test_gradient_noise_belongs_to_the_row_and_the_point() -> None:
    quiet, sigma = problem("quadratic", dim=2, condition=1.0), 0.3
    starts = np.zeros((4000, 2))
    loud = minimize(noisy(quiet, sigma), starts, "gd", lr=1.0, max_steps=1, gtol=0.0, record_every=1)
    noise = loud.x[0] - loud.x[1]
    assert noise.mean(0) == pytest.approx([0, 0], abs=4 * sigma / math.sqrt(4000))
    assert noise.std(0) == pytest.approx([sigma, sigma], rel=0.05)
    assert np.array_equal(loud.f[0], np.zeros(4000)), "values stay exact"
    again = minimize(noisy(quiet, sigma), starts[:3], "gd", lr=1.0, max_steps=1, gtol=0.0, seed=7)
    assert np.array_equal(again.x[1], loud.x[1, 7:10])


# --- rotation ---


def settled(transform: Any, p: Tensor, times: int = 1, system: System | None = None) -> list[Tensor]:
    """Momenta after each of the first steps; a transform is also called once at the start, before them."""
    state: State = {"q": torch.zeros_like(p), "p": p}
    measured = evaluation(torch.ones(len(p), dtype=p.dtype), torch.ones_like(p))
    memory = transform.start(state, measured, torch.arange(len(p)))
    state, memory = transform.settle(system or GradientFlow(), state, measured, memory)
    assert torch.equal(state["p"], p), "the start is left as it is"
    momenta = []
    for _ in range(times):
        state, memory = transform.settle(system or GradientFlow(), state, measured, memory)
        momenta.append(state["p"])
    return momenta


P = torch.tensor([[3.0, -4.0, 0.5], [1e-12, 0.0, 2e-12], [1e20, -2e20, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("nu", [1e-5, 0.1, 3.0])
def test_rotation_keeps_the_norm(nu: float) -> None:
    for p in settled(MomentumRotation(nu), P, 5):
        assert torch.allclose(norm(p), norm(P), rtol=1e-14, atol=0)
        assert (p != P).any(-1).all()


def test_nothing_turns_before_the_first_step() -> None:
    starts = [minimize("rosenbrock", method="ecdsep", nu=nu, delta_energy=1.0, max_steps=1).x[1] for nu in (0.0, 0.5)]
    assert np.array_equal(*starts), "the rotation comes after the drift"


def test_no_rotation_is_the_identity() -> None:
    (p,) = settled(MomentumRotation(0.0), P)
    assert torch.allclose(p, P, rtol=1e-15, atol=0)


def test_a_momentum_of_zero_stays_zero() -> None:
    p = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    (turned,) = settled(MomentumRotation(0.5), p)
    assert turned[0].tolist() == [0.0, 0.0]
    assert float(norm(turned)[1]) == pytest.approx(5, rel=1e-14)


@pytest.mark.parametrize("dim", [4, 30, 400])
@pytest.mark.parametrize("nu", [1e-3, 0.05])
def test_angle_of_the_rotation(nu: float, dim: int) -> None:
    """About arctan(nu sqrt D); exactly, tan(angle) = nu |z_perp| / (1 + nu z_par), with z_perp in D - 1 dimensions."""
    p = torch.ones(200_000 // dim, dim, dtype=torch.float64)
    (turned,) = settled(MomentumRotation(nu), p)
    angle = torch.atan2(norm(turned - dot(turned, p).unsqueeze(-1) * p / dim), dot(turned, p) / math.sqrt(dim))
    chi = math.sqrt(2) * math.exp(math.lgamma(dim / 2) - math.lgamma((dim - 1) / 2))
    assert float(angle.tan().mean()) == pytest.approx(nu * chi, rel=0.02)
    if dim > 100:
        assert float(angle.mean()) == pytest.approx(math.atan(nu * math.sqrt(dim)), rel=0.02)


def test_rotation_has_no_preferred_direction() -> None:
    p = torch.zeros(50_000, 3, dtype=torch.float64)
    p[:, 0] = 2.0
    (turned,) = settled(MomentumRotation(0.1), p)
    sideways = turned[:, 1:].numpy()
    assert sideways.mean(0) == pytest.approx([0, 0], abs=4 * 0.2 / math.sqrt(50_000))
    assert np.cov(sideways.T) / 0.04 == pytest.approx(np.eye(2), abs=0.03)


def test_rows_and_steps_turn_differently() -> None:
    p = torch.ones(3, 900, dtype=torch.float64)
    first, second = settled(MomentumRotation(1e-4), p, 2)
    turned = torch.cat((first - p, second - first))
    assert torch.corrcoef(turned).fill_diagonal_(0).abs().max() < 5 / math.sqrt(900)


# --- energy projection ---


@pytest.mark.parametrize("system", [SeparableHamiltonian(1.5, F0=-0.5, delta_energy=2.0), BornInfeld(-0.5, 2.0)])
def test_projection_puts_the_energy_back(system: System) -> None:
    q = torch.tensor([[-1.2, 1.0], [0.3, 0.4]], dtype=torch.float64)
    chosen = Method(system, RK4(), Fixed(0.02), (EnergyProjection(),))
    loose = Method(system, RK4(), Fixed(0.02))
    drift = 0.0
    for (carry, _), (free, _) in zip(walk(chosen, "rosenbrock", q, 12), walk(loose, "rosenbrock", q, 12), strict=True):
        energy = system.energy(carry.point.state, carry.point.evaluation)
        assert torch.allclose(energy, carry.point.state["E"], rtol=1e-12, atol=0)
        drift = max(drift, float((system.energy(free.point.state, free.point.evaluation) - energy).abs().max()))
    assert drift > 1e-6, "there was something to project"


def test_projection_turns_no_momentum_and_needs_a_shell() -> None:
    system = SeparableHamiltonian()
    p = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    energy = torch.tensor([5.0, 1.0, 5.0, 26.0], dtype=torch.float64)
    state = {"q": torch.zeros_like(p), "p": p, "E": energy}
    after, _ = EnergyProjection().settle(system, state, evaluation(torch.ones(4, dtype=torch.float64), p), {})
    assert torch.allclose(after["p"][0], p[0] * 2 / 5, rtol=1e-15, atol=0), "|p|^2 = E/V - 1 = 4"
    assert after["p"][1:].tolist() == p[1:].tolist(), "no shell, no momentum, or on the shell already"


def test_the_recorded_energy_is_that_before_the_projection() -> None:
    with_it = minimize("rosenbrock", method="ecdsep", nu=0.0, delta_energy=1.0, max_steps=20)
    assert np.abs(with_it.energy[1:] / with_it.energy[0] - 1).max() > 1e-3


# --- bounces ---


def free_particle(transforms: Any, steps: int) -> list[Carry]:
    """On a flat objective nothing but a bounce changes the momentum, and nothing is ever progress."""

    def flat(q: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(q[:, 0]), torch.zeros_like(q)

    @torch.no_grad()
    def start(self: Any, q: Tensor, measured: Any, measure: Any) -> State:
        return {"q": q, "p": torch.tensor([[3.0, 4.0]], dtype=q.dtype), "E": torch.ones(1, dtype=q.dtype)}

    system = type("Moving", (BornInfeld,), {"start": start})()
    chosen = Method(system, SymplecticEuler(), Fixed(0.1), transforms)
    flat_problem = Problem("flat", lambda q: flat(q)[0], 2, value_and_gradient=flat)
    return [carry for carry, _ in walk(chosen, flat_problem, torch.zeros(1, 2, dtype=torch.float64), steps)]


def turns(run: list[Carry]) -> list[int]:
    p = [carry.point.state["p"] for carry in run]
    return [k for k in range(1, len(p)) if not torch.equal(p[k], p[k - 1])]


def test_bounces_come_at_the_stated_steps() -> None:
    run = free_particle((Bounces(fixed_bounces=3, fixed_interval=4, progress_interval=100),), 30)
    assert turns(run) == [4, 8, 12]
    assert turns(free_particle((Bounces(progress_interval=7),), 30)) == [7, 14, 21, 28]
    assert turns(free_particle((Bounces(progress_interval=100),), 30)) == []
    both = free_particle((Bounces(fixed_bounces=1, fixed_interval=5, progress_interval=7),), 20)
    assert turns(both) == [5, 7, 14]


def test_a_bounce_keeps_the_norm_and_forgets_the_direction() -> None:
    run = free_particle((Bounces(fixed_bounces=10_000, fixed_interval=1, progress_interval=10**6),), 300)
    p = torch.cat([carry.point.state["p"] for carry in run[1:]])
    assert torch.allclose(norm(p), torch.full((300,), 5.0, dtype=torch.float64), rtol=1e-13, atol=0)
    angles = torch.atan2(p[:, 1], p[:, 0]).numpy()
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3


def test_progress_puts_a_bounce_off() -> None:
    transform = Bounces(progress_interval=3)
    p = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    state: State = {"q": torch.zeros_like(p), "p": p}
    values = [5.0, 4.0, 4.5, 4.2, 3.9, 4.0, 4.0, 4.0, 3.0]
    memory = transform.start(state, evaluation(torch.tensor([values[0]]), p), torch.tensor([1]))
    bounced = []
    for k, value in enumerate(values):
        after, memory = transform.settle(
            GradientFlow(), state, evaluation(torch.tensor([value], dtype=torch.float64), p), memory
        )
        if not torch.equal(after["p"], p):
            bounced.append(k)
    assert bounced == [7], "three steps after the lowest value, at step 4; a new one would have started again"


# --- averages ---


@pytest.mark.parametrize("window", [None, 5, 50])
def test_average_of_the_iterates(window: int | None) -> None:
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(1e-3), (IterateAveraging(window),))
    run = minimize("rosenbrock", [[-1.2, 1.0], [0.5, 2.0]], chosen, max_steps=23)
    plain = minimize("rosenbrock", [[-1.2, 1.0], [0.5, 2.0]], "gd", lr=1e-3, max_steps=23)
    assert np.array_equal(run.x, plain.x), "the motion does not feel it"
    iterates = run.x[1:]
    last_window = iterates[15:20] if window == 5 else iterates  # the last complete one; the running one before that
    assert run.average is not None
    assert run.average_f is not None
    assert run.average == pytest.approx(last_window.mean(0), rel=1e-13)
    assert run.average_f == pytest.approx(problem("rosenbrock")(run.average), rel=1e-13)


def test_averages_at_every_step() -> None:
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(1e-3), (IterateAveraging(4),))
    q = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    carries = [carry for carry, _ in walk(chosen, "rosenbrock", q, 12)]
    x = np.array([carry.point.state["q"][0].tolist() for carry in carries])
    shown = np.array([carry.point.state["average"][0].tolist() for carry in carries])
    assert shown[0] == pytest.approx(x[0])
    for k in range(1, 13):
        complete = 4 * (k // 4)
        expected = x[complete - 3 : complete + 1].mean(0) if complete else x[1 : k + 1].mean(0)
        assert shown[k] == pytest.approx(expected, rel=1e-14), k


def test_an_average_over_one_step_is_the_iterate() -> None:
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(1e-3), (IterateAveraging(1),))
    run = minimize("rosenbrock", method=chosen, max_steps=7)
    assert run.average is not None
    assert run.average.tolist() == run.final_x.tolist()


# --- weight decay ---


def test_shrink_multiplies_the_position_in_every_step() -> None:
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(0.1), (Shrink(0.9),))
    run = minimize(lambda q: 0.5 * q.square().sum(-1), [2.0, -1.0], chosen, max_steps=5, gtol=0.0)
    x = np.array([2.0, -1.0]) * 0.8 ** np.arange(6)[:, None]  # the gradient is x: x <- 0.9 x - 0.1 x
    assert run.x[:, 0] == pytest.approx(x, rel=1e-14)
    assert run.f[:, 0] == pytest.approx(0.5 * np.square(x).sum(-1), rel=1e-14)


def test_decoupled_decay_shrinks_the_position_by_its_rate_times_the_step() -> None:
    """Beside the motion and from the old position: q <- q - h g - h w q."""
    h, rate = 0.1, 0.5
    decay = DecoupledDecay(torch.tensor([rate, 0.0], dtype=torch.float64))
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(h), (decay,))
    run = minimize("bowl", [[1.0, 2.0]] * 2, chosen, max_steps=3, gtol=0.0)
    slopes = 2 * np.array([3, 24])
    for row, w in enumerate((rate, 0.0)):
        expected = np.array([1.0, 2.0]) * (1 - h * (slopes + w)) ** np.arange(4)[:, None]
        assert run.x[:, row] == pytest.approx(expected, rel=1e-13)


def test_no_shrink_is_the_identity() -> None:
    with_it = minimize("rosenbrock", method="elra", shrink=1.0 - 1e-15, max_steps=20)
    without = minimize("rosenbrock", method="elra", max_steps=20)
    assert with_it.x == pytest.approx(without.x, rel=1e-9)
    assert not any(transform.name == "shrink" for transform in method("elra").transforms)
