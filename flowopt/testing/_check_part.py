"""The contract of a part, for authors of parts here and elsewhere."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn

from flowopt.controllers.fixed import Fixed
from flowopt.core import rows
from flowopt.core._registry import discover, kind_of
from flowopt.core.errors import BadValue
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.parts import MEANING, Controller, Integrator, Part, System, Transform
from flowopt.core.state import Evaluation, Point
from flowopt.functions._objective import Objective
from flowopt.integrators.runge_kutta import RK4
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.ensemble._ensemble import Ensemble
from flowopt.problems import Problem
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.testing._walking import accepts_numbers, build, fits, leaves, same, walk

STEPS = 6
METHODS = 3
"""Combinations with other parts that a part is tried in."""
FIRST = ("gradient_flow", "heavy_ball", "separable_hamiltonian", "forward_euler", "symplectic_euler", "heun", "fixed")
"""Parts that it is tried with first."""
STARTS = ((0.9, -0.4, 0.3, 1.2), (-0.7, 0.2, 1.1, -0.3), (0.1, 0.8, -0.6, 0.5))


class BrokenContract(AssertionError):
    """A part that breaks a rule: which one, what was seen, and what to do."""


def check_part(part: Part | type[Part]) -> None:
    """Run the contract of systems, integrators, controllers or transforms on a part: an instance, or its class.

        def test_my_controller():
            flowopt.testing.check_part(MyController)

    It is tried with up to three combinations of flowopt's own parts that it goes with: on a function, as rows of a
    batch and alone, with a row that is not a number, in both precisions; on a network, and in an ensemble. A class is
    built with its defaults; a parameter that has none is 1e-3, or in the middle of the range that is declared with it.

    >>> check_part(Fixed)

    Raises BrokenContract, an AssertionError, that says which rule is broken, what was seen, and what to do.
    """
    subject = _Subject(part)
    for rule in (*OF_CLASSES, *OF_PARTS):
        try:
            fault = rule(subject)
        except Exception as error:  # whatever the author's code raises
            fault = f"{type(error).__name__}: {error}"
            raise BrokenContract(_message(subject, rule, fault)) from error
        if fault:
            raise BrokenContract(_message(subject, rule, fault))


def _message(subject: _Subject, rule: Callable[..., str], fault: str) -> str:
    return f"{subject.title}: {' '.join((rule.__doc__ or '').split())} {fault}"


@dataclass(frozen=True)
class _Subject:
    """A part under trial."""

    given: Any

    @property
    def kind(self) -> Any:
        """The class of the part, whatever was given."""
        return self.given if isinstance(self.given, type) else type(self.given)

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.kind.__name__} ({kind_of(self.kind).__name__.lower()})"

    @cached_property
    def part(self) -> Any:
        """The part."""
        return build(self.given) if isinstance(self.given, type) else self.given

    @cached_property
    def methods(self) -> list[Method]:
        """Methods that it is a part of."""
        return list(islice(self._combinations(), METHODS))

    def _combinations(self) -> Iterator[Method]:
        mine = kind_of(self.kind)
        choices = [[self.part] if kind is mine else _ours(kind) for kind in (System, Integrator, Controller)]
        transforms = (self.part,) if mine is Transform else ()
        if mine is not Controller:
            choices[2] = [Fixed(1e-3)]
        for parts in product(*choices):
            if fits(*parts, transforms):
                system, integrator, controller = parts
                yield Method(system, integrator, controller, transforms)


def _ours(kind: type[Part]) -> list[Part]:
    """Our parts of a kind, the plainest first."""
    found = discover(kind)
    first = [name for name in FIRST if name in found]
    return [build(found[name]) for name in (*first, *(name for name in found if name not in first))]


# --- what a class declares ---


def _is_a_part(subject: _Subject) -> str:
    """A part is a class that derives from System, Integrator, Controller or Transform."""
    return "" if issubclass(subject.kind, (System, Integrator, Controller, Transform)) else "This one does not."


def _is_frozen(subject: _Subject) -> str:
    """A part is a frozen dataclass of its parameters, so that it can be compared, copied and kept."""
    own = vars(subject.kind).get("__dataclass_params__")
    return "" if own is not None and own.frozen else "Write @dataclass(frozen=True) above the class."


def _has_a_name(subject: _Subject) -> str:
    """A part has a name of its own, of small letters, digits and _, by which formulas and lists know it."""
    name = vars(subject.kind).get("name")
    if isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return ""
    return f'Here name = {name!r}; write name = "my_part" in the class, without an annotation.'


def _says_its_source(subject: _Subject) -> str:
    """A part says where it comes from: source = "paper, equation"; "" where nobody invented it."""
    declared = [vars(kind)["source"] for kind in subject.kind.__mro__ if kind is not Part and "source" in vars(kind)]
    return "" if declared and isinstance(declared[0], str) else "There is no source in the class; write one."


def _is_documented(subject: _Subject) -> str:
    """The first line of a part's docstring is what `flowopt list` shows."""
    text = vars(subject.kind).get("__doc__") or ""
    if text and not text.startswith(f"{subject.kind.__name__}("):  # what dataclass makes up
        return ""
    return "There is no docstring; write one, with the formula, the units and the source."


