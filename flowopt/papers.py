"""The named methods: each puts parts together, with its citation and the reading it follows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flowopt.controllers.fixed import Fixed
from flowopt.controllers.lte import LTE
from flowopt.errors import BadValue, UnknownName
from flowopt.integrators.euler import ForwardEuler
from flowopt.kernel import Method
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow


@dataclass(frozen=True)
class Entry:
    """A named method: how to build it, and whose it is."""

    build: Callable[..., Method]
    paper: str
    citation: str
    reading: str

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.build) or "").split("\n", 1)[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters with their defaults; `inspect.Parameter.empty` where one is required."""
        return {name: p.default for name, p in inspect.signature(self.build).parameters.items()}


METHODS: dict[str, Entry] = {}


def named(paper: str, citation: str = "", reading: str = "") -> Callable[[Callable[..., Method]], Callable[..., Method]]:
    """Enter a function that builds a Method under the function's name."""

    def enter(build: Callable[..., Method]) -> Callable[..., Method]:
        METHODS[build.__name__] = Entry(build, paper, citation, reading)
        return build

    return enter


def method(name: str, **parameters: Any) -> Method:
    """The paper's method with that name; `parameters` replace its documented defaults.

    >>> method("gd", lr=1e-3).controller
    Fixed(h=0.001)

    Raises UnknownName for a name or a parameter that does not exist, BadValue for a number out of range.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    entry = METHODS[name]
    for parameter in parameters:
        if parameter not in entry.defaults:
            raise UnknownName(f"parameter of {name}", parameter, entry.defaults)
    missing = [key for key, value in entry.defaults.items() if value is inspect.Parameter.empty and key not in parameters]
    if missing:
        raise BadValue(f"{name} needs {', '.join(missing)}: it has no default")
    return replace(entry.build(**parameters), name=name, citation=entry.citation, reading=entry.reading)


def as_method(given: str | Method, overrides: dict[str, Any]) -> Method:
    """A Method from a name and parameters, or the Method itself."""
    if isinstance(given, str):
        return method(given, **overrides)
    if isinstance(given, Method):
        if overrides:
            raise BadValue(
                f"parameters ({', '.join(overrides)}) go with a method's name; a Method that is already built "
                "takes none (set them on its parts)"
            )
        return given
    raise BadValue(f"a method is a name, a Method, or a torch.optim.Optimizer class or factory, not {given!r}")


@named(paper="")
def gd(lr: float = 1e-3) -> Method:
    """Gradient descent: gradient flow by forward Euler with a fixed step, which is torch.optim.SGD(lr)."""
    return Method(GradientFlow(), ForwardEuler(), Fixed(lr))


@named(paper="ECCO-DNN")
def ecco(eta=0.1, scaling="gradient_difference", difference="divide", normalise=None, h_max=1.0) -> Method:
    """ECCO-DNN as published."""
    return Method(ScaledGradientFlow(scaling, difference, normalise), ForwardEuler(), LTE(eta, h_max))
