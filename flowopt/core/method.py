"""A method: a system, an integrator, a step-size controller and transforms that make sense together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flowopt.core._registry import discover
from flowopt.core.errors import IncompatibleParts
from flowopt.core.parts import MEANING, Controller, Integrator, Part, System, Transform


@dataclass(frozen=True)
class Method:
    """A system, an integrator, a step-size controller and transforms, checked to make sense together.

    Raises IncompatibleParts when they do not, with the reason and with what would work.
    """

    system: System
    integrator: Integrator
    controller: Controller
    transforms: tuple[Transform, ...] = ()
    name: str = ""
    citation: str = field(default="", repr=False)
    """BibTeX of the paper."""
    reading: str = field(default="", repr=False)
    """Which reading of a paper that contradicts itself this is."""

    def __post_init__(self) -> None:
        listed = isinstance(self.transforms, (tuple, list))
        if not listed or not all(isinstance(transform, Transform) for transform in self.transforms):
            raise IncompatibleParts(f"transforms must be a tuple of Transforms, not {self.transforms!r}")
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for part, kind in zip(self.parts, (System, Integrator, Controller), strict=False):
            if not isinstance(part, kind):
                raise IncompatibleParts(
                    f"Method(system, integrator, controller, transforms): {part!r} is not {_article(kind)}; "
                    f"known: {', '.join(discover(kind))}"
                )
        self._check_requirements()
        if self.system.continuous() != self.system and "single_stage" not in self.integrator.provides:
            raise IncompatibleParts(
                f"{self.system!r} remembers past steps, and the stages of {self.integrator.name} are not steps; use "
                f"forward_euler, or the field that it tends to, {self.system.continuous()!r}"
            )
        if self.integrator.symplectic and "hamiltonian" in self.system.provides and self.controller.adaptive:
            raise IncompatibleParts(
                f"{self.controller.name} changes the step size of {self.integrator.name}, which would lose the bounded "
                f"energy error that a symplectic scheme has at a fixed step on {self.system.name}; "
                "use Fixed(h), or a Runge-Kutta scheme under PI control"
            )
        if not self.name:
            parts = (self.system.name, self.integrator.name, self.controller.name)
            object.__setattr__(self, "name", " x ".join(parts))

    def _check_requirements(self) -> None:
        offered = self.system.provides | self.integrator.provides
        if self.integrator.error_order is not None and self.integrator.uses_rate:
            offered |= {"error"}
        for part in (self.integrator, self.controller, *self.transforms):
            for need in sorted(part.requires - offered):
                kinds: tuple[type[Part], ...] = (Integrator,) if need in ("error", "single_stage") else (System,)
                fitting = [
                    name
                    for kind in kinds
                    for name, other in discover(kind).items()
                    if need in other.provides or (need == "error" and getattr(other, "error_order", None) is not None)
                ]
                given = self.integrator if kinds == (Integrator,) else self.system
                raise IncompatibleParts(
                    f"{part.name} needs {MEANING[need]}, and {given.name} is not one; these are: {', '.join(fitting)}"
                )

    @property
    def parts(self) -> tuple[Part, ...]:
        """System, integrator, controller, then the transforms."""
        return (self.system, self.integrator, self.controller, *self.transforms)

    @property
    def needs_hvp(self) -> bool:
        """Whether the objective must offer Hessian-vector products."""
        return self.system.needs_hvp or self.integrator.needs_hvp

    @property
    def needs_value(self) -> bool:
        """Whether the value of the objective has a part in the motion; else the gradient is enough."""
        return any(part.needs_value for part in self.parts)

    @property
    def looks_back(self) -> bool:
        """Whether a step is judged by the point it came from, or sent back to it."""
        return self.controller.looks_back or self.controller.rejects

    @property
    def formula(self) -> str:
        """What it is made of: ``gradient_flow x forward_euler [lte] + iterate_averaging``."""
        start = f"{self.system.name} x {self.integrator.name} [{self.controller.name}]"
        return " + ".join([start, *(transform.name for transform in self.transforms)])

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters of its parts, ``{"lte.eta": 0.1}``, as plain values."""
        return {
            f"{part.name}.{name}": value.tolist() if isinstance(value, Tensor) else value
            for part in self.parts
            for name, value in part.parameters.items()
        }

    @property
    def options(self) -> set[str]:
        """Names of all parameters of its parts."""
        return {name for part in self.parts for name in part.parameters}

    def select(self, index: Tensor) -> Method:
        """The method for the rows `index` only (parameters given per row are cut down)."""
        return self._each(lambda part: part.select(index))

    def for_rows(self, size: int, dtype: torch.dtype) -> Method:
        """The method for a run of so many rows in that dtype. Raises BadValue for a parameter of another shape."""
        return self._each(lambda part: part.for_rows(size, dtype))

    def _each(self, change: Callable[[Any], Any]) -> Method:
        return replace(
            self,
            system=change(self.system),
            integrator=change(self.integrator),
            controller=change(self.controller),
            transforms=tuple(change(transform) for transform in self.transforms),
        )


def _article(kind: type[Part]) -> str:
    return ("an " if kind is Integrator else "a ") + kind.__name__
