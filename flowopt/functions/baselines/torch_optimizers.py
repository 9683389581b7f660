"""Any torch.optim.Optimizer where a method stands: it is wrapped into parts, so the driver runs it like any method.

A step is the optimizer's own, h is its learning rate and t the sum of those. There is no vector field behind it that
we know of, so error and energy are NaN.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

import torch
from torch import Tensor, optim
from torch.nn import Parameter
from torch.optim import Optimizer

from flowopt.core import rows
from flowopt.core._importing import imported, is_address, required
from flowopt.core.errors import BadValue, UnknownName, check_range, shown
from flowopt.core.method import Method
from flowopt.core.parameters import as_parameter
from flowopt.core.parts import Controller, Integrator, System, full
from flowopt.core.state import Evaluation, Measure, MeasureOfRows, Memory, Move, Number, Point, State, Step, Verdict

ELEMENTWISE: frozenset[type[Optimizer]] = frozenset(
    {
        optim.SGD,
        optim.Adam,
        optim.AdamW,
        optim.RMSprop,
        optim.Adagrad,
        optim.Adadelta,
        optim.NAdam,
        optim.RAdam,
        optim.Adamax,
        optim.ASGD,
        optim.Rprop,
    }
)
"""These treat every coordinate by itself, so one instance takes all rows as one parameter ``(B, D)``, and a row in a
batch moves as it does alone, bit for bit. Of any other optimizer each row has an instance of its own."""

PREFIX = "torch:"

Make = Callable[[list[Parameter]], Any]


@dataclass(frozen=True)
class OptimizerRecipe:
    """How to build a torch optimizer, and its name for error messages."""

    make: Make
    label: str

    def method(self, q: Tensor) -> Method:
        """The Method for one run from q ``(B, D)``; the optimizer's own state serves that run only.

        Raises BadValue if the recipe yields no optimizer, or torch refuses its parameters.
        """
        return _method(_optimizers(self, q))


def each_its_own(recipes: Sequence[OptimizerRecipe], q: Tensor) -> Method:
    """The Method for one run from q ``(B, D)`` whose row i is moved by recipe i of the same kind of optimizer.

    Raises BadValue as `OptimizerRecipe.method` does.
    """
    optimizers = OneEach([_alone(recipe, row) for recipe, row in zip(recipes, q, strict=True)])
    return Method(
        OptimizerFlow(optimizers.lr()), OptimizerStep(optimizers.name, optimizers), LearningRate(), name=optimizers.name
    )


def as_optimizer(given: Any, overrides: dict[str, Any]) -> OptimizerRecipe | None:
    """A recipe from ``"torch:Adam"``, an Optimizer class, or a factory ``lambda params: Adam(params, lr=0.1)``.

    Class and factory also as ``"module:name"``; None for anything else, of a function that needs no argument too: it
    may build a Method.
    """
    if isinstance(given, str):
        if given.lower().startswith(PREFIX):
            given = _by_name(given[len(PREFIX) :])
        elif is_address(given):
            given = imported(given)
            if callable(given) and not isinstance(given, type) and not required(given):
                return None
    if isinstance(given, type) and issubclass(given, Optimizer):
        if issubclass(given, optim.SparseAdam):
            raise BadValue("SparseAdam takes sparse gradients only, and functions have none; take torch:Adam")
        overrides = _checked_parameters(given, overrides)
        return OptimizerRecipe(partial(given, **overrides), given.__name__)
    if isinstance(given, (type, Method)) or not callable(given):
        return None
    if overrides:
        raise BadValue(
            f"parameters ({', '.join(overrides)}) go with a name or a class; a factory sets its optimizer's own"
        )
    return OptimizerRecipe(given, getattr(given, "__name__", repr(given)))


def _by_name(name: str) -> type[Optimizer]:
    known = {
        key: value
        for key, value in vars(optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value not in (Optimizer, optim.SparseAdam)
    }
    folded = {key.lower(): value for key, value in known.items()}
    if name.lower() not in folded:
        raise UnknownName("torch optimizer", name, known)
    return folded[name.lower()]


def _checked_parameters(kind: type[Optimizer], overrides: dict[str, Any]) -> dict[str, Any]:
    """The parameters of an optimizer class, which takes one value of each for all rows: numbers as Python's.

    Raises UnknownName, and BadValue where a number stands in the signature and none is given.
    """
    _, *accepted = inspect.signature(kind).parameters.values()  # the first is params
    defaults = {parameter.name: parameter.default for parameter in accepted}
    given = {
        name: value if isinstance(defaults.get(name), tuple) else _one(kind, name, value)
        for name, value in overrides.items()
    }
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted):
        return given
    for name, value in given.items():
        if name not in defaults:
            raise UnknownName(f"parameter of {kind.__name__}", name, defaults)
        for default, number in _pairs(kind, name, defaults[name], value):
            if isinstance(default, (int, float)) and not isinstance(default, bool):
                check_range(kind.__name__, name, number, infinite=True)
    return given


def _one(kind: type[Optimizer], name: str, value: Any) -> Any:
    value = as_parameter(kind.__name__, name, value)
    if isinstance(value, Tensor) and value.numel() != 1:
        raise BadValue(f"{kind.__name__}: {name} has the shape {tuple(value.shape)}; give one number for all rows")
    return value.item() if isinstance(value, Tensor) else value


def _pairs(kind: type[Optimizer], name: str, default: Any, value: Any) -> list[tuple[Any, Any]]:
    """A default and what is given for it, one by one where that is a tuple (betas)."""
    if not isinstance(default, tuple):
        return [(default, value)]
    if not isinstance(value, (tuple, list)) or len(value) != len(default):
        raise BadValue(f"{kind.__name__}: {name} = {shown(value)} must be {len(default)} numbers, as in {default}")
    return list(zip(default, value, strict=True))


class Optimizers(Protocol):
    """The optimizers of all running rows."""

    @property
    def name(self) -> str:
        """What the optimizer is called."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its hyperparameters."""

    def lr(self) -> Number:
        """The current learning rate, one number or ``(B,)``."""

    def step(self, q: Tensor, evaluation: Evaluation, h: Tensor, measure: Measure) -> Tensor:
        """One step from q, with learning rate h where that is shorter than its own."""

    def select(self, index: Tensor) -> Self:
        """Go on with the rows `index` only; the others do not come back."""


