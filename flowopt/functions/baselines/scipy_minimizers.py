"""SciPy's minimizers, leaving the same Trajectory: one record an iteration."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core._interruption import interruption
from flowopt.core._progress import Callback, Progress, progress_bar
from flowopt.core._sentences import standing
from flowopt.core.endings import Endings
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.memory import ran_out
from flowopt.core.reasons import REASONS, UNDEFINED_START, higher_than_before
from flowopt.core.state import Status
from flowopt.functions._columns import Columns
from flowopt.functions._objective import Objective
from flowopt.functions._recorder import Recorder
from flowopt.functions._side_by_side import Solo, side_by_side
from flowopt.functions._trajectory import Trajectory, lowest
from flowopt.problems._problem import Problem

Array = NDArray[Any]

PREFIX = "scipy:"

VALUES_ONLY = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
GRADIENTS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
PRODUCTS = ("Newton-CG", "trust-constr", "trust-ncg", "trust-krylov")
"""These take Hessian-vector products; the first two do without where the problem has none."""
HESSIANS = ("dogleg", "trust-exact")
MINIMIZERS = (*VALUES_ONLY, *GRADIENTS, *PRODUCTS, *HESSIANS)

TAKE_GTOL = ("CG", "BFGS", "L-BFGS-B", "TNC", "trust-constr", "dogleg", "trust-ncg", "trust-exact", "trust-krylov")
CALL_LIMITS = {"TNC": "maxfun", "L-BFGS-B": "maxfun", "COBYQA": "maxfev"}
"""Options that limit the number of calls, low by default; they are lifted so that max_steps is the limit."""
NO_LIMIT = 2**31 - 1


class Stop(Exception):
    """The end of a row, raised through SciPy where it is ours."""

    def __init__(self, status: Status, why: str = "") -> None:
        self.status, self.why = status, why or REASONS[status].what


@dataclass(frozen=True)
class ScipyMinimizer:
    """A method of scipy.optimize.minimize with its options."""

    method: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """``scipy:BFGS``."""
        return PREFIX + self.method

    def run(
        self,
        problem: Problem,
        q: Tensor,
        endings: Endings,
        max_steps: int,
        record_every: int,
        seed: int,
        callback: Callback | None,
        progress: bool,
    ) -> Trajectory:
        """Run the rows q ``(B, D)`` one after the other; an attempt is one iteration, as SciPy's callback counts them.

        A row stops by our tests (gtol, f_target, max_steps), checked at each iterate, or by SciPy's own, with SciPy's
        message. SciPy's steps have no size in time, so h, t, error and energy are NaN; |grad f| is NaN for methods
        that use no gradient. What SciPy measures is counted, no more. Raises BadValue for an option that SciPy does
        not know, or t_end, or a problem without the Hessian that the method needs.
        """
        if endings.t_end is not None:
            raise BadValue(f"{self.name} has no time to stop at; leave out t_end, or use max_steps")
        needs_hessian = self.method in HESSIANS or self.method in ("trust-ncg", "trust-krylov")
        if needs_hessian and not problem.differentiable_twice:
            raise BadValue(f"{self.name} needs Hessians, which {problem.name} does not have; use scipy:BFGS")
        recorder = Recorder(q.shape[0], q.shape[1], record_every, q.dtype, longest=max_steps)  # is there room for it?
        solos: list[Solo] = []
        label = f"{self.name} on {problem.name}"
        with torch.no_grad(), interruption() as interrupted, progress_bar(progress, label, len(q) * max_steps) as bar:

            def between(row: _Row) -> None:
                bar(len(solos) * max_steps + row.attempt)
                if callback is not None and row.attempt and callback(row.progress(len(solos))):
                    raise Stop(Status.INTERRUPTED, "stopped by the callback")
                if interrupted():
                    raise Stop(Status.INTERRUPTED, "interrupted")

            for_all: Stop | None = None
            for i, start in enumerate(q):
                row = _Row(self, Objective(problem, torch.tensor([seed + i])), start, endings, max_steps, between)
                end = for_all or row.go()
                if end.status == Status.INTERRUPTED:
                    for_all = end
                solos.append(row.solo(end))
        return side_by_side(
            solos,
            recorder,
            {
                "problem": problem.name,
                "method": self.name,
                "parts": {"scipy.optimize.minimize": self.options},
                "reading": "",
                "seed": seed,
                "dtype": str(q.dtype).removeprefix("torch."),
                "objective": problem.batching.how if problem.batching else "",
            },
        )


def as_scipy_minimizer(given: Any, options: dict[str, Any]) -> ScipyMinimizer | None:
    """The minimizer from ``"scipy:BFGS"``; `options` are SciPy's own for it, or its ``tol``."""
    if not isinstance(given, str) or not given.lower().startswith(PREFIX):
        return None
    name = given[len(PREFIX) :]
    known = {method.lower(): method for method in MINIMIZERS}
    if name.lower() not in known:
        raise UnknownName("SciPy minimizer", name, MINIMIZERS)
    if "maxiter" in options:
        raise BadValue(f"{given}: use max_steps instead of maxiter")
    return ScipyMinimizer(known[name.lower()], dict(options))


