"""What can be compared: named methods, Methods, functions that build one, torch's optimizers, SciPy's minimizers.

Each kind answers the same questions: which parameters it has, which of them is its step size, and what
`flowopt.minimize` is to be given.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import scipy
import torch
from scipy.optimize import _minimize
from torch import Tensor

from flowopt.core._importing import REQUIRED
from flowopt.core.errors import BadValue, FlowoptError, UnknownName, shown
from flowopt.core.roles import LowerBound, StepSize
from flowopt.functions._minimize import minimize
from flowopt.functions.baselines import OptimizerRecipe, as_baseline, each_its_own
from flowopt.methods import Entry
from flowopt.problems._problem import Problem

TORCH_STEP = StepSize(1e-5, 10.0)
"""Where the learning rate of an optimizer of torch is looked for, if no twin of it says otherwise."""
GTOL = 1e-6
"""A run has converged where |grad f| is at most this; SciPy's minimizers get it as well."""
FOR_SCIPY = (
    "eps",
    "finite_diff_rel_step",
    "args",
    "jac",
    "hess",
    "hessp",
    "bounds",
    "constraints",
    "callback",
    "return_all",
    "verbose",
    "disp",
    "iprint",
    "gtol",
    "workers",
    "maxiter",
    "maxfun",
    "maxfev",
)
"""What SciPy's functions take that is not a parameter of theirs, or is of no use beside our gradients and budget."""
PARABOLA = Problem("parabola", lambda x: x.square().sum(-1), None)
"""What SciPy's options are tried on: it says only while it runs that it does not know one."""


@dataclass(frozen=True)
class Candidate:
    """One of those that are compared."""

    name: str
    given: Any
    """What it was made from: a name, a Method, a class, a function."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Those that were set."""

    source = ""
    """Paper or library."""
    untuned = ""
    """Why it has no step size to look for."""
    shares = True
    """Whether its parameters go by the names that ours have, so that a key without an owner can mean them."""

    @property
    def step(self) -> tuple[str, StepSize] | None:
        """Name and range of its one step size, if there is one."""
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """All parameters that it runs with."""
        return dict(self.parameters)

    @property
    def shown(self) -> dict[str, Any]:
        """The parameters that matter to a reader: the step size, and what was set."""
        step = {} if self.step is None else {self.step[0]: self.settings.get(self.step[0])}
        return step | self.parameters

    def accepts(self, key: str) -> bool:
        """Whether it has a parameter of that name."""
        return False

    def call(self, **changes: Any) -> tuple[Any, dict[str, Any]]:
        """What `minimize` takes, method and overrides, with other parameters if `changes` are given."""
        return self.given, {**self.parameters, **changes}

    def rows(self, values: Sequence[float], starts: Tensor) -> tuple[Any, dict[str, Any]]:
        """The same for one run of rows ``(B, D)``, each with a value of its own of the step size."""
        assert self.step is not None
        return self.call(**{self.step[0]: torch.tensor(values, dtype=torch.float64)})

    def check(self, start: Tensor) -> None:
        """Raise BadValue or UnknownName for parameters that it does not take; no objective is called."""

    def system(self) -> Any:
        """The system whose flow it follows, if it has one."""
        return None

    def bounded(self, minimum: float | None) -> Candidate:
        """The same, with a known minimum as its lower bound of f, if it needs one and none was set."""
        return self


@dataclass(frozen=True)
class OfBuilder(Candidate):
    """A function that builds a Method, a named one or the user's own."""

    entry: Entry = field(kw_only=True)
    """What declares the parameters, and builds it."""
    source: str = "own"
    untuned = "no parameter is declared as its step size (Annotated[..., flowopt.core.roles.StepSize(low, high)])"

    @property
    def step(self) -> tuple[str, StepSize] | None:
        return next(iter(self.entry.roles(StepSize).items()), None)

    @property
    def settings(self) -> dict[str, Any]:
        found = {**self.entry.defaults, **self.entry.canonical(self.parameters)}
        return {name: value for name, value in found.items() if value is not REQUIRED}

    def accepts(self, key: str) -> bool:
        return self.entry.spelled(key) in self.entry.defaults

    def call(self, **changes: Any) -> tuple[Any, dict[str, Any]]:
        return self.entry.make({**self.entry.canonical(self.parameters), **changes}), {}

    def check(self, start: Tensor) -> None:
        self.call()

    def system(self) -> Any:
        return self.call()[0].system

    def bounded(self, minimum: float | None) -> Candidate:
        if not minimum:  # unknown, or 0, which is the default
            return self
        given = self.entry.canonical(self.parameters)
        return replace(self, parameters=dict.fromkeys(self.entry.roles(LowerBound), minimum) | given)


