"""Settings as people type them: ``key=value``, ``method.key=value``, starting points, grids."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowopt.core.errors import BadValue, UnknownName, check_range
from flowopt.core.parameters import hint
from flowopt.functions._minimize import minimize
from flowopt.functions.comparison.candidates import Candidate, OfScipy
from flowopt.functions.comparison.choosing import candidate
from flowopt.problems._problem import Problem

PROBLEM = "problem"
"""The owner of a setting that is an option of the problem: ``problem.key=value``."""
MOST_STARTS = 100_000
"""Starts that a grid may have."""


class Setting(NamedTuple):
    """One ``[owner.]key=value``."""

    owner: str
    """A method, "problem", or "" for whoever has the key."""
    key: str
    value: Any


class Settings(NamedTuple):
    """Settings, each with those that it is for."""

    problem: dict[str, Any]
    methods: dict[str, dict[str, Any]]


def parse_setting(text: str) -> Setting:
    """Take ``[owner.]key=value`` apart; the value is a Python literal where it reads as one, else a string.

    >>> parse_setting("ecdsep.exponent=2.0")
    Setting(owner='ecdsep', key='exponent', value=2.0)
    >>> parse_setting("scaling=identity").value
    'identity'

    Raises BadValue for a text that has no such form.
    """
    name, equals, value = text.partition("=")
    owner, _, key = name.strip().rpartition(".")
    if not equals or not key:
        raise BadValue(f"a setting is key=value or owner.key=value, the owner a method or the problem, not {text!r}")
    try:
        return Setting(owner, key, ast.literal_eval(value.strip()))
    except (ValueError, SyntaxError):
        return Setting(owner, key, value.strip())


def assign(texts: Sequence[str], methods: Sequence[str]) -> Settings:
    """Give each setting to those that it is for: a plain ``key=value`` to all `methods` that have such a parameter.

    Options of SciPy's minimizers go by names of their own: they must name theirs unless nothing else runs.
    Raises UnknownName for an owner that does not run and for a key that nobody has, BadValue for a malformed text.
    """
    known = {name: candidate(name) for name in methods}
    found = Settings({}, {name: {} for name in methods})
    for text in texts:
        setting = parse_setting(text)
        if setting.owner != PROBLEM and setting.key in inspect.signature(minimize).parameters:
            raise BadValue(f"{setting.key} is not a parameter of a method but an option of the run: see --help")
        if setting.owner == PROBLEM:
            found.problem[setting.key] = setting.value
        elif not methods:
            raise BadValue(f"only options of the problem can be set here, as problem.key=value, not {text!r}")
        elif setting.owner:
            owners = [name for name in methods if name.lower() == setting.owner.lower()]
            if not owners:
                raise UnknownName("method in this run", setting.owner, [*methods, PROBLEM])
            found.methods[owners[0]][setting.key] = setting.value
        else:
            fitting = [name for name, one in known.items() if _is_for(one, setting.key, alone=len(methods) == 1)]
            if not fitting:
                keys = [key for one in known.values() if not isinstance(one, OfScipy) for key in one.settings]
                raise UnknownName(f"parameter of {' or '.join(methods)}", setting.key, keys, hint(setting.key, keys))
            for name in fitting:
                found.methods[name][setting.key] = setting.value
    return found


def parse_starts(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """Starting points ``(B, D)`` from ``"-1.2,1"`` each; None if there are none. Raises BadValue for anything else."""
    points = []
    for text in texts:
        try:
            points.append([float(number) for number in text.replace(",", " ").split()])
        except ValueError:
            raise BadValue(f"a start is numbers with commas between them, like -1.2,1; not {text!r}") from None
        if not points[-1]:
            raise BadValue("a start is numbers with commas between them, like -1.2,1; not an empty text")
    if len({len(point) for point in points}) > 1:
        raise BadValue(f"all starts need the same number of coordinates, not {[len(point) for point in points]}")
    return np.array(points) if points else None


def grid(problem: Problem, side: int) -> NDArray[np.float64]:
    """An even grid of side^D starts ``(B, D)`` over the problem's domain, the last coordinate running fastest.

    Raises BadValue for a problem without a domain, a side below 2, or too many starts.
    """
    if problem.domain is None:
        raise BadValue(f"{problem.name} has no domain to lay a grid over; give starts with --x0")
    check_range("--grid", "N", side, 2)
    dim = len(problem.domain)
    if side**dim > MOST_STARTS:
        most = int((MOST_STARTS + 0.5) ** (1 / dim))
        raise BadValue(
            f"--grid {side} makes {side}^{dim} starts, more than {MOST_STARTS}; "
            + (f"N is at most {most} here" if most > 1 else f"{dim} coordinates are too many: give starts with --x0")
        )
    axes = np.meshgrid(*(np.linspace(low, high, side) for low, high in problem.domain), indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, dim)


def _is_for(one: Candidate, key: str, alone: bool) -> bool:
    return one.accepts(key) and (alone or not isinstance(one, OfScipy))
