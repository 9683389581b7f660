"""What a run says of itself is true: where it was best, why it stopped, and whether it got anywhere."""

import ast
import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import flowopt
from flowopt import IncompatibleParts, Method, Status, Trajectory, minimize, scipy_method
from flowopt.controllers.pi import PI
from flowopt.core.parts import Controller
from flowopt.core.state import Memory, Point, Step, Verdict
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.systems.gradient_flow import GradientFlow

STARTS = [[-1.2, 1.0], [0.3, 0.2], [2.0, 2.0]]


def bowl(x: Tensor) -> Tensor:
    """|x|^2."""
    return (x**2).sum(-1)


def assert_best(run: Trajectory, whole: Trajectory) -> None:
    """best_x and best_f of `run` are those of the lowest of all records of `whole`, the same run recorded in full."""
    row = np.arange(whole.rows)
    lowest = whole.f.argmin(0)
    assert run.best_f.tolist() == whole.f[lowest, row].tolist()
    assert run.best_x.tolist() == whole.x[lowest, row].tolist()


def test_best_x_is_where_best_f_was() -> None:
    for method in ("bb", "ecco", "elra", "torch:Adam", "torch:LBFGS", "scipy:BFGS", "scipy:Nelder-Mead"):
        options = {"lr": 0.3} if method.startswith("torch:") else {}
        whole = minimize("rosenbrock", STARTS, method, max_steps=60, **options)
        ends = minimize("rosenbrock", STARTS, method, max_steps=60, record_every=0, **options)
        assert_best(whole, whole)
        assert_best(ends, whole)
        assert_best(whole.row(1), whole.row(1))


def test_best_x_of_a_reference_solution_and_of_a_start_that_is_not_a_number() -> None:
    whole = flowopt.reference("rosenbrock", STARTS, t_end=0.1, t_eval=[0.05])
    assert_best(whole, whole)
    undefined = minimize(lambda x: x.log().sum(-1), [[-1.0], [2.0]], "gd", max_steps=3)
    assert np.isnan(undefined.best_f[0])
    assert undefined.best_x.tolist() == [[-1.0], undefined.x[-1, 1].tolist()]


def test_best_x_is_kept_in_files_and_found_in_older_ones(tmp_path: Path) -> None:
    for every in (1, 0):
        run = minimize("rosenbrock", STARTS, "bb", max_steps=7, record_every=every)
        path = run.save(tmp_path / "run.npz")
        assert Trajectory.load(path).best_x.tolist() == run.best_x.tolist() == run.to_dict()["best_x"]
        with np.load(path) as file:
            np.savez_compressed(path, **{name: file[name] for name in file.files if name != "best_x"})
        old = Trajectory.load(path).best_x
        known = np.isin(run.best_f, run.f)
        assert old[known].tolist() == run.best_x[known].tolist()
        assert np.isnan(old[~known]).all()
        assert bool((~known).any()) == (every == 0)


def test_the_summary_shows_f_at_the_start_best_and_last() -> None:
    run = minimize("rosenbrock", method="ecco", max_steps=200)
    text = run.summary()
    for number in (run.f[0, 0], run.best_f[0], run.f[-1, 0], *run.best_x[0]):
        assert f"{number:.6g}" in text
    assert run.best_f[0] < run.f[-1, 0] < run.f[0, 0]


def test_the_default_method_converges() -> None:
    for start in (bowl, [1.0, 2.0]), ("rosenbrock", None):
        run = minimize(*start)
        assert run.converged.all()
        assert run.about["method"] == "ecco_stable"
    assert inspect.signature(scipy_method).parameters["method"].default == "ecco_stable"


def well(x: Tensor) -> Tensor:
    """-exp(-|x|^2), flat far away."""
    return -(-(x**2).sum(-1)).exp()


def ended(status: Status, *words: str, objective: Any, x0: Any, method: Any, **options: Any) -> Trajectory:
    """The run of one row, which must end so and say these words."""
    run = minimize(objective, x0, method, **options)
    message = run.message[0]
    assert Status(int(run.status[0])) == status, message
    for word in words:
        assert word in message, message
    return run


