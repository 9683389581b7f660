"""A method: a system, an integrator, a step-size controller and transforms that make sense together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowopt.core._part_by_name import as_part
from flowopt.core._registry import discover
from flowopt.core.errors import IncompatibleParts
from flowopt.core.parts import MEANING, Controller, Integrator, Part, System, Transform


@dataclass(frozen=True)
class Method:
    """A system, an integrator, a step-size controller and transforms, checked to make sense together.

    >>> Method("heavy_ball", "heun", "pi", ("iterate_averaging",)).formula
    'heavy_ball x heun [pi] + iterate_averaging'

    A part may be given by its name, with its defaults, or as ``"module:name"``. `name` is the formula unless another is
    given; `flowopt.method` takes both. Raises IncompatibleParts when the parts make no sense together, with the reason
    and with what would work, UnknownName for a name that no part of its kind has, and BadValue where a part that is
    given by name needs a parameter.
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
    needs_hvp: bool = field(init=False, repr=False, compare=False)
    """Whether the objective must offer Hessian-vector products."""
    needs_value: bool = field(init=False, repr=False, compare=False)
    """Whether the value of the objective has a part in the motion; else the gradient is enough."""
    rejects: bool = field(init=False, repr=False, compare=False)
    """Whether a row may be sent back to the point that a step came from."""
    looks_back: bool = field(init=False, repr=False, compare=False)
    """Whether a step is judged by the point it came from, or sent back to it."""
    looks_ahead: bool = field(init=False, repr=False, compare=False)
    """Whether a step measures the objective elsewhere than at its trial."""

    if TYPE_CHECKING:  # what the fields hold is parts; names are taken as well

        def __init__(
            self,
            system: System | str,
            integrator: Integrator | str,
            controller: Controller | str,
            transforms: Sequence[Transform | str] = (),
            name: str = "",
            citation: str = "",
            reading: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.transforms, (tuple, list)):
            raise IncompatibleParts(f"transforms must be a tuple of parts or of their names, not {self.transforms!r}")
        kinds: dict[str, type[Part]] = {"system": System, "integrator": Integrator, "controller": Controller}
        for place, kind in kinds.items():
            object.__setattr__(self, place, as_part(kind, getattr(self, place)))
        object.__setattr__(self, "transforms", tuple(as_part(Transform, given) for given in self.transforms))
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
            object.__setattr__(self, "name", self.formula)
        self._note_traits()

    def _note_traits(self) -> None:
        """What follows from the parts, worked out once: every step asks for it, and no step changes it."""
        needs_hvp = self.system.needs_hvp or self.integrator.needs_hvp
        rejects = self.controller.rejects
        traits = {
            "needs_hvp": needs_hvp,
            "needs_value": any(part.needs_value for part in self.parts),
            "rejects": rejects,
            "looks_back": rejects or self.controller.looks_back,
            "looks_ahead": needs_hvp or self.integrator.stages > 1,
        }
        for name, value in traits.items():
            object.__setattr__(self, name, value)

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
    def formula(self) -> str:
        """What it is made of: ``gradient_flow x forward_euler [lte] + iterate_averaging``."""
        start = f"{self.system.name} x {self.integrator.name} [{self.controller.name}]"
        return " + ".join([start, *(transform.name for transform in self.transforms)])

    @cached_property
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

    def labelled(self, name: str, citation: str, reading: str) -> Method:
        """The method under another name, with whose it is."""
        return self._with(name=name, citation=citation, reading=reading)

    def _each(self, change: Callable[[Any], Any]) -> Method:
        transforms = tuple(change(transform) for transform in self.transforms)
        parts = {name: change(getattr(self, name)) for name in ("system", "integrator", "controller")}
        return self._with(**parts, transforms=transforms)

    def _with(self, **changes: Any) -> Method:
        """The method with a label, or for other rows: its parts are of the kinds that they were, and fit as before.

        So they are not checked again, and the traits stay: a run of 500 rows that stop one by one is cut down 500
        times.
        """
        new: Method = object.__new__(type(self))
        vars(new).update(vars(self), **changes)
        vars(new).pop("settings", None)  # they are those of the rows
        return new
