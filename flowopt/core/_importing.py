"""Objects of users' own modules, by ``"module:name"``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from flowopt.core.errors import BadValue

REQUIRED: Any = inspect.Parameter.empty
"""The default of a parameter that has none."""

OTHERS = ("torch:", "scipy:")
"""How the names of other people's optimizers begin."""


def is_address(name: str) -> bool:
    """Whether it has the form ``module:name``, and is not an optimizer of torch or SciPy."""
    return bool(re.fullmatch(r"[\w.]+:\w+", name)) and not name.lower().startswith(OTHERS)


def imported(name: str) -> Any:
    """The object that ``"module:name"`` names, the working directory being among the places to import from.

    Raises BadValue for a text of another form, a module that cannot be imported, or a name that it does not have.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise BadValue(f"{name!r} is not of the form module:function")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise BadValue(f"{name}: cannot import {module_name!r} from here: {reason}") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, attribute, None)
    if found is None:
        raise BadValue(f"{name}: {module.__file__} has no {attribute!r}")
    return found


def needs_nothing(function: Callable[..., Any]) -> bool:
    """Whether all arguments of the function are declared, and have defaults."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # functions of C that tell nothing
        return False
    return all(p.default is not REQUIRED for p in parameters)


def required(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments that a call of the function cannot do without."""
    varying = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.items()
    return [name for name, p in parameters if p.default is REQUIRED and p.kind not in varying]