@dataclass(frozen=True)
class Stubborn(Controller):
    """Rejects everything and asks for the same step again."""

    name = "stubborn"

    @property
    def rejects(self) -> bool:
        return True

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return torch.ones_like(point.evaluation.value), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict(step.h.clamp(min=0.5), memory, torch.zeros_like(step.h, dtype=torch.bool))


@dataclass(frozen=True)
class Undeclared(Stubborn):
    """Rejects, and does not say so."""

    name = "undeclared"

    @property
    def rejects(self) -> bool:
        return False


def test_a_rejection_that_would_only_be_repeated_ends_the_row() -> None:
    steep = partial(ended, Status.STEP_TOO_SMALL, "cannot fall further", "would try the same one again")
    run = steep("h = 1e-08", "orthogonal_gradient", objective=lambda x: 1e12 * bowl(x), x0=[1.0, 2.0], method="elra")
    assert run.steps[0] < 5
    stubborn = Method(GradientFlow(), ForwardEuler(), Stubborn())
    assert steep("stubborn", objective=bowl, x0=[1.0], method=stubborn).steps[0] == 1
    # the last step before t_end is shortened: what is asked for differs, what would be tried does not
    assert steep(objective=bowl, x0=[1.0], method=stubborn, t_end=0.25).steps[0] == 1
    both = minimize(lambda x: 1e12 * bowl(x), [[1.0, 2.0], [0.0, 0.0]], "elra")
    assert both.status.tolist() == [Status.STEP_TOO_SMALL, Status.CONVERGED]
    with pytest.raises(IncompatibleParts, match="property `rejects` is False"):
        minimize(bowl, [1.0], Method(GradientFlow(), ForwardEuler(), Undeclared()))


def test_a_rule_that_rejects_is_told_of_equations_that_were_not_solved() -> None:
    """It judged the trial by numbers that mean nothing, and could ask for the same step, or a longer one, for ever."""
    method = Method(GradientFlow(), BackwardEuler(max_iterations=2), PI())
    run = minimize(lambda x: (x**4).sum(-1) - 5 * x.cos().sum(-1), [1.0, 2.3], method, max_steps=100)
    assert run.f[-1, 0] < run.f[0, 0]
    refused = ~run.accepted[1:, 0]
    assert refused.any()
    assert (run.h[2:, 0][refused[:-1]] < run.h[1:-1, 0][refused[:-1]]).all()


def test_converged_above_the_start_or_the_best_says_so() -> None:
    run = ended(Status.CONVERGED, "above the start", "best = -0.87", objective=well, x0=[0.8, 0.8], method="bb")
    assert "1 of these rows ended above" in run.summary()
    # from the edge of one well, through it, into another that is deeper than the start and not as deep as the first
    jumps = Method(GradientFlow(), ForwardEuler(), Steps((1.5, 10.5)))
    wells = lambda x: well(x) + 0.3 * well(x - 10)  # noqa: E731
    ended(Status.CONVERGED, "above the best (f = -0.77", objective=wells, x0=[-2.0], method=jumps)
    for method in ("ecco_stable", "bb", "elra", "gdm", "scipy:BFGS"):
        good = minimize(bowl, [1.0, 2.0], method, max_steps=5000)
        assert good.converged.all()
        assert "above" not in good.summary(), method
    leap = minimize(lambda x: -1 / (1 + (x**2).sum(-1)), [1.0], "scipy:CG", gtol=1e-3)
    assert ("above" in leap.message[0]) == bool(leap.final_f[0] > leap.best_f[0] + 1e-3)


@dataclass(frozen=True)
class Steps(Controller):
    """Moves by these lengths, one after the other, to the right."""

    lengths: tuple[float, ...]

    name = "steps"

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return self._h(point, 0), {"count": torch.zeros_like(point.evaluation.value)}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        count = memory["count"] + 1
        return Verdict(self._h(step.after, min(int(count), len(self.lengths) - 1)), {"count": count})

    def _h(self, point: Point, number: int) -> Tensor:
        return -self.lengths[number] / point.evaluation.grad[:, 0]