class Holder:
    """An optimizer and the one parameter that it moves."""

    def __init__(self, recipe: OptimizerRecipe, start: Tensor) -> None:
        self.parameter = Parameter(start.clone())
        try:
            self.optimizer = recipe.make([self.parameter])
        except (TypeError, ValueError) as error:
            raise BadValue(f"{recipe.label}: {error}") from error
        except Exception as error:  # whatever a function raises that was not made for parameters
            raise BadValue(f"{recipe.label}(params) raised {type(error).__name__}: {error}") from error
        if not isinstance(self.optimizer, Optimizer):
            raise BadValue(
                f"{recipe.label}(params) must return a torch.optim.Optimizer, not {self.optimizer!r}; "
                "a method is a name, a Method, an Optimizer class, or a factory of instances"
            )
        owned = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if len(owned) != 1 or owned[0] is not self.parameter:
            raise BadValue(f"{recipe.label}(params) must hand exactly the given params to its optimizer")

    @property
    def name(self) -> str:
        """Package and class, ``torch:Adam``."""
        kind = type(self.optimizer)
        return f"{kind.__module__.partition('.')[0]}:{kind.__name__}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The optimizer's hyperparameters."""
        group = self.optimizer.param_groups[0].items()
        return {
            name: value.tolist() if isinstance(value, Tensor) else value for name, value in group if name != "params"
        }

    @property
    def lr(self) -> float:
        """The learning rate; 1 for an optimizer that has none, so that its time counts steps."""
        return float(self.optimizer.param_groups[0].get("lr", 1.0))

    @contextmanager
    def limited(self, h: float) -> Iterator[None]:
        """Inside, a learning rate above h is h: the last step of a run that ends at t_end is cut short."""
        own = [(group, group["lr"]) for group in self.optimizer.param_groups if group.get("lr", h) > h]
        for group, _ in own:
            group["lr"] = h
        try:
            yield
        finally:
            for group, lr in own:
                group["lr"] = lr