def _speaks_the_language(subject: _Subject) -> str:
    """What a part requires and provides is a set of words of flowopt.core.parts.MEANING."""
    for name in ("requires", "provides"):
        words = getattr(subject.kind, name)
        if not isinstance(words, frozenset) or not words <= set(MEANING):
            return f"Here {name} = {words!r}; take frozenset() of some of {', '.join(MEANING)}."
    return ""


def _declares_its_order(subject: _Subject) -> str:
    """An integrator says its order and how many gradients a step takes, whole numbers from 1."""
    if not issubclass(subject.kind, Integrator):
        return ""
    for name in ("order", "stages"):
        number = getattr(subject.kind, name, None)
        if not isinstance(number, int) or number < 1:
            return f"Here {name} = {number!r}; write it in the class."
    return ""


def _refuses_nonsense(subject: _Subject) -> str:
    """A parameter refuses what is not a number in its range with a BadValue that names it."""
    part = subject.part
    for name in (name for name in part.parameters if accepts_numbers(subject.kind, name)):
        good = part.parameters[name]
        number = float(torch.as_tensor(good).max()) if isinstance(good, (int, float, Tensor)) else 1.0
        for nonsense in (math.nan, "1", True, torch.tensor([number, math.nan])):
            try:
                dataclasses.replace(part, **{name: nonsense})
            except BadValue as error:
                if name not in str(error):
                    return f"{name} = {nonsense!r} is refused without saying its name: {error}"
            else:
                return (
                    f"{name} = {nonsense!r} was taken; check it in __post_init__, with check_positive, check_range or "
                    "check_count of flowopt.core."
                )
    return ""


OF_CLASSES = (
    _is_a_part,
    _is_frozen,
    _has_a_name,
    _says_its_source,
    _is_documented,
    _speaks_the_language,
    _declares_its_order,
    _refuses_nonsense,
)


# --- what a part does ---


def _value(q: Tensor) -> Tensor:
    """A convex function whose curvature differs from place to place, and that is not symmetric in its coordinates."""
    coordinates = torch.arange(1, q.shape[-1] + 1, dtype=q.dtype)
    away = q - 0.1 * coordinates
    return (coordinates * ((1 + away.square()).sqrt() - 1)).sum(-1) + 0.1 * (q[..., 1:] - q[..., :-1]).square().sum(-1)


FUNCTION = Problem("the function of the contract", lambda q: _value(q) + 0.5, 4)