def test_polyaks_step_names_f_star_and_the_cure() -> None:
    for method in ("polyak", "sps"):
        ended(
            Status.STEP_TOO_SMALL, "f = -5 is not above f_star = 0", "give a lower f_star",
            objective=lambda x: bowl(x) - 10, x0=[1.0, 2.0], method=method,
        )  # fmt: skip
    many = minimize(lambda x: bowl(x) - 10, [[1.0], [2.0]], "polyak", f_star=torch.tensor([-10.0, 5.0]))
    assert many.converged.tolist() == [True, False]
    assert "f_star = 5" in many.message[1]


def test_diverged_and_nonfinite_are_told_apart() -> None:
    whole = minimize("rosenbrock", method="tlr", max_steps=10_000)
    assert whole.status[0] == Status.DIVERGED
    far = int(np.argmax(whole.f[:, 0] > 1e60))
    ended(Status.DIVERGED, "grew beyond all bounds", objective="rosenbrock", x0=None, method="tlr", max_steps=far)
    ended(Status.DIVERGED, objective=lambda x: -bowl(x), x0=[1.0], method="gd", lr=1e3, max_steps=30)
    ended(Status.MAX_STEPS, objective="rosenbrock", x0=None, method="gd", max_steps=30)
    for infinite in (torch.inf, -torch.inf, torch.nan):
        ended(Status.NONFINITE, "at the start", objective=lambda x: bowl(x) + infinite, x0=[1.0], method="gd")  # noqa: B023
    ended(Status.NONFINITE, "at the start", objective=lambda x: x.log().sum(-1), x0=[0.0], method="gd")
    edge = flowopt.from_numpy(lambda x: float(x[0] ** 0.5) if x[0] >= 0 else float("nan"))
    ended(Status.NONFINITE, "finite difference", "domain", objective=edge, x0=[1e-8], method="gd")
    beyond = flowopt.from_numpy(lambda x: float("inf"))
    assert "finite difference" not in minimize(beyond, [1.0], "gd").message[0]


def test_norms_neither_vanish_nor_overflow() -> None:
    small = lambda x: 1e-170 * bowl(x)  # noqa: E731
    tiny = ended(Status.MAX_STEPS, objective=small, x0=[1.0, 2.0], method="gd", gtol=0, max_steps=3)
    np.testing.assert_allclose(tiny.grad_norm, 1e-170 * 20**0.5, rtol=1e-12)
    ended(Status.CONVERGED, objective=small, x0=[1.0, 2.0], method="gd", gtol=1e-169)
    ended(Status.CONVERGED, objective=bowl, x0=[0.0, 0.0], method="gd", gtol=0)
    for method in ("ecco_stable", "elra", "armijo", "flow"):
        run = minimize(lambda x: 1e300 * bowl(x), [1.0, 2.0], method, max_steps=20)
        assert Status(int(run.status[0])) in (Status.STEP_TOO_SMALL, Status.MAX_STEPS), run.message[0]
        assert run.grad_norm[0, 0] == pytest.approx(1e300 * 20**0.5)
    huge = minimize(lambda x: 1e300 * bowl(x), [1.0, 2.0], "armijo", max_steps=3000, h_min=0.0)
    assert huge.final_f[0] < 1e200
    single = torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float32)
    faint = minimize(lambda x: 1e-25 * bowl(x), single, "gd", gtol=0, max_steps=2)
    assert faint.status.tolist() == [Status.MAX_STEPS] * 2
    assert faint.grad_norm.dtype == np.float32
    scipys = minimize(small, [1.0, 2.0], "scipy:CG", gtol=0, max_steps=0)
    assert scipys.grad_norm[0, 0] == pytest.approx(1e-170 * 20**0.5)
    assert flowopt.reference(small, [1.0, 2.0]).grad_norm[0, 0] > 0


