"""What training says of itself while it goes on: each kind of thing once."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

from flowopt.core.method import Method
from flowopt.core.reasons import Reason, same_again
from flowopt.networks._last_step import LastStep
from flowopt.networks._step import Outcome


class Remarks:
    """Warnings, each kind once, at the line of the user's that called the library."""

    def __init__(self) -> None:
        self.made: set[str] = set()

    def say(self, kind: str, message: str) -> None:
        """Warn, unless there was a warning of that kind."""
        if kind not in self.made:
            self.made.add(kind)
            warn(f"{message}. This is said once")

    def nothing_moved(self, name: str, groups: Sequence[dict[str, Any]], last: LastStep) -> None:
        """Of a step of the method of that name that was held."""
        if last.ended:
            why = f"the flow of {name} came to an end ({last.ended}) at loss {last.loss:g}"
        elif not last.finite:
            where = f", first in {last.bad_parameter}" if last.bad_parameter else ""
            why = f"loss or gradient was not finite{where} (loss {last.loss:g})"
        elif all(group["lr"] == 0 for group in groups):  # it rests, as it should
            return
        else:
            why = f"{name} could not solve the equations of its step, or they lead too far (loss {last.loss:g})"
        kind = last.ended or ("unsolved" if last.finite else "nonfinite")
        self.say(kind, f"{why}; nothing moved. last_step counts such steps")


def warn(message: str) -> None:
    """Warn at the line of the user's that called the library."""
    warnings.warn(f"flowopt: {message}", stacklevel=_callers())


def standstill(method: Method, h: float, outcome: Outcome, maximize: bool) -> Reason | None:
    """Why the parameters will be where they were on the next batch too, as far as the step-size rule goes.

    `h` is the step size that it wants next.
    """
    rule = method.controller
    if h == 0 and float(outcome.square) > 0:  # else it is where it should be
        reason = rule.why_no_step(float(outcome.energy), 0)  # with its sign and its weight decay
        if reason is None or not maximize:
            return reason
        return reason._replace(what=f"{reason.what} (with maximize, f is -loss)")
    if rule.rejects and not bool(outcome.taken) and h == float(outcome.h):
        return same_again(rule.name, h)
    return None


def _callers() -> int:
    """The stacklevel, seen from whoever asks, of the code that called the library, through torch's wrappers too."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("flowopt", "torch"):
        frame, level = frame.f_back, level + 1
    return level