def _starts(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(STARTS, dtype=dtype)


def _run(method: Method, q: Tensor, seeds: list[int], **given: Any) -> list[dict[str, Tensor]]:
    """What is known after each step, by where it stands; what is not there to compare is left out."""
    return [leaves(_kept(carry)) for carry, _ in walk(method, FUNCTION, q, STEPS, seeds, **given)]


def _kept(carry: Carry) -> dict[str, Any]:
    names = ("point", "trial", "h", "t", "alive", "memory", "settled")
    return {name: getattr(carry, name) for name in names}


def _goes_with_something(subject: _Subject) -> str:
    """A part goes with parts of the other kinds."""
    if subject.methods:
        return ""
    needs = ", ".join(MEANING[word] for word in sorted(subject.kind.requires)) or "nothing"
    return f"No parts of flowopt go with it; it requires {needs}."


def _is_rows(subject: _Subject) -> str:
    """All state and memory is rows: leaves of shape (B, D), or (B,) for one number a row."""
    for method in subject.methods:
        for found in _run(method, _starts(), [0, 1, 2]):
            for path, leaf in found.items():
                if leaf.ndim == 0 or len(leaf) != len(STARTS):
                    return f"{path[1:]} has the shape {tuple(leaf.shape)} for {len(STARTS)} rows ({method.formula})."
    return ""


def _leaves_rows_alone(subject: _Subject) -> str:
    """Rows never see each other: a row of a batch is the row alone, bit for bit."""
    for method in subject.methods:
        together = _run(method, _starts(), [0, 1, 2])
        for row in range(len(STARTS)):
            alone = _run(method, _starts()[row : row + 1], [row])
            if fault := _difference(together, alone, [row], [0]):
                return (
                    f"Row {row} alone has another {fault} ({method.formula}). Reduce over the last dimension only, "
                    "with flowopt.core.rows, and take random numbers from flowopt.core.noise, by the seeds."
                )
    return ""


def _knows_no_order(subject: _Subject) -> str:
    """Permuted rows give permuted results, bit for bit."""
    order = [2, 0, 1]
    for method in subject.methods:
        straight = _run(method, _starts(), [5, 7, 9])
        permuted = _run(method, _starts()[order], [[5, 7, 9][row] for row in order])
        if fault := _difference(straight, permuted, order, [0, 1, 2]):
            return f"Another {fault} then ({method.formula}). Take random numbers by the seeds that `start` is given."
    return ""


def _contains_a_nan(subject: _Subject) -> str:
    """A row whose objective is not a number leaves the others as they are, bit for bit."""

    def spoilt(number: int, measured: Evaluation) -> Evaluation:
        bad = torch.tensor([False, number >= 2, False])
        value = torch.where(bad, torch.nan, measured.value)
        return rows.evaluation(value, torch.where(bad.unsqueeze(-1), torch.nan, measured.grad))

    for method in subject.methods:
        whole = _run(method, _starts(), [0, 1, 2])
        if fault := _difference(whole, _run(method, _starts(), [0, 1, 2], told=spoilt), [0, 2], [0, 2]):
            return f"Another {fault} beside such a row ({method.formula}). Use torch.where, not products with a mask."
    return ""


def _difference(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]], of_a: list[int], of_b: list[int]) -> str:
    """Where two runs differ first in these rows; empty where nowhere."""
    for number, (one, other) in enumerate(zip(a, b, strict=True)):
        for path, leaf in one.items():
            if path in other and not same(leaf[of_a], other[path][of_b]):
                return f"{path[1:]} after {number} steps"
    return ""


def _keeps_the_precision(subject: _Subject) -> str:
    """What is computed in float32 stays float32, and so with float64."""
    for method, dtype in product(subject.methods, (torch.float32, torch.float64)):
        for found in _run(method, _starts(dtype), [0, 1, 2]):
            for path, leaf in found.items():
                if leaf.is_floating_point() and leaf.dtype != dtype:
                    return (
                        f"{path[1:]} is {leaf.dtype} in a run of {dtype} ({method.formula}). Make tensors of others "
                        "(full_like, new_zeros, flowopt.core.full)."
                    )
    return ""


def _writes_to_nothing(subject: _Subject) -> str:
    """A part returns new tensors and never writes to those that it is given."""
    for method in subject.methods:
        before: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        for carry, _ in walk(method, FUNCTION, _starts(), STEPS):
            for held, copied in before:
                for path, leaf in held.items():
                    if not same(leaf, copied[path]):
                        return f"{path[1:]} has changed in place ({method.formula}). Write a + b in place of a += b."
            held = leaves(_kept(carry))
            before.append((held, {path: leaf.clone() for path, leaf in held.items()}))
    return ""


def _takes_a_number_a_row(subject: _Subject) -> str:
    """A parameter that is declared as a Number may be a tensor (B,), one number a row, cut down with the rows."""
    hints = typing.get_type_hints(subject.kind)
    for name, value in subject.part.parameters.items():
        if Tensor not in typing.get_args(hints[name]) or not isinstance(value, float):
            continue
        many = dataclasses.replace(subject.part, **{name: torch.full((3,), value, dtype=torch.float64)})
        if tuple(getattr(many.select(torch.tensor([0, 2])), name).shape) != (2,):
            return f"select([0, 2]) leaves {name} with another shape than (2,); leave select to the base class."
        for method in subject.methods:
            parts: list[Any] = [many if part is subject.part else part for part in method.parts]
            varied = Method(parts[0], parts[1], parts[2], tuple(parts[3:])).for_rows(3, torch.float64)
            one, other = (_run(chosen, _starts(), [0, 1, 2])[-1] for chosen in (method, varied))
            if not torch.allclose(one[".point.state.q"], other[".point.state.q"], rtol=1e-9, equal_nan=True):
                return f"{name} as a tensor of equal numbers moves otherwise than as one number ({method.formula})."
    return ""


