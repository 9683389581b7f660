"""flowopt's methods as methods of scipy.optimize.minimize."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult

from flowopt.errors import BadValue, UnknownName
from flowopt.papers import as_method
from flowopt.baselines import as_baseline
from flowopt.problems.own import from_numpy
from flowopt.progress import Progress
from flowopt.solve import minimize
from flowopt.state import Status

Array = NDArray[Any]

OPTIONS = ("max_steps", "gtol", "f_target", "t_end", "record_every", "seed", "h_min")
"""Arguments of `flowopt.minimize` that are options here."""

STOP_ITERATION = 99
"""SciPy's own status code after a callback raised StopIteration."""


def scipy_method(method: Any = "ecco", /, **parameters: Any) -> Callable[..., OptimizeResult]:
    """A method as a callable for ``scipy.optimize.minimize(fun, x0, jac=..., method=scipy_method("elra"))``.

    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> result = minimize(rosen, [0.5, 0.5], jac=rosen_der, method=scipy_method("gd", lr=1e-3), options={"max_steps": 9})
    >>> result.nit, result.success
    (9, False)

    `method` and `parameters` are those of `flowopt.minimize`. Options of the run: max_steps (or maxiter, its name in
    SciPy), gtol (also ``tol=``), f_target, t_end, record_every, seed, h_min. With ``jac=True`` fun returns value and
    gradient; without jac the gradient is a central difference, and each of its calls of fun is counted.

    The OptimizeResult has x, fun, jac, nit (attempted steps), nfev, njev, nhev, success (converged), status (0 if
    converged, 99 if the callback raised StopIteration, the code of `flowopt.Status` otherwise), message, and the
    `trajectory`. One more gradient is measured at x for `jac`, and counted.

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
    ) -> OptimizeResult:
        unusable = {"hess": hess, "hessp": hessp, "bounds": bounds}
        for name, given in unusable.items():
            if given is not None:
                raise BadValue(f"scipy_method: {name} was given, but no flowopt method can use it; leave it out")
        if not isinstance(constraints, (tuple, list)) or len(constraints):
            raise BadValue("scipy_method: constraints were given, but no flowopt method can keep them; leave them out")
        problem = from_numpy(
            lambda x: fun(x, *args), None if jac is None else lambda x: jac(x, *args), name=getattr(fun, "__name__", "fun")
        )
        start = np.asarray(x0, dtype=np.float64).reshape(-1)
        watch = _Watch(callback)
        trajectory = minimize(
            problem, start, method, callback=watch if callback else None, **_settings(options), **parameters
        )
        x = trajectory.final_x[0]
        value, grad, calls = _measured_again(problem, x)
        success = bool(trajectory.converged[0])
        status = 0 if success else STOP_ITERATION if watch.stopped else int(trajectory.status[0])
        counts = {kind: int(count[0]) for kind, count in trajectory.evaluations.items()}
        return OptimizeResult(
            x=x,
        )

    return run
