"""flowopt's methods as methods of scipy.optimize.minimize."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core._progress import Progress
from flowopt.core.errors import BadValue, UnknownName
from flowopt.functions._minimize import minimize
from flowopt.functions._objective import Objective
from flowopt.functions.baselines import as_baseline
from flowopt.methods import as_method
from flowopt.problems._numpy_functions import from_numpy
from flowopt.problems._problem import Problem

Array = NDArray[Any]

OPTIONS = ("max_steps", "gtol", "f_target", "t_end", "record_every", "seed", "h_min")
"""Arguments of `flowopt.minimize` that are options here."""

STOP_ITERATION = 99
"""SciPy's own status code after a callback raised StopIteration."""


def scipy_method(method: Any = "ecco_stable", /, **parameters: Any) -> Callable[..., scipy.optimize.OptimizeResult]:
    """A method as a callable for ``scipy.optimize.minimize(fun, x0, jac=..., method=scipy_method("elra"))``.

    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> result = minimize(rosen, [0.5, 0.5], jac=rosen_der, method=scipy_method("gd"), options={"max_steps": 9})
    >>> result.nit, result.success
    (9, False)

    `method` and `parameters` are those of `flowopt.minimize` (ECCO as published, ``"ecco"``, does not converge; the
    default does). Options of the run: max_steps (or maxiter, its name in SciPy), gtol (also ``tol=``), f_target, t_end,
    record_every, seed, h_min. With ``jac=True`` fun returns value and gradient; without jac the gradient is a central
    difference, and each of its calls of fun is counted.

    The OptimizeResult has x, the best point that the run was accepted at, as SciPy's users expect (its last one is
    ``trajectory.final_x``), fun and jac there, nit (attempted steps), nfev, njev, nhev, success (converged), status (0
    if converged, 99 if the callback raised StopIteration, the code of `flowopt.Status` otherwise), message, and the
    `trajectory`. If a lower value was measured elsewhere, x is measured once more for `jac`, and counted.

    Raises UnknownName or BadValue at once for a wrong method or parameter, and later for bounds, constraints, hess or
    hessp, which no method here can use, or an option that does not exist.
    """
    if as_baseline(method, parameters) is None:
        as_method(method, parameters)

    def run(
        fun: Callable[..., Any],
        x0: Any,
        args: tuple[Any, ...] = (),
        *,
        jac: Callable[..., Any] | None = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> scipy.optimize.OptimizeResult:
        unusable = {"hess": hess, "hessp": hessp, "bounds": bounds}
        for name, given in unusable.items():
            if given is not None:
                raise BadValue(f"scipy_method: {name} was given, but no flowopt method can use it; leave it out")
        if not isinstance(constraints, (tuple, list)) or len(constraints):
            raise BadValue("scipy_method: constraints were given, but no flowopt method can keep them; leave them out")
        if jac is not None and not callable(jac):
            raise BadValue(f"scipy_method: jac = {jac!r} must be a function or None (SciPy turns jac=True into one)")
        problem = from_numpy(
            lambda x: fun(x, *args), None if jac is None else lambda x: jac(x, *args), name="scipy's function"
        )
        lowest = _Lowest(problem)
        problem = replace(problem, value_and_gradient=lowest)
        start = np.asarray(x0, dtype=np.float64).reshape(-1)
        watch = _Watch(callback)
        trajectory = minimize(problem, start, method, callback=watch.see, **_settings(options), **parameters)
        x, steps = trajectory.best_x[0], int(trajectory.steps[0])
        watch.show(steps, trajectory.final_x[0], float(trajectory.final_f[0]))
        end = Objective(problem, torch.zeros(1, dtype=torch.int64))
        if not np.array_equal(lowest.x, x):
            lowest.x = np.empty(0)
            end(torch.from_numpy(x).unsqueeze(0))
        paid = {kind: int(trajectory.evaluations[kind][0] + count) for kind, count in end.counts().items()}
        success = bool(trajectory.converged[0]) and not watch.stopped
        return scipy.optimize.OptimizeResult(
            x=x,
            fun=lowest.value,
            jac=lowest.grad,
            nit=steps,
            nfev=paid["value"],
            njev=paid["gradient"],
            nhev=paid["hvp"],
            success=success,
            status=0 if success else STOP_ITERATION if watch.stopped else int(trajectory.status[0]),
            message="`callback` raised `StopIteration`." if watch.stopped else trajectory.message[0],
            trajectory=trajectory,
        )

    return run


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """SciPy's options as arguments of `flowopt.minimize`."""
    known = (*OPTIONS, "maxiter", "tol")
    for name in options:
        if name not in known:
            raise UnknownName("option of a flowopt method in SciPy", name, known)
    if {"maxiter", "max_steps"} <= options.keys():
        raise BadValue("scipy_method: maxiter and max_steps mean the same; give one of them")
    settings = {{"maxiter": "max_steps"}.get(name, name): value for name, value in options.items() if name != "tol"}
    if options.get("tol") is not None:
        settings.setdefault("gtol", options["tol"])
    return settings


class _Lowest:
    """A problem's value and gradient of one row, remembered where the lowest value was measured."""

    def __init__(self, problem: Problem) -> None:
        assert problem.value_and_gradient is not None
        self._measure = problem.value_and_gradient
        self.x, self.value, self.grad = np.empty(0), np.inf, np.empty(0)

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self._measure(q)
        if not len(self.x) or float(value[0]) < self.value:
            self.x, self.value, self.grad = q[0].numpy().copy(), float(value[0]), grad[0].numpy().copy()
        return value, grad


class _Watch:
    """Calls SciPy's callback once an iteration, in the form that its signature asks for."""

    def __init__(self, callback: Callable[..., Any] | None) -> None:
        self.callback, self.stopped, self._shown = callback, False, 0
        names = () if callback is None else tuple(inspect.signature(callback).parameters)
        self._takes_result = names == ("intermediate_result",)

    def see(self, progress: Progress) -> bool:
        """What `flowopt.minimize` calls: the start, which SciPy does not show, then each attempt but the last."""
        self.show(progress.attempt, progress.x[0].numpy(), float(progress.f[0]))
        return self.stopped

    def show(self, attempt: int, x: Array, f: float) -> None:
        """Call the callback, unless it has seen this attempt."""
        if self.callback is None or attempt <= self._shown:
            return
        self._shown = attempt
        try:
            if self._takes_result:
                self.callback(intermediate_result=scipy.optimize.OptimizeResult(x=x.copy(), fun=f))
            else:
                self.callback(x.copy())
        except StopIteration:
            self.stopped = True