def test_a_run_to_t_end_makes_no_step_of_rounding_alone() -> None:
    for steps in (3, 7, 10, 1000):
        for t_end in (1.0, 0.7, 3.0):
            run = ended(
                Status.TIME_REACHED, objective="rosenbrock", x0=None, method="gd", lr=t_end / steps * 1e-3,
                t_end=t_end * 1e-3, max_steps=2000,
            )  # fmt: skip
            assert run.steps[0] == steps
            assert run.t[-1, 0] == pytest.approx(t_end * 1e-3, rel=1e-15)
    single = torch.tensor([0.5, 0.5], dtype=torch.float32)
    assert minimize("rosenbrock", single, "gd", lr=1e-4, t_end=1e-2, max_steps=500).steps[0] == 100
    shortened = minimize("rosenbrock", method="gd", lr=1e-4, t_end=2.5e-4)
    assert shortened.h[1:, 0] == pytest.approx([1e-4, 1e-4, 0.5e-4])


def test_a_flow_whose_time_stands_still_ends() -> None:
    """x' = -1/x reaches 0 in the time 1/2, and no solver gets beyond."""
    run = ended(
        Status.STEP_TOO_SMALL, "time no longer advances",
        objective=lambda x: x.log().sum(-1), x0=[1.0, 2.0], method="flow", max_steps=2000,
    )  # fmt: skip
    assert (np.diff(run.t[:, 0])[run.accepted[1:, 0]] == 0).sum() < 20
    assert run.t[-1, 0] == pytest.approx(0.5, rel=1e-6)


def test_a_run_that_hops_says_so_and_names_the_remedy() -> None:
    """Also where the hops are so even that f neither rises nor falls, and nothing but rounding would tell."""
    for objective, x0, most in ((bowl, [1.0, 2.0], 1000), (bowl, [0.7, 0.3], 400), ("rosenbrock", None, 1000)):
        ended(Status.MAX_STEPS, "it hops", "ecco_stable", objective=objective, x0=x0, method="ecco", max_steps=most)
    ended(Status.MAX_STEPS, "it hops", objective=bowl, x0=[1.0, 2.0], method="gd", lr=1.0, max_steps=400)
    ordinary = ("ecco_stable", "gd", "gdm", "adam", "elra", "ecdsep", "step_decay", "flow", "tlr")
    slow = lambda x: (x**2 * torch.tensor([1.0, 1e2, 1e4], dtype=x.dtype)).sum(-1)  # noqa: E731
    for method in (*ordinary, "bb", "armijo"):
        for gtol in (1e-6, 0.0):
            run = minimize(slow, [1.0, 1.0, 1.0], method, max_steps=400, gtol=gtol, record_every=0)
            assert "hops" not in run.message[0], method
    for method in ordinary:
        assert "hops" not in minimize("rosenbrock", None, method, max_steps=400, record_every=0).message[0], method
    batch = minimize(bowl, [[1.0, 2.0], [0.01, 0.01], [1e-9, 0.0]], "ecco", max_steps=400)
    for row, start in enumerate(batch.x[0]):
        assert batch.message[row] == minimize(bowl, start, "ecco", max_steps=400).message[0]


def test_elra_gets_over_a_trial_that_is_not_a_number() -> None:
    for options in ({"kappa": 0.7}, {"kappa": "auto", "gamma_max": 10.0}):
        seen: list[bool] = []

        def once(x: Tensor, seen: list[bool] = seen) -> Tensor:
            value = (x**2 * torch.tensor([1.0, 9.0], dtype=x.dtype)).sum(-1)
            if not seen and bool((value < 0.1).all()):
                seen.append(True)
                return value * torch.nan
            return value

        run = minimize(once, [3.0, 1.0], "elra", gtol=1e-9, max_steps=200, alpha0=0.01, **options)
        (bad,) = np.flatnonzero(~run.accepted[1:, 0]) + 1  # one is refused, and no more
        assert run.h[bad + 1, 0] == pytest.approx(0.1 * run.h[bad, 0])
        assert run.h[bad + 2 : bad + 4, 0].max() > 0.3 * run.h[bad, 0]
        assert run.converged.all()
    domain = minimize(lambda x: (x - 2 - x.log()).sum(-1), [5.0, 4.0], "elra")
    assert domain.converged.all()
    assert domain.steps[0] < 40


