"""The kernel's promises: rows never see each other, a rejected step leaves no trace, nonsense is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import NAMES, fits, leaves, same, walk
from together import together
from torch import Tensor

from flowopt import BadValue, IncompatibleParts, Method, Problem, Status, Trajectory, method, minimize, problem
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.lte import LTE
from flowopt.controllers.orthogonal import OrthogonalGradient
from flowopt.controllers.pi import PI
from flowopt.core.parts import Controller
from flowopt.core.state import Memory, Point, Step, Verdict
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.runge_kutta import RK4, DormandPrince, Heun
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.methods import METHODS
from flowopt.problems import noisy, scaled
from flowopt.systems.adam import Adam
from flowopt.systems.adamod import AdaMod
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.systems.nesterov_flow import NesterovFlow
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow
from flowopt.transforms.decoupled_decay import DecoupledDecay
from flowopt.transforms.energy_projection import EnergyProjection
from flowopt.transforms.iterate_averaging import IterateAveraging
from flowopt.transforms.momentum_rotation import MomentumRotation
from flowopt.transforms.shrink import Shrink

# --- refusals ---


@together(
    ("parts", "reason", "remedy"),
    [
        ((GradientFlow(), SymplecticEuler(), Fixed(0.1)), "symplectic_euler needs", "heavy_ball"),
        ((HeavyBall(), StoermerVerlet(), Fixed(0.1)), "stoermer_verlet needs", "separable_hamiltonian"),
        ((BornInfeld(), StoermerVerlet(), Fixed(0.1)), "stoermer_verlet needs", "separable_hamiltonian"),
        ((NewtonFlow(), BackwardEuler(), Fixed(0.1)), "backward_euler needs", "gradient_flow"),
        ((GradientFlow(), Lookahead(), Fixed(0.1)), "lookahead needs", "nesterov_flow"),
        ((Adam(), BackwardEuler(), Fixed(0.1)), "backward_euler needs", "heavy_ball"),
        ((Adam(), StoermerVerlet(), Fixed(0.1)), "stoermer_verlet needs", "separable_hamiltonian"),
        ((GradientFlow(), RK4(), LTE(0.1)), "lte needs", "heun"),
        ((HeavyBall(), SymplecticEuler(), PI()), "pi needs", "dormand_prince"),
        ((HeavyBall(), ForwardEuler(), OrthogonalGradient()), "orthogonal_gradient needs", "gradient_flow"),
        ((GradientFlow(), RK4(), OrthogonalGradient()), "orthogonal_gradient needs", "forward_euler"),
        ((GradientFlow(), ForwardEuler(), Fixed(0.1), (MomentumRotation(),)), "momentum_rotation needs", "heavy_ball"),
        ((HeavyBall(), RK4(), Fixed(0.1), (EnergyProjection(),)), "energy_projection needs", "born_infeld"),
    ],
)
def test_parts_that_make_no_sense_are_refused_with_what_would_work(parts: Any, reason: str, remedy: str) -> None:
    with pytest.raises(IncompatibleParts) as refusal:
        Method(*parts)
    said, _, fitting = str(refusal.value).partition("; these are: ")
    assert reason in said
    assert remedy in fitting.split(", ")


def test_a_changing_step_is_refused_where_it_would_lose_the_bounded_energy_error() -> None:
    @dataclass(frozen=True)
    class Shrinking(Controller):
        name = "shrinking"

    for system, integrator in ((SeparableHamiltonian(), StoermerVerlet()), (BornInfeld(), SymplecticEuler())):
        with pytest.raises(IncompatibleParts, match=r"bounded energy error .* use Fixed\(h\), or a Runge-Kutta"):
            Method(system, integrator, Shrinking())
    assert fits(HeavyBall(), SymplecticEuler(), Shrinking()), "friction leaves no energy to conserve"


def test_a_part_in_the_wrong_place_is_refused() -> None:
    with pytest.raises(IncompatibleParts, match=r"Fixed\(h=0.1\) is a controller and stands where an integrator does"):
        Method(GradientFlow(), Fixed(0.1), ForwardEuler())  # type: ignore[arg-type]
    with pytest.raises(IncompatibleParts, match="is a controller and stands where a transform does"):
        Method(GradientFlow(), ForwardEuler(), Fixed(0.1), (LTE(0.1),))  # type: ignore[list-item,arg-type]
    with pytest.raises(IncompatibleParts, match="transforms must be a tuple of parts or of their names, not Shrink"):
        Method(GradientFlow(), ForwardEuler(), Fixed(0.1), Shrink(0.5))  # type: ignore[arg-type]
    with pytest.raises(IncompatibleParts, match=r"Fixed is a class and .*; build the part: Fixed\(h=...\)"):
        Method(GradientFlow(), ForwardEuler(), Fixed)  # type: ignore[arg-type]
    with pytest.raises(IncompatibleParts, match="GradientFlow is a class and stands where a system does"):
        Method(GradientFlow, ForwardEuler(), Fixed(0.1))  # type: ignore[arg-type]
    with pytest.raises(IncompatibleParts, match=r"a system is a part of flowopt.systems or the name of one .*, not 3"):
        Method(3, ForwardEuler(), Fixed(0.1))  # type: ignore[arg-type]


def test_a_method_is_named_after_its_parts() -> None:
    assert Method(GradientFlow(), DormandPrince(), PI()).name == "gradient_flow x dormand_prince [pi]"


def test_parameters_belong_to_names() -> None:
    with pytest.raises(BadValue, match="set them on its parts"):
        minimize("rosenbrock", method=method("gd"), lr=0.1)


def test_second_derivatives_that_do_not_exist_are_missed_before_any_work() -> None:
    values_only = Problem("values", lambda q: q.square().sum(-1), 2, differentiable_twice=False)
    for name in ("newton", "implicit"):
        with pytest.raises(BadValue, match="needs Hessian-vector products"):
            minimize(values_only, [1.0, 1.0], name)


# --- rows ---

PLANE = np.random.default_rng(1).uniform(-2, 2, (11, 2))
PLANE[3] = 1.0 + 1e-9  # converged at once
PLANE[7] = (-1.2, 1.0)
SPACE = np.random.default_rng(2).uniform(-1.5, 1.5, (11, 6))
CASES = [("rosenbrock", PLANE), ("zakharov", SPACE), ("rosenbrock", SPACE), ("zakharov", SPACE.astype(np.float32))]
CASE_IDS = ["rosenbrock-2", "zakharov-6", "rosenbrock-6", "zakharov-6-float32"]


def on(name: str, x0: Any) -> Problem:
    return problem(name, dim=np.shape(x0)[-1])


def assert_rows_equal(a: Trajectory, b: Trajectory) -> None:
    """Bit for bit, in everything that a row leaves behind."""
    for name in ("x", "f", "grad_norm", "h", "t", "error", "energy", "accepted", "cost", "attempt", "status", "steps"):
        mine, other = getattr(a, name), getattr(b, name)
        assert mine.dtype == other.dtype
        assert np.array_equal(mine, other, equal_nan=mine.dtype.kind == "f"), name
    for kind in a.evaluations:
        assert a.evaluations[kind].tolist() == b.evaluations[kind].tolist(), kind
    assert a.best_f.tolist() == b.best_f.tolist()
    assert list(a.message) == list(b.message)


@together(("name", "starts"), CASES)
@together("named", NAMES)
def test_a_row_of_a_batch_is_the_row_alone(named: str, name: str, starts: Any) -> None:
    steps = 6 if named == "implicit" else 12
    together = minimize(on(name, starts), starts, named, max_steps=steps, seed=40)
    for i in (0, 3, 7, 8, 10):
        alone = minimize(on(name, starts), starts[i], named, max_steps=steps, seed=40 + i)
        assert_rows_equal(together.row(i), alone.row(0))


def test_random_numbers_and_powers_are_the_rows_own() -> None:
    options = {"exponent": 1.37, "nu": 0.1, "F0": -500.0, "delta_energy": 1.0}
    together = minimize("ackley", SPACE, "ecdsep", max_steps=20, seed=5, **options)
    for i in range(len(SPACE)):
        alone = minimize("ackley", SPACE[i], "ecdsep", max_steps=20, seed=5 + i, **options)
        assert_rows_equal(together.row(i), alone.row(0))


@together("named", NAMES)
def test_permuted_rows_give_permuted_results(named: str) -> None:
    q = torch.from_numpy(PLANE[:5])
    order = [3, 0, 4, 2, 1]
    seeds = [9, 7, 5, 3, 1]
    noise = noisy(problem("rosenbrock"), 1e-3)
    straight = walk(method(named), noise, q, 6, seeds)
    permuted = walk(method(named), noise, q[order], 6, [seeds[i] for i in order])
    for (carry, _), (other, _) in zip(straight, permuted, strict=True):
        there = leaves(other)
        wrong = [path for path, leaf in leaves(carry).items() if not same(leaf[order], there[path])]
        assert not wrong


@together("named", NAMES)
def test_a_parameter_may_differ_from_row_to_row(named: str) -> None:
    entry = METHODS[named]
    x0 = [[-1.2, 1.0], [0.5, 2.0], [0.3, 0.1]]
    for name, default in entry.defaults.items():
        if not isinstance(default, float) or name == "p":
            continue
        values = [default, 0.5 * default + 1e-4, 0.7 * default + 1e-4]
        if default == float("inf"):
            values = [1.0, 0.5, 0.1]
        together = minimize("rosenbrock", x0, named, max_steps=6, **{name: torch.tensor(values, dtype=torch.float64)})
        for i, value in enumerate(values):
            alone = minimize("rosenbrock", x0[i], named, max_steps=6, seed=i, **{name: value})
            assert np.allclose(together.row(i).x, alone.x, rtol=1e-12, atol=1e-300, equal_nan=True), name


def cliff(q: Tensor) -> Tensor:
    """A bowl that is no number to the left of x_0 = 1/2."""
    bowl = q.square().sum(-1)
    return torch.where(q[..., 0] < 0.5, torch.nan, bowl)


@together("named", NAMES)
def test_a_row_that_becomes_nan_leaves_the_others_alone(named: str) -> None:
    starts = [[3.0, 1.0], [0.500001, 0.1], [4.0, -2.0]]
    together = minimize(cliff, starts, named, max_steps=12, gtol=0.0)
    for i in (0, 2):
        assert_rows_equal(together.row(i), minimize(cliff, starts[i], named, max_steps=12, gtol=0.0, seed=i).row(0))
    fallen = together.row(1)
    assert np.all(np.isfinite(fallen.x))
    assert np.all(np.isfinite(fallen.f))
    assert fallen.final_x[0, 0] >= 0.5
    if not method(named).rejects:
        ended = Status.SOLVER_FAILED if named == "implicit" else Status.NONFINITE
        assert together.status[1] == ended
        assert ("last good state" in together.message[1]) == (ended == Status.NONFINITE)
        assert not fallen.accepted[-1, 0]
        assert np.array_equal(fallen.x[-1], fallen.x[-2])
        assert fallen.t[-1] == fallen.t[-2]


def test_the_message_of_a_nan_names_the_coordinate() -> None:
    def half_plane(q: Tensor) -> Tensor:
        return q[..., 0] ** 2 + q[..., 1] ** 2 + 0 * (q[..., 1] - 0.5).sqrt()

    run = minimize(half_plane, [3.0, 0.6], "gd", lr=0.4)
    assert run.status.tolist() == [Status.NONFINITE]
    assert "worst coordinate 1: x[1] = 0.12" in run.message[0]
    assert "x = (3, 0.6)" in run.message[0]


def test_nonfinite_at_the_start() -> None:
    run = minimize(cliff, [[0.1, 0.1], [3.0, 1.0]], "gd", max_steps=3)
    assert run.status.tolist() == [Status.NONFINITE, Status.MAX_STEPS]
    assert run.steps.tolist() == [0, 3]


# --- rejected steps ---


@dataclass(frozen=True)
class Scripted(Controller):
    """Accepts the rows that its script says, step by step, and would remember every one of them."""

    script: Iterator[tuple[bool, ...]]

    name = "scripted"

    @property
    def rejects(self) -> bool:
        return True

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        value = point.evaluation.value
        return torch.full_like(value, 1e-3), {"step": torch.zeros_like(value), "seen": point.evaluation.grad}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        accept = torch.tensor(next(self.script))
        remembered = {"step": memory["step"] + 1, "seen": step.after.evaluation.grad}
        return Verdict(torch.where(accept, step.h, 0.5 * step.h), remembered, accept)


@pytest.mark.parametrize(
    ("system", "integrator", "transforms"),
    [
        (GradientFlow(), ForwardEuler(), (Shrink(0.99), IterateAveraging())),
        (GradientFlow(), DormandPrince(), ()),
        (HeavyBall(), RK4(), (MomentumRotation(0.1),)),
        (NesterovFlow(), RK4(), ()),
        (AdaMod(step=1e-3), SymplecticEuler(), (DecoupledDecay(0.1),)),
        (Adam(step=1e-3), Heun(), ()),
        (SeparableHamiltonian(F0=-1.0, delta_energy=1.0), RK4(), (MomentumRotation(0.1), EnergyProjection())),
    ],
)
def test_a_rejected_step_leaves_no_trace(system: Any, integrator: Any, transforms: Any) -> None:
    script = ((True, False, True), (True, True, False), (False, False, False), (True, True, True))
    chosen = Method(system, integrator, Scripted(iter(script)), transforms)
    q = torch.tensor([[-1.2, 1.0], [0.3, 0.4], [2.0, 2.0]], dtype=torch.float64)
    gentle = scaled(problem("rosenbrock"), (10.0, 10.0))
    states = list(walk(chosen, gentle, q, len(script)))
    for (before, _), (after, report), accept in zip(states, states[1:], script, strict=False):
        assert report is not None
        assert report.taken.tolist() == list(accept)
        assert after.alive.all()
        for name in ("point", "memory", "settled", "t"):
            old, new = leaves(getattr(before, name)), leaves(getattr(after, name))
            for path in old:
                for row in (row for row, taken in enumerate(accept) if not taken):
                    assert same(old[path][row], new[path][row]), (name, path)
        for row in (row for row, taken in enumerate(accept) if taken):
            assert after.memory["step"][row] == before.memory["step"][row] + 1
            assert after.t[row] == before.t[row] + before.h[row]
            assert not same(after.point.state["q"][row], before.point.state["q"][row])
        halved = torch.where(torch.tensor(accept), before.h, before.h / 2)
        assert same(after.h, halved)


# --- dtypes ---


@together("named", NAMES)
def test_float32_stays_float32_everywhere(named: str) -> None:
    q = torch.tensor([[-1.2, 1.0], [0.3, 0.4]], dtype=torch.float32)
    chosen = method(named)
    for carry, report in walk(chosen, noisy(problem("rosenbrock"), 1e-3), q, 4):
        for path, leaf in (leaves(carry) | leaves(report, "report")).items():
            if leaf.is_floating_point():
                assert leaf.dtype == torch.float32, path
    run = minimize("rosenbrock", q, named, max_steps=4)
    for name in ("x", "f", "grad_norm", "h", "t", "energy", "best_f"):
        assert getattr(run, name).dtype == np.float32, name
    assert run.about["dtype"] == "float32"


@together("named", NAMES)
def test_parameters_per_row_do_not_change_the_dtype(named: str) -> None:
    q = torch.tensor([[-1.2, 1.0], [0.3, 0.4]], dtype=torch.float32)
    for name, default in METHODS[named].defaults.items():
        if isinstance(default, float) and name != "p":
            value = torch.tensor([default, default], dtype=torch.float64)
            run = minimize("rosenbrock", q, named, max_steps=3, **{name: value})
            assert {run.x.dtype, run.f.dtype, run.h.dtype} == {np.dtype(np.float32)}, name


def test_the_starts_are_copied() -> None:
    x0 = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    minimize("rosenbrock", x0, "gd", max_steps=3)
    assert x0.tolist() == [[-1.2, 1.0]]


def test_a_run_leaves_torchs_settings_alone() -> None:
    assert torch.is_grad_enabled()
    minimize("rosenbrock", method="implicit", max_steps=2)
    with pytest.raises(BadValue):
        minimize(lambda q: q, [1.0, 2.0], "gd")
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    with torch.no_grad():
        minimize("rosenbrock", method="implicit", max_steps=2)
        assert not torch.is_grad_enabled()


def test_a_system_that_remembers_steps_refuses_inner_stages() -> None:
    with pytest.raises(IncompatibleParts, match="scaling='limit'"):
        Method(ScaledGradientFlow(), RK4(), Fixed(0.1))
    assert Method(ScaledGradientFlow("limit"), RK4(), Fixed(0.1)).needs_hvp
