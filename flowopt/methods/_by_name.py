"""Methods by name, by formula, and by ``module:name``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowopt.core._importing import OTHERS, imported
from flowopt.core._plugins import Plugins
from flowopt.core._registry import FOLDERS, discover
from flowopt.core.errors import BadValue, UnknownName, shown
from flowopt.core.method import Method
from flowopt.core.parts import Part
from flowopt.methods._formula import Formula, is_formula
from flowopt.methods._naming import METHODS, Entry


def method(name: str, **parameters: Any) -> Method:
    """The method of that name, formula or ``module:name``; `parameters` replace its defaults.

    >>> method("gd", lr=1e-3).controller
    Fixed(h=0.001)
    >>> method("heavy_ball x heun [pi]", rtol=1e-4, friction=2.0).system
    HeavyBall(mass=1.0, friction=2.0)

    A formula is ``SYSTEM x INTEGRATOR [CONTROLLER] + TRANSFORM + ...``, as `Method.formula` prints it, of the names that
    `flowopt.listing` gives. Its parameters are those of its parts, by name; ``part.name`` does too, and must where two
    parts have a parameter of that name: ``method(formula, **{"heavy_ball.mass": 2.0})``. So a method is written down by
    its formula and `Method.settings`. ``module:name`` is a Method, or a function that builds one.

    Raises UnknownName for a name, a part or a parameter that does not exist, BadValue for a number out of range, for a
    text that is not a formula, and for a parameter without a default that is left out, IncompatibleParts for parts that
    make no sense together.
    """
    return entry(name).make(parameters)


def entry(name: str) -> Entry:
    """How the method of that name, formula or ``module:name`` is built, and with which parameters.

    Raises UnknownName for a name that does not exist, BadValue for what is not a method.
    """
    if name in METHODS:
        return METHODS[name]
    if is_formula(name):
        return Formula.read(name)
    if name.lower().startswith(OTHERS):
        raise BadValue(
            f"{name} is not a flow of ours; minimize, compare and flowopt train take it, but no Method can be made of it"
        )
    if ":" in name:
        return _entry(name, imported(name), "own")
    return _brought(name) if OUTSIDE.get(name) is not None else _unknown(name)


def everything() -> dict[str, Entry]:
    """All methods that have a name, sorted: ours, those that a `named` function of the user's entered, and plugins'."""
    return dict(sorted((METHODS | {name: _brought(name) for name in OUTSIDE.everything()}).items()))


def as_method(given: str | Method, overrides: Mapping[str, Any]) -> Method:
    """A Method from a name, a formula or ``module:name`` and parameters, or the Method itself."""
    if isinstance(given, str):
        return method(given, **overrides)
    if isinstance(given, Method):
        if overrides:
            raise BadValue(
                f"parameters ({', '.join(overrides)}) go with a method's name; a Method that is already built "
                "takes none (set them on its parts)"
            )
        return given
    if isinstance(given, Part):
        raise BadValue(f"{shown(given)} is a part of a method: give Method(system, integrator, controller)")
    raise BadValue(
        "a method is a name, a formula (heavy_ball x heun [pi]), module:name, a Method, or a torch.optim.Optimizer class "
        f"or factory, not {shown(given)}"
    )


def _brought(name: str) -> Entry:
    """A method of another package; where `named` has entered it there, with whose it is."""
    found = OUTSIDE.get(name)
    entered = METHODS.get(name)
    return entered if entered is not None and entered.build is found else _entry(name, found, OUTSIDE.source(name))


def _entry(name: str, found: Any, paper: str) -> Entry:
    if fault := _fault(name, found):
        raise BadValue(fault)
    return Entry(name, (lambda: found) if isinstance(found, Method) else found, paper)


def _fault(name: str, found: Any) -> str:
    if isinstance(found, Method) or (callable(found) and not isinstance(found, type)):
        return ""
    return f"{name} is {shown(found)}; a method is a Method, or a function that builds one"


OUTSIDE = Plugins(
    "flowopt.methods",
    lambda: {name for name, entry in METHODS.items() if entry.build.__module__.startswith("flowopt.")},
    _fault,
)


def _unknown(name: str) -> Entry:
    kinds = [kind.__name__.lower() for kind in FOLDERS if name in discover(kind)]
    hint = f"that is the name of a part ({kinds[0]})" if kinds else ""
    raise UnknownName(
        "method",
        name,
        {*METHODS, *OUTSIDE.names()},
        hint,
        "a formula (heavy_ball x heun [pi]) and module:function are taken as well",
    )
