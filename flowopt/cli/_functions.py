"""What the commands that run methods on functions share: their settings and their problem."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from flowopt.cli.settings import Settings, assign
from flowopt.core.errors import BadValue
from flowopt.functions import minimize
from flowopt.functions.comparison.choosing import candidate
from flowopt.problems import Problem
from flowopt.problems._own import as_problem

PROBLEM = "problem"


def settings_of(methods: Sequence[str], texts: Sequence[str]) -> Settings:
    """What ``--set`` says of these methods and of the problem. Raises as `assign` does, and for an unknown method."""
    takers = {name: candidate(name) for name in methods}
    return assign(texts, takers, (PROBLEM,), inspect.signature(minimize).parameters)


def problem_named(name: str, given: Settings, dim: int | None, start: Any) -> Problem:
    """The problem of a command: a name with its options, or a function of the user's own."""
    options = given.sections[PROBLEM]
    if dim is not None:
        if "dim" in options:
            raise BadValue("give --dim or --set problem.dim=..., not both")
        options = options | {"dim": dim}
    known = as_problem(name, None if options else start, **options)
    if start is not None and not options and ":" not in name and known.dim != (standard := as_problem(name).dim):
        print(f"{name} in {known.dim} coordinates, as many as a start has; without --x0 it has {standard}")
    return known
