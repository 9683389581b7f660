"""The contract of parts: ours keep it, and each rule catches a part that breaks it."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from catalogue import PARTS
from torch import Tensor

from flowopt.core import (
    Controller,
    Evaluation,
    Measure,
    Memory,
    Number,
    Part,
    Point,
    Rate,
    State,
    Step,
    System,
    Transform,
    Verdict,
    full,
    rows,
)
from flowopt.integrators.runge_kutta import RungeKutta
from flowopt.systems import GradientFlow
from flowopt.testing import BrokenContract, check_part

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_our_own_parts_keep_the_contract(part: type[Part]) -> None:
    check_part(part)


def test_an_instance_is_checked_as_it_is() -> None:
    (code,) = [found for found in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "check_part" in found]
    written: dict[str, Any] = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), written)
    written["test_the_part_keeps_the_contract"]()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SignFlow", "Midpoint", "RobbinsMonro", "Restart"])
def test_the_examples_of_contributing_keep_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [found for found in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"class {name}(" in found]
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), vars(module))
    check_part(getattr(module, name))


# --- broken parts ---


class Rule(Controller):
    """A constant step size that the broken rules are made of."""

    source = ""

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return full(point.evaluation.value, 0.01), {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict(step.h, memory)


def declared(kind: type, **members: Any) -> Any:
    """A frozen dataclass with these members, annotated ones as parameters."""
    members = {"__doc__": "A broken part.", "__module__": __name__, "name": "broken", "source": ""} | members
    return dataclass(frozen=True)(type("Broken", (kind,), members))


def ruled(judge: Callable[..., Verdict], **members: Any) -> Any:
    return declared(Rule, judge=judge, **members)


def flowing(rate: Callable[..., Rate], **members: Any) -> Any:
    return declared(GradientFlow, rate=rate, provides=frozenset({"descent"}), **members)


def in_place(self: Any, system: Any, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
    state["q"].mul_(0.999)
    return state, memory


def drawn(self: Any, system: Any, state: State, evaluation: Evaluation, memory: Memory) -> tuple[State, Memory]:
    return state | {"p": state["p"] + 1e-3 * torch.randn_like(state["p"])}, memory


def remembering(self: Any, point: Point) -> tuple[Tensor, Memory]:
    return full(point.evaluation.value, 0.01), {"count": torch.zeros(len(point.evaluation.value), dtype=torch.float64)}


def one_number(self: Any, point: Point) -> tuple[Tensor, Memory]:
    return full(point.evaluation.value, 0.01), {"count": torch.zeros(())}


def mean_gradient(self: Any, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
    return {"q": -evaluation.grad / evaluation.grad.norm()}


def uphill(self: Any, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
    return {"q": evaluation.grad}


def by_fours(self: Any, state: State, evaluation: Evaluation, measure: Measure | None) -> Rate:
    return {"q": -evaluation.grad.reshape(-1, 4).reshape(evaluation.grad.shape)}


def all_finite(self: Any, step: Step, memory: Memory) -> Verdict:
    return Verdict(step.h * (1.0 if bool(step.after.evaluation.value.isfinite().all()) else 0.5), memory)


def by_value(self: Any, step: Step, memory: Memory) -> Verdict:
    return Verdict(0.01 / (1 + step.after.evaluation.value), memory)


def by_the_past(self: Any, step: Step, memory: Memory) -> Verdict:
    return Verdict(0.01 / (1 + rows.norm(step.before.evaluation.grad)), memory)


def unasked(self: Any, step: Step, memory: Memory) -> Verdict:
    return Verdict(step.h, memory, step.h > 0)


class Undecorated(Rule):
    """No dataclass."""

    name = "undecorated"


@dataclass(frozen=True)
class Careless(Rule):
    """Takes any number."""

    h0: Number = 0.01

    name = "careless"


EULER = {"a": (), "b": (1.0,), "stages": 1}

BROKEN: dict[str, tuple[Any, str]] = {
    "not a part": (dict, "A part is a class that derives from System.* This one does not"),
    "no dataclass": (
        Undecorated,
        r"Undecorated \(controller\): A part is a frozen dataclass .* Write @dataclass\(frozen=True\)",
    ),
    "no name": (declared(Rule, name="My Part"), "A part has a name of its own.*'My Part'"),
    "no docstring": (declared(Rule, __doc__=None), "There is no docstring"),
    "an unknown word": (declared(Rule, requires=frozenset({"momemtum"})), "set of words.*momemtum"),
    "takes nonsense": (Careless, r"h0 = nan was taken; check it in __post_init__, with check_positive"),
    "nothing in it": (declared(System), "NotImplementedError"),
    "goes with nothing": (
        ruled(Rule.judge, requires=frozenset({"single_stage", "hamiltonian", "friction"})),
        "No parts of flowopt go with it; it requires a system q''",
    ),
    "memory is not rows": (ruled(Rule.judge, start=one_number), r"memory.count has the shape \(\) for 3 rows"),
    "sees other rows": (flowing(mean_gradient), "Rows never see each other.*Row 0 alone has another"),
    "draws by itself": (
        declared(Transform, settle=drawn, requires=frozenset({"momentum"})),
        "Rows never see each other",
    ),
    "infected": (
        ruled(all_finite),
        "is not a number leaves the others as they are.*Another trial.q after 2",
    ),
    "another precision": (
        ruled(Rule.judge, start=remembering),
        "memory.count is torch.float64 in a run of torch.float32",
    ),
    "writes in place": (declared(Transform, settle=in_place), "never writes to those that it is given"),
    "works with the value": (ruled(by_value, looks_back=False), "needs_value is True"),
    "looks back": (ruled(by_the_past, looks_back=False), "looks_back is True"),
    "rejects": (ruled(unasked), "`rejects` is False"),
    "another order": (declared(RungeKutta, order=2, **EULER), r"Here order = 2, and the error fell as h\^1.0"),
    "more stages": (declared(RungeKutta, order=1, **EULER | {"stages": 3}), "Here stages = 3, and a step took 1"),
    "uphill": (flowing(uphill), "It provides 'descent', and <rate, grad f> is above 0"),
    "only in four dimensions": (flowing(by_fours), "A part runs in a FlowOptimizer.*Error: "),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_part_is_told_which_rule_it_breaks(what: str) -> None:
    part, message = BROKEN[what]
    with pytest.raises(BrokenContract, match=message):
        check_part(part)