@dataclass(frozen=True)
class OfMethod(Candidate):
    """A Method that is already built."""

    source = "own"
    untuned = "a Method that is already built; give the function that builds it, with its step size declared"

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.given.settings)

    @property
    def shown(self) -> dict[str, Any]:
        controller = self.given.controller
        return {f"{controller.name}.{name}": value for name, value in controller.parameters.items()}

    def system(self) -> Any:
        return self.given.system


@dataclass(frozen=True)
class OfTorch(Candidate):
    """An optimizer class, by ``"torch:Adam"`` or as it is."""

    range: StepSize = TORCH_STEP
    source = "torch.optim"

    @property
    def step(self) -> tuple[str, StepSize] | None:
        return ("lr", self.range)

    @property
    def settings(self) -> dict[str, Any]:
        built = self._recipe().method(torch.zeros(1, 2, dtype=torch.float64))
        return {name: value for name, value in built.integrator.parameters.items() if name != "optimizer"}

    def rows(self, values: Sequence[float], starts: Tensor) -> tuple[Any, dict[str, Any]]:
        return each_its_own([self._recipe(lr=value) for value in values], starts), {}

    def accepts(self, key: str) -> bool:
        try:
            as_baseline(self.given, {key: None})
        except UnknownName:
            return False
        except BadValue:  # it is None that is wrong
            return True
        return True

    def check(self, start: Tensor) -> None:
        self._recipe().method(start)

    def _recipe(self, **changes: Any) -> OptimizerRecipe:
        recipe = as_baseline(self.given, {**self.parameters, **changes})
        assert isinstance(recipe, OptimizerRecipe)
        return recipe


@dataclass(frozen=True)
class OfFactory(Candidate):
    """A function of parameters that makes a torch optimizer; what it sets nobody else can."""

    source = "own"
    untuned = "a factory sets its optimizer's own learning rate; give the class to have it tuned"

    @property
    def settings(self) -> dict[str, Any]:
        return OfTorch(self.name, self.given).settings

    @property
    def shown(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.items() if name == "lr"}

    def check(self, start: Tensor) -> None:
        try:
            OfTorch(self.name, self.given).check(start)
        except BadValue as error:
            raise BadValue(
                f"{error} (arguments without a default: {self.name} is called with the parameters, as what makes an "
                "optimizer; what builds a Method has a default for each of its arguments)"
            ) from error


@dataclass(frozen=True)
class OfScipy(Candidate):
    """A minimizer of SciPy."""

    source = "SciPy"
    untuned = "its line search or trust region finds the step"
    shares = False

    @property
    def settings(self) -> dict[str, Any]:
        return {"scipy": scipy.__version__} | self._defaults() | {"gtol": GTOL} | self.parameters

    def accepts(self, key: str) -> bool:
        return key in {"tol": None} | self._defaults()

    def check(self, start: Tensor) -> None:
        try:
            minimize(PARABOLA, [1.0], self.given, 2, **self.parameters)
        except (TypeError, ValueError) as error:
            if isinstance(error, FlowoptError):
                raise
            given = ", ".join(f"{name} = {shown(value)}" for name, value in self.parameters.items())
            raise BadValue(f"{self.name} does not take {given}: {error}") from error

    def _defaults(self) -> dict[str, Any]:
        """SciPy's own, of the function behind the name."""
        wanted = self.name.removeprefix("scipy:").lower().replace("-", "").replace("trust", "trust_")
        spelling = {"trust_exact": "trustregion_exact", "trust_constr": "trustregion_constr"}
        build = getattr(_minimize, f"_minimize_{spelling.get(wanted, wanted)}", None)
        given = inspect.signature(build).parameters if build is not None else {}
        return {
            name: option.default
            for name, option in given.items()
            if option.default is not option.empty and name not in FOR_SCIPY
        }


@dataclass(frozen=True)
class OfFlow(Candidate):
    """Gradient flow itself, by a solver of differential equations: what the methods are held against."""

    source = "SciPy"