class _Row:
    """One row's run: the functions that SciPy calls, and the records that its callback leaves."""

    def __init__(
        self,
        minimizer: ScipyMinimizer,
        objective: Objective,
        start: Tensor,
        endings: Endings,
        max_steps: int,
        between: Callable[[_Row], None],
    ) -> None:
        self.minimizer, self.objective, self.dtype = minimizer, objective, start.dtype
        self.endings, self.max_steps, self.between = endings, max_steps, between
        self.known: dict[bytes, tuple[float, Array | None]] = {}  # what was measured since the last record
        self.records: list[tuple[Array, float, float, int]] = []
        self.x = start.to(torch.float64).numpy().copy()
        self.unclaimed = self.x.tobytes()
        self._measure(self.x)
        self._record(self.x)

    @property
    def attempt(self) -> int:
        """Iterations so far."""
        return len(self.records) - 1

    def go(self) -> Stop:
        """Let SciPy run; why it ended."""
        try:
            self._test()
            result = self._scipy()
            if not np.array_equal(result.x, self.x):
                self._iterate(result.x)
        except Stop as stop:
            return stop
        except KeyboardInterrupt:  # raised inside the objective, or by a second Ctrl-C
            return Stop(Status.INTERRUPTED, "interrupted")
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            return Stop(Status.INTERRUPTED, "interrupted: memory ran out")
        iterations = result.get("nit", result.nfev)  # COBYLA reports no nit, and its maxiter is a number of calls
        limited = not result.success and iterations >= self.max_steps
        status = Status.CONVERGED if result.success else Status.MAX_STEPS if limited else Status.SOLVER_FAILED
        return Stop(status, f"SciPy says: {str(result.message).rstrip('.')};")

    def progress(self, number: int) -> Progress:
        """What a callback is shown."""
        _, f, slope, _ = self.records[-1]
        unknown = torch.tensor([torch.nan], dtype=self.dtype)
        return Progress(
            attempt=self.attempt,
            rows=torch.tensor([number]),
            x=self._tensor(self.x),
            f=torch.tensor([f], dtype=self.dtype),
            grad_norm=torch.tensor([slope], dtype=self.dtype),
            h=unknown,
            t=unknown,
            cost=self.objective.cost(),
        )

    def solo(self, end: Stop) -> Solo:
        """The records, with the reason why the row ended."""
        kind = torch.zeros(0, dtype=self.dtype).numpy().dtype
        x, f, slope, cost = (np.array(column) for column in zip(*self.records, strict=True))
        unknown = np.full(len(f), np.nan, dtype=kind)
        columns = Columns(
            x=x.astype(kind),
            f=f.astype(kind),
            grad_norm=slope.astype(kind),
            h=unknown,
            t=unknown,
            error=unknown,
            energy=unknown,
            accepted=np.ones(len(f), dtype=np.bool_),
            cost=cost,
        )
        message = f"{end.why} after {self.attempt} iterations {standing(x[-1].tolist(), f[-1], slope[-1])}"
        if end.status == Status.CONVERGED:
            best = int(lowest(f))
            message += higher_than_before(f[-1], x[-1], slope[-1], f[0], f[best], x[best])
        return Solo(columns, end.status, message, {kind: int(n) for kind, n in self.objective.counts().items()})

    def _scipy(self) -> Any:
        method, problem = self.minimizer.method, self.objective.problem
        # one more than ours, so that ours is the limit: Nelder-Mead counts from 1
        options: dict[str, Any] = {} if method == "TNC" else {"maxiter": self.max_steps + 1}
        if method in CALL_LIMITS:
            options[CALL_LIMITS[method]] = NO_LIMIT
        if method in TAKE_GTOL:
            options["gtol"] = self.endings.gtol
        options |= self.minimizer.options
        arguments: dict[str, Any] = {"tol": options.pop("tol", None)}
        if method in HESSIANS:
            arguments["hess"] = lambda x: self.objective.hessian(self._tensor(x))[0].numpy()
        elif method in PRODUCTS and problem.differentiable_twice:
            arguments["hessp"] = lambda x, p: self.objective.hvp(self._tensor(x), self._tensor(p))[0].numpy()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Unknown solver options", scipy.optimize.OptimizeWarning)
            try:
                return scipy.optimize.minimize(
                    self._function,
                    self.x,
                    jac=None if method in VALUES_ONLY else True,
                    method=method,
                    callback=self._iterate,
                    options=options,
                    **arguments,
                )
            except (scipy.optimize.OptimizeWarning, TypeError) as unknown:
                if isinstance(unknown, TypeError) and "unexpected keyword argument" not in str(unknown):
                    raise
                raise BadValue(f"{self.minimizer.name}: {unknown}") from unknown

    def _function(self, x: Array) -> Any:
        """The objective as SciPy calls it; its call at the start was paid for by the first record."""
        claimed = x.tobytes() == self.unclaimed
        f, grad = self.known[self.unclaimed] if claimed else self._measure(x)
        self.unclaimed = b"" if claimed else self.unclaimed
        return f if grad is None else (f, grad)

    def _iterate(self, x: Array, *rest: Any) -> None:
        """SciPy's callback: an iteration has ended at x."""
        self._record(x)
        self._test()

    def _record(self, x: Array) -> None:
        f, grad = self.known.get(x.tobytes()) or self._measure(x)
        slope = np.nan if grad is None else math.hypot(*grad)  # scaled by the largest entry
        if self.records and not (np.isfinite(f) and (grad is None or np.isfinite(grad).all())):
            raise Stop(Status.NONFINITE)
        self.x = np.array(x, dtype=np.float64)
        self.known = {self.x.tobytes(): (f, grad)}
        self.records.append((self.x, f, slope, int(self.objective.cost())))

    def _test(self) -> None:
        _, f, slope, _ = self.records[-1]
        if self.endings.reached(f, slope):
            raise Stop(Status.CONVERGED)
        if not np.isfinite(f) or np.isinf(slope):  # later points are looked at before they are recorded
            raise Stop(Status.NONFINITE, UNDEFINED_START.what)
        if self.attempt >= self.max_steps:
            raise Stop(Status.MAX_STEPS)
        self.between(self)

    def _measure(self, x: Array) -> tuple[float, Array | None]:
        q = self._tensor(x)
        if self.minimizer.method in VALUES_ONLY:
            measured: tuple[float, Array | None] = (float(self.objective.value(q)[0]), None)
        else:
            evaluation = self.objective(q)
            measured = (float(evaluation.value[0]), evaluation.grad[0].to(torch.float64).numpy().copy())
        self.known[x.tobytes()] = measured
        return measured

    def _tensor(self, x: Array) -> Tensor:
        """A point ``(D,)`` as one row."""
        return torch.from_numpy(np.array(x, dtype=np.float64)).to(self.dtype).unsqueeze(0)
