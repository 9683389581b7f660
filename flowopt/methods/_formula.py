"""Methods by formula: ``gradient_flow x forward_euler [lte] + iterate_averaging`` reads as `Method.formula` prints."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowopt.core._part_by_name import Maker, maker
from flowopt.core.errors import BadValue
from flowopt.core.method import Method
from flowopt.core.parts import Controller, Integrator, System, Transform
from flowopt.core.roles import Kind
from flowopt.methods._naming import Entry

FORM = "SYSTEM x INTEGRATOR [CONTROLLER] + TRANSFORM + ..., as 'heavy_ball x heun [pi] + iterate_averaging'"

_NAME = r"[\w.:]+"
_FORMULA = re.compile(rf"({_NAME})\s+x\s+({_NAME})\s*\[\s*({_NAME})\s*\]((?:\s*\+\s*{_NAME})*)")


def is_formula(text: str) -> bool:
    """Whether it is meant as a formula, and not as a name."""
    return any(sign in text for sign in ("[", "+", " x "))


@dataclass(frozen=True)
class Formula(Entry):
    """A method as a combination of parts by their names; its parameters are those of its parts.

    A parameter goes by its own name where only one of the parts has it, and by ``part.name`` always.
    """

    makers: tuple[Maker[Any], ...] = ()

    @classmethod
    def read(cls, text: str) -> Formula:
        """The formula that a text spells.

        Raises BadValue for a text of another form, UnknownName for a part that does not exist.
        """
        found = _FORMULA.fullmatch(text.strip())
        if found is None:
            raise BadValue(f"{text!r} is not a formula of a method: {FORM}")
        *main, rest = found.groups()
        transforms = [name.strip() for name in rest.split("+")[1:]]
        kinds = (System, Integrator, Controller, *(Transform for _ in transforms))
        makers = tuple(maker(kind, name) for kind, name in zip(kinds, (*main, *transforms), strict=True))
        twice = [name for name, count in Counter(one.name for one in makers).items() if count > 1]
        if twice:
            raise BadValue(f"{text!r} has {twice[0]} twice, and parameters could not tell them apart; give a Method")
        name = " + ".join([f"{main[0]} x {main[1]} [{main[2]}]", *transforms])
        return cls(name, partial(_build, makers), makers=makers)

    @property
    def summary(self) -> str:
        """What it is."""
        return "A combination of parts."

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters of the parts, ``part.name`` where several parts have one of that name, with their defaults."""
        return {self._key(one, name): default for one in self.makers for name, default in one.defaults.items()}

    def roles(self, kind: type[Kind]) -> dict[str, Kind]:
        """Those of its parameters that are declared with a role of that kind."""
        controller_first = sorted(self.makers, key=lambda one: one.kind is not Controller)
        return {self._key(one, name): role for one in controller_first for name, role in one.roles(kind).items()}

    def spelled(self, name: str) -> str:
        """The name in `defaults` of a parameter that may be written ``part.name``.

        Raises BadValue for a name that several parts have.
        """
        spellings = {f"{one.name}.{own}": self._key(one, own) for one in self.makers for own in one.defaults}
        meant = [full for full in spellings if full.partition(".")[2] == name]
        if len(meant) > 1:
            raise BadValue(f"{self.name}: {name} is a parameter of several parts; say which: {' or '.join(meant)}")
        return spellings.get(name, name)

    def _key(self, one: Maker[Any], name: str) -> str:
        alone = sum(name in other.defaults for other in self.makers) == 1
        return name if alone else f"{one.name}.{name}"


def _build(makers: tuple[Maker[Any], ...], **parameters: Any) -> Method:
    """The method of those parts; a parameter goes to the part that is named before its dot, or to those that have it."""
    given: dict[str, dict[str, Any]] = {one.name: {} for one in makers}
    for key, value in parameters.items():
        owner, _, name = key.rpartition(".")
        for one in makers:
            if owner in ("", one.name) and name in one.defaults:
                given[one.name][name] = value
    system, integrator, controller, *transforms = (one.make(given[one.name]) for one in makers)
    return Method(system, integrator, controller, tuple(transforms))