def _needs_what_it_says(subject: _Subject) -> str:
    """A part that works with the value of the objective says so: needs_value is True."""

    def other_value(number: int, measured: Evaluation) -> Evaluation:
        return measured._replace(value=3.0 + torch.cos(measured.value * 9))

    for method in subject.methods:
        if not method.needs_value and (
            fault := _moved_otherwise(_run(method, _starts(), [0, 1, 2]), method, told=other_value)
        ):
            return f"With other values of f and the same gradients it has another {fault} ({method.formula})."
    return ""


def _moved_otherwise(usual: list[dict[str, Tensor]], method: Method, **given: Any) -> str:
    changed = _run(method, _starts(), [0, 1, 2], **given)
    kept = (".point.state", ".trial", ".h", ".t")
    usual = [{path: leaf for path, leaf in found.items() if path.startswith(kept)} for found in usual]
    return _difference(usual, changed, [0, 1, 2], [0, 1, 2])


def _looks_where_it_says(subject: _Subject) -> str:
    """A controller that looks at the point before the step, or sends back to it, says so: looks_back is True."""
    rule = subject.part
    if not isinstance(rule, Controller) or rule.looks_back or rule.rejects:
        return ""
    for method in subject.methods:
        blind = Method(method.system, method.integrator, _Blind(rule), method.transforms)
        seeds = list(range(len(STARTS)))
        if fault := _difference(_run(method, _starts(), seeds), _run(blind, _starts(), seeds), seeds, seeds):
            return f"Without the point before the step it has another {fault} ({method.formula})."
    return ""


@dataclass(frozen=True)
class _Blind(Controller):
    """A step-size rule that is shown no number of the point before the step."""

    rule: Controller

    name = "blind"
    looks_back = False

    @property
    def requires(self) -> frozenset[str]:  # type: ignore[override]
        return self.rule.requires

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        return self.rule.adaptive

    def start(self, point: Point) -> Any:
        return self.rule.start(point)

    def judge(self, step: Any, memory: Any) -> Any:
        hidden = _nowhere(step.before)
        return self.rule.judge(step._replace(before=hidden), memory)


def _nowhere(record: Any) -> Any:
    """The same record without a number in it."""
    if isinstance(record, Tensor):
        return torch.full_like(record, torch.nan)
    if isinstance(record, dict):
        return {name: _nowhere(item) for name, item in record.items()}
    return record if record is None else type(record)(*map(_nowhere, record))


def _pays_for_its_stages(subject: _Subject) -> str:
    """An integrator says how many gradients a step takes, the one at the new point included: stages."""
    scheme = subject.part
    if not isinstance(scheme, Integrator) or scheme.needs_hvp:  # an iteration takes as many as it needs
        return ""
    for method in subject.methods:
        objective = Objective(FUNCTION, torch.arange(3))
        with torch.no_grad():
            q = _starts()
            state = method.system.start(q, measured := objective(q), objective)
            rate = method.system.rate(state, measured, objective) if scheme.uses_rate else None
            begun = objective.counts()["gradient"]
            trial = scheme.move(method.system, Point(state, measured, rate), q.new_full((3,), 1e-3), objective).trial
            scheme.complete(method.system, trial, objective(trial["q"]), q.new_full((3,), 1e-3))
        paid = int((objective.counts()["gradient"] - begun).max())
        if paid != scheme.stages:
            return f"Here stages = {scheme.stages}, and a step took {paid} ({method.formula})."
    return ""


def _has_its_order(subject: _Subject) -> str:
    """An integrator has the order that it says: the error at a fixed time falls as h^order."""
    scheme = subject.part
    if not isinstance(scheme, Integrator):
        return ""
    systems = [GradientFlow(), HeavyBall(), *(method.system for method in subject.methods)]
    system = next((one for one in systems if one.continuous() == one and fits(one, scheme, Fixed(1e-3))), None)
    if system is None or not fits(system, RK4(), Fixed(1e-3)):
        return ""
    end = 0.5
    exact = _end(Method(system, RK4(), Fixed(end / 1024)), 1024)
    count = 16 if scheme.needs_hvp else {1: 64, 2: 32, 3: 16}.get(scheme.order, 8)
    errors = [float((_end(Method(system, scheme, Fixed(end / n)), n) - exact).norm()) for n in (count, 2 * count)]
    order = math.log2(errors[0] / errors[1]) if errors[1] > 0 else math.inf
    if order < scheme.order - 0.3:
        return f"Here order = {scheme.order}, and the error fell as h^{order:.2f} ({system.name})."
    return ""


