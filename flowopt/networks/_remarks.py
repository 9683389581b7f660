"""What training says of itself while it goes on: each kind of thing once."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

from flowopt.core.endings import Standing, standstill
from flowopt.core.method import Method
from flowopt.core.reasons import REASONS, Reason
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
        if all(group["lr"] == 0 for group in groups) and last.finite and not last.ended:  # it rests, as it should
            return
        status = last.why_held()
        reason = REASONS[status]
        where = f", first in {last.bad_parameter}" if last.bad_parameter else ""
        cure = f" {reason.cure[:1].upper()}{reason.cure[1:]}." if reason.cure else ""
        why = f"{name}: {status.words} at loss {last.loss:g}: {reason.what}{where}"
        self.say(status.name, f"{why}; nothing moved.{cure} last_step counts such steps")


def warn(message: str) -> None:
    """Warn at the line of the user's that called the library."""
    warnings.warn(f"flowopt: {message}", stacklevel=_callers())


def why_it_stands(method: Method, h: float, outcome: Outcome, maximize: bool) -> Reason | None:
    """Why the parameters will be where they were on the next batch too, as far as the step-size rule goes.

    `h` is the step size that it wants next.
    """
    again = method.rejects and not bool(outcome.taken) and h == float(outcome.h)
    if not again and not (h == 0 and float(outcome.square) > 0):  # with no slope it is where it should be
        return None
    reason = standstill(method.controller, Standing(h, float(outcome.objective), again=again))
    if reason is None or again or not maximize:
        return reason
    return reason._replace(what=f"{reason.what} (with maximize, f is -loss)")


def _callers() -> int:
    """The stacklevel, seen from whoever asks, of the code that called the library, through torch's wrappers too."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("flowopt", "torch"):
        frame, level = frame.f_back, level + 1
    return level
