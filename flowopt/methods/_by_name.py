"""Methods by name."""

from __future__ import annotations

from typing import Any

from flowopt.core.errors import BadValue, UnknownName, check_positive
from flowopt.core.method import Method
from flowopt.core.parameters import as_parameter, hint
from flowopt.core.roles import Epsilon, LearningRate, roles
from flowopt.methods._naming import METHODS


def method(name: str, **parameters: Any) -> Method:
    """The method with that name; `parameters` replace its documented defaults.

    >>> method("gd", lr=1e-3).controller
    Fixed(h=0.001)

    Raises UnknownName for a name or a parameter that does not exist, BadValue for a number out of range.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    entry = METHODS[name]
    for parameter in parameters:
        if parameter not in entry.defaults:
            raise UnknownName(f"parameter of {name}", parameter, entry.defaults, hint(parameter, entry.defaults))
    parameters = {parameter: as_parameter(name, parameter, value) for parameter, value in parameters.items()}
    for parameter in roles(entry.build, LearningRate) | roles(entry.build, Epsilon):
        if parameter in parameters:  # the part would know it by another name, or let an eps of 0 pass
            check_positive(name, **{parameter: parameters[parameter]})
    try:
        built = entry.build(**parameters)
    except BadValue as error:  # the part says which of its numbers is wrong, but not whose part it is
        raise BadValue(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error
    return built.labelled(name, entry.citation, entry.reading)


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