def _end(method: Method, steps: int) -> Tensor:
    *_, (carry, _) = walk(method, FUNCTION, _starts(), steps)
    return carry.point.state["q"]


def _moves_as_it_says(subject: _Subject) -> str:
    """A system moves as its `provides` says: along -grad f, downhill, or with a conserved energy."""
    system = subject.part
    if not isinstance(system, System):
        return ""
    objective, q = Objective(FUNCTION, torch.arange(3)), _starts()
    with torch.no_grad():
        measured = objective(q)
        state = system.start(q, measured, objective)
        rate = system.rate(state, measured, objective)["q"]
        energy = system.energy(state, measured)
    if tuple(energy.shape) != (3,):
        return f"Its energy has the shape {tuple(energy.shape)} for 3 rows; it is one number a row, (3,)."
    grad = system.objective(state, measured).grad
    if "gradient_flow" in system.provides and not torch.allclose(rate, -grad):
        return "It provides 'gradient_flow', and its rate is not -grad f."
    if "descent" in system.provides and bool((rows.dot(rate, grad) > 0).any()):
        return "It provides 'descent', and <rate, grad f> is above 0."
    if "hamiltonian" in system.provides and fits(system, RK4(), Fixed(1e-3)):
        *_, (carry, _) = walk(Method(system, RK4(), Fixed(1e-3)), FUNCTION, q, 100)
        drift = float((system.energy(carry.point.state, carry.point.evaluation) - energy).abs().max())
        if drift > 1e-6 * (1 + float(energy.abs().max())):
            return f"It provides 'hamiltonian', and its energy changes by {drift:.2g} in a time of 0.1."
    return ""


def _network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def _data() -> tuple[Tensor, Tensor]:
    """More samples than parameters: a Hessian without full rank would make much of rounding."""
    t = torch.linspace(-1, 1, 32, dtype=torch.float64)
    x = torch.stack([t, torch.sin(7 * t)], dim=-1)
    return x, x[:, :1] * x[:, 1:] + 0.3


def _loss(model: nn.Module, optimizer: FlowOptimizer) -> Tensor:
    x, y = _data()
    loss = nn.functional.mse_loss(model(x), y)
    parameters = list(model.parameters())
    grads = torch.autograd.grad(loss, parameters, create_graph=optimizer.method.needs_hvp)
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    return loss


def _trains(method: Method, seed: int, steps: int) -> Tensor:
    """The parameters ``(D,)`` of a tiny network after some steps, those that are accepted."""
    model = _network(seed)
    optimizer = FlowOptimizer(model.named_parameters(), method, seed=seed, compile=False)
    for _ in range(steps):
        optimizer.step(partial(_loss, model, optimizer))
    with optimizer.accepted():
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def _runs_on_a_network(subject: _Subject) -> str:
    """A part runs in a FlowOptimizer, of any D: what it does with leaves is elementwise, or in flowopt.core.rows."""
    for method in subject.methods:
        if not bool(_trains(method, 0, STEPS).isfinite().all()):
            return f"Parameters that are not finite ({method.formula})."
    return ""


def _runs_in_an_ensemble(subject: _Subject) -> str:
    """A part runs in an Ensemble, where a member moves as it does alone."""
    for method in subject.methods:
        ensemble = Ensemble(_network, 2, method, task="regression")
        for _ in range(2):  # rounding differs, and a scheme that solves with a Hessian may make much of it
            ensemble.step(*_data())
        for member in range(2):
            found = torch.cat([leaf.flatten() for leaf in ensemble.member(member).parameters()]).detach()
            alone = _trains(method, member, 2)
            if not float((found - alone).norm()) <= 1e-6 * (1 + float(alone.norm())):
                return f"Member {member} moves otherwise than in a FlowOptimizer of its own ({method.formula})."
    return ""


OF_PARTS = (
    _goes_with_something,
    _is_rows,
    _leaves_rows_alone,
    _knows_no_order,
    _contains_a_nan,
    _keeps_the_precision,
    _writes_to_nothing,
    _takes_a_number_a_row,
    _needs_what_it_says,
    _looks_where_it_says,
    _pays_for_its_stages,
    _has_its_order,
    _moves_as_it_says,
    _runs_on_a_network,
    _runs_in_an_ensemble,
)