def test_a_network_that_stands_still_says_why_once() -> None:
    def warnings_of(method: str, loss: Callable[[Tensor], Tensor], **options: Any) -> list[str]:
        weight = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        optimizer = flowopt.FlowOptimizer([weight], method, **options)

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss(weight)
            value.backward()
            return value

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(6):
                optimizer.step(closure)
        return [str(warning.message) for warning in caught]

    for method in ("polyak", "sps"):
        (text,) = warnings_of(method, lambda w: bowl(w) - 10)
        assert "f_star = 0" in text
        assert "lower f_star" in text
        (text,) = warnings_of(method, bowl, maximize=True)
        assert "f = -5 is not above f_star = 0" in text
        assert not warnings_of(method, lambda w: bowl(w) + 1)
    (text,) = warnings_of("elra", lambda w: 1e12 * bowl(w))
    assert "would try the same one again" in text
    assert not warnings_of("elra", lambda w: 3 * bowl(w))


def test_members_that_stand_still_say_why_once() -> None:
    ensemble = flowopt.Ensemble(lambda seed: torch.nn.Linear(1, 1), 2, "elra", task="regression", dtype=torch.float64)
    inputs = torch.tensor([[1e7], [-2e7]], dtype=torch.float64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            ensemble.step(inputs, torch.ones(2, 1, dtype=torch.float64))
    (text,) = (str(warning.message) for warning in caught)
    assert "2 member" in text
    assert "would try the same one again" in text


def test_texts_are_plain_english() -> None:
    """No 'is no heat map' and 'get it again' in what users read: messages and docstrings."""
    negated = r"\b(is|are|was|were|be|been) no (?!longer|more|finer|less|smaller|matter|later|other|such)\w"
    odd = re.compile(rf"(?<!there )(?<!There ){negated}|\bget it (again|yourself)\b|\bwhich (?!it)\S+ (is|are) not\b")
    found = []
    for path in Path(flowopt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            words = " ".join(text.split())
            found += [f"{path.name}:{node.lineno}: {words[hit.start() :][:60]}" for hit in odd.finditer(words)]
    assert not found


def test_with_a_weight_decay_converged_means_the_minimum_of_what_is_minimised():
    """f = |x - 1|^2 + w/2 |x|^2 has its minimum at 2 / (2 + w); a flat f has it at 0, and not wherever it starts."""
    for name in ("elra", "adam"):
        step = {"lr": 0.1} if name == "adam" else {}
        run = flowopt.minimize(lambda x: (x - 1).square().sum(-1), [3.0, -2.0], name, weight_decay=0.5, **step)
        assert run.converged.all(), name
        np.testing.assert_allclose(run.final_x, 0.8, atol=1e-6, err_msg=name)
        assert "|grad f + weight_decay x| = " in run.message[0]
        flat = flowopt.minimize(lambda x: 0 * x.sum(-1), [3.0, -2.0], name, weight_decay=0.5, **step)
        assert flat.steps[0] > 0, name
        assert abs(flat.final_x).max() < 0.1, name


def test_the_remedy_is_one_for_this_method_and_stands_at_the_end() -> None:
    kink = lambda x: x.abs().sum(-1)  # noqa: E731
    hops = partial(ended, Status.MAX_STEPS, "it hops", max_steps=400)
    hops("ecco_stable, which stays inside", objective=kink, x0=[1.2, 0.8], method="gd", lr=0.1)
    run = hops("f has a kink here", "h_max", objective=kink, x0=[1.2, 0.8], method="ecco_stable")
    assert "ecco_stable" not in run.message[0]
    for method in ("polyak", "sps"):
        hops("Give a higher f_star", objective=lambda x: bowl(x) + 1, x0=[0.5, 0.5], method=method)
    run = ended(Status.DIVERGED, "beyond all bounds after", objective="rosenbrock", x0=None, method="gd", lr=1.0)
    assert run.message[0].endswith("; try a smaller step")
    ended(Status.STEP_TOO_SMALL, "h = 0.001 fell below h_min = 0.1", objective=bowl, x0=[1.0], method="gd", h_min=0.1)
    with pytest.raises(flowopt.BadValue, match=r"^polyak: f_star = nan"):
        minimize(bowl, [1.0], "polyak", f_star=np.nan)