class OneForAll:
    """One elementwise optimizer; the rows are the rows of its parameter."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    @property
    def name(self) -> str:
        return self._holder.name

    @property
    def parameters(self) -> dict[str, Any]:
        return self._holder.parameters

    def lr(self) -> Number:
        return self._holder.lr

    def step(self, q: Tensor, evaluation: Evaluation, h: Tensor, measure: Measure) -> Tensor:
        parameter = self._holder.parameter
        parameter.data.copy_(q)
        parameter.grad = evaluation.grad.clone()  # theirs: a hook may clip it in place
        with self._holder.limited(_limit(h, self._holder.lr)):
            self._holder.optimizer.step()
        return parameter.detach().clone()

    def select(self, index: Tensor) -> Self:
        old, optimizer = self._holder.parameter, self._holder.optimizer
        new = Parameter(rows.select(old.detach(), index))
        state = {
            key: rows.select(value, index) if isinstance(value, Tensor) and value.shape == old.shape else value
            for key, value in optimizer.state[old].items()
        }
        optimizer.state = defaultdict(dict, {new: state})
        for group in optimizer.param_groups:
            group["params"] = [new] if group["params"] else []
        self._holder.parameter = new
        return self


class OneEach:
    """One optimizer a row; each may ask for more evaluations of its row through the closure (LBFGS)."""

    def __init__(self, holders: list[Holder]) -> None:
        self._holders = holders

    @property
    def name(self) -> str:
        return self._holders[0].name

    @property
    def parameters(self) -> dict[str, Any]:
        return self._holders[0].parameters

    def lr(self) -> Number:
        return torch.tensor([holder.lr for holder in self._holders], dtype=torch.float64)

    def step(self, q: Tensor, evaluation: Evaluation, h: Tensor, measure: Measure) -> Tensor:
        trial = torch.empty_like(q)
        for i, holder in enumerate(self._holders):
            point = q[i].reshape(holder.parameter.shape)
            holder.parameter.data.copy_(point)
            holder.parameter.grad = evaluation.grad[i].reshape(point.shape).clone()  # theirs, to scale or to clip
            arguments = {}
            if "closure" in inspect.signature(holder.optimizer.step).parameters:
                assert isinstance(measure, MeasureOfRows), "only functions are minimised with other people's optimizers"
                known = rows.select(evaluation, torch.tensor([i]))
                arguments["closure"] = partial(_remeasure, holder.parameter, point, known, measure, i)
            with holder.limited(_limit(h[i : i + 1], holder.lr)):
                holder.optimizer.step(**arguments)
            trial[i] = holder.parameter.detach().reshape(-1)
        return trial

    def select(self, index: Tensor) -> Self:
        return type(self)([self._holders[i] for i in index.tolist()])


@torch.no_grad()
def _remeasure(parameter: Parameter, point: Tensor, known: Evaluation, measure: MeasureOfRows, row: int) -> Tensor:
    """The closure: loss and gradient at the parameter; at the point where they are known, nothing is paid."""
    here = parameter.detach()
    measured = known if torch.equal(here, point) else measure.of_row(row, here.reshape(1, -1).clone())
    parameter.grad = measured.grad.reshape(here.shape).clone()
    return measured.value[0].clone()


def _limit(h: Tensor, lr: float) -> float:
    """The step that the driver asks for: all of `lr`, unless it is shorter in the rows' own precision."""
    least = h.min()  # of rows that share a time, the one that just died asks for more, and is out of it
    return lr if bool(least >= torch.as_tensor(lr, dtype=h.dtype)) else float(least)


def _method(optimizers: Optimizers) -> Method:
    name = optimizers.name
    return Method(OptimizerFlow(optimizers.lr()), OptimizerStep(name, optimizers), LearningRate(), name=name)


def _optimizers(recipe: OptimizerRecipe, q: Tensor) -> Optimizers:
    first = _alone(recipe, q[0])
    if type(first.optimizer) in ELEMENTWISE:
        return OneForAll(Holder(recipe, q))
    return OneEach([first, *(_alone(recipe, row) for row in q[1:])])


def _alone(recipe: OptimizerRecipe, row: Tensor) -> Holder:
    """A holder for one row ``(D,)``, as a matrix ``(1, D)`` if the optimizer is for matrices only (Muon)."""
    try:
        return Holder(recipe, row)
    except BadValue as refused:
        try:
            return Holder(recipe, row.unsqueeze(0))
        except BadValue:
            raise refused from None


@dataclass(frozen=True)
class OptimizerFlow(System):
    """The motion that an optimizer makes of the gradients; no energy is known. The leaf "lr" is its learning rate."""

    lr: Number

    name = "torch_optimizer_flow"

    def start(self, q: Tensor, evaluation: Evaluation, measure: Measure | None) -> State:
        return {"q": q, "lr": full(q, self.lr)}

    def energy(self, state: State, evaluation: Evaluation) -> Tensor:
        return torch.full_like(evaluation.value, torch.nan)


@dataclass(frozen=True)
class OptimizerStep(Integrator):
    """One step of the optimizers. Each keeps its own state, so a step is made once and never rolled back."""

    optimizer: str
    optimizers: Optimizers

    name = "torch_optimizer_step"
    order = 0
    stages = 1
    uses_rate = False

    @property
    def parameters(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, **self.optimizers.parameters}

    def select(self, index: Tensor) -> Self:
        return replace(self, optimizers=self.optimizers.select(index))

    def move(self, system: System, point: Point, h: Tensor, measure: Measure | None) -> Move:
        assert measure is not None
        trial = self.optimizers.step(point.state["q"], point.evaluation, h, measure)
        return Move({"q": trial, "lr": full(h, self.optimizers.lr())})


@dataclass(frozen=True)
class LearningRate(Controller):
    """The step size is the optimizer's learning rate, whatever it makes of it."""

    name = "learning_rate"
    adaptive = False

    def start(self, point: Point) -> tuple[Tensor, Memory]:
        return point.state["lr"], {}

    def judge(self, step: Step, memory: Memory) -> Verdict:
        return Verdict(step.after.state["lr"], memory)
