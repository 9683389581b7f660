"""The driver for functions: run a method from one start or ten thousand, and record why it moved as it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core import kernel, rows
from flowopt.core._interruption import interruption
from flowopt.core._progress import Callback, Progress, progress_bar
from flowopt.core.endings import Attempt, Endings, alive
from flowopt.core.errors import BadValue, check_range
from flowopt.core.memory import ran_out
from flowopt.core.method import Method
from flowopt.core.roles import Seed
from flowopt.core.state import Point, Status
from flowopt.functions._columns import Columns
from flowopt.functions._course import WATCHED, Best, Course
from flowopt.functions._objective import Objective
from flowopt.functions._recorder import Recorder
from flowopt.functions._stopping import Ends, Explanations, classify
from flowopt.functions._trajectory import Trajectory
from flowopt.functions.baselines import ScipyMinimizer, as_baseline
from flowopt.methods import as_method
from flowopt.problems._own import as_problem
from flowopt.problems._problem import Problem


def minimize(
    problem: str | Problem | Callable[[Tensor], Tensor],
    x0: Any = None,
    method: Any = "ecco_stable",
    max_steps: int = 1000,
    gtol: float = 1e-6,
    ftol: float | None = None,
    t_end: float | None = None,
    record_every: int = 1,
    seed: Annotated[int, Seed()] = 0,
    callback: Callback | None = None,
    progress: bool = False,
    *,
    f_target: float | None = None,
    h_min: float = 1e-30,
    dtype: torch.dtype | None = None,
    record_to: str | Path | None = None,
    **overrides: Any,
) -> Trajectory:
    """Minimise a function from one start ``(D,)`` or many ``(B, D)``, and record the trajectory.

    problem     a name of the library, a Problem, or a torch function of ``(..., D)`` or of one point ``(D,)``.
    x0          starting point(s); the problem's standard start if None. float32 input runs in float32.
    method      a name or a formula (``"heavy_ball x heun [pi]"``, see `flowopt.method`), a Method, ``"module:name"``, a
                torch.optim.Optimizer class or a factory of instances, ``"torch:Adam"``, or ``"scipy:BFGS"``.
                `overrides` are its parameters: ``eta=0.1``, ``lr=1e-2``, ``**{"pi.rtol": 1e-4}``.
                The default is ECCO inside the stability limit, which converges; ECCO as published (``"ecco"``) ends
                in a hop of its largest step around the minimum, of ``|x|^2`` even.
    max_steps   attempted steps, rejected ones included.
    gtol        a row has converged when ``|grad f| <= gtol``; 0 turns the test off unless the gradient is exactly 0.
                With a `weight_decay` w (L2) the gradient is that of ``f + w/2 |x|^2``, which is what is minimised.
    ftol        ... or when ``f - minimum <= ftol``; needs a problem with a known minimum.
    f_target    ... or when ``f <= f_target``.
    t_end       stop at this time exactly; the last step is shortened.
    record_every   keep every n-th step (the start and the end are always kept); 0 keeps just those two.
    seed        row i draws its random numbers from seed + i, so a row can be run again alone.
    callback    called after each attempt with a `Progress`; a true result stops the run.
    h_min       a row stops with 'step too small' when its step falls below this.
    record_to   a new folder to which the record is written as it grows, for one that memory does not hold; the result
                reads it from there, and so does ``Trajectory.load(folder)`` later.

    What the record may need at most is worked out before the first step, and refused where it does not fit. (Of more
    than 100 000 records only so many are counted, as rows mostly stop before.) When memory runs out all the same the
    run ends, status 'interrupted', with what was done.

    A function of one's own is tried at the start, in 3 to 10 calls that every row counts among its evaluations: a batch
    of three points near the starts is compared with each of them alone. One of one point, or one that mixes its rows,
    is run on batches by torch.func.vmap, or row by row where that gives other bits or fails (beyond 32 rows they may
    round differently); so is one that is constant or not finite where it is tried. ``about["objective"]`` says which,
    and a warning where many rows cost a call each. It may overwrite its argument and return a buffer of its own.

    >>> run = minimize(lambda x: (x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2, [[0.0, 0.0], [3.0, -1.0]], "bb")
    >>> run.final_x.round(4).tolist(), run.about["objective"]
    ([[1.0, 2.0], [1.0, 2.0]], 'a function of one point, batched by torch.func.vmap')

    Rows stop on their own and never touch each other. Ctrl-C returns what was done so far, status 'interrupted'.
    Raises BadValue, UnknownName or IncompatibleParts, before any work is done.
    """
    problem = as_problem(problem, x0)
    q = as_starts(problem, x0, dtype)
    _check(problem, max_steps, gtol, ftol, f_target, t_end, record_every, seed, h_min)
    if ftol is not None:
        assert problem.minimum is not None
        f_target = max(problem.minimum + ftol, f_target if f_target is not None else -np.inf)
    endings = Endings(gtol, f_target, t_end, h_min, same_objective=True)
    if callback is not None and not callable(callback):
        raise BadValue(f"minimize: callback = {callback!r} must be a function of a Progress")
    baseline = as_baseline(method, overrides)
    if isinstance(baseline, ScipyMinimizer):
        if record_to is not None:
            raise BadValue(f"{baseline.name} runs row by row and keeps its record in memory; leave out record_to")
        return baseline.run(problem.understood(q), q, endings, max_steps, record_every, seed, callback, progress)
    chosen = as_method(method, overrides) if baseline is None else baseline.method(q)
    if chosen.needs_hvp and not problem.differentiable_twice:
        raise BadValue(
            f"{chosen.name} needs Hessian-vector products, which {problem.name} does not have (it is not a torch "
            "function); use a method that needs gradients only"
        )
    chosen = chosen.for_rows(q.shape[0], q.dtype)
    problem = problem.understood(q)
    with (
        torch.no_grad(),
        Recorder(q.shape[0], q.shape[1], record_every, q.dtype, longest=max_steps, to=record_to) as recorder,
        progress_bar(progress, f"{chosen.name} on {problem.name}", max_steps) as bar,
    ):
        run = _Run(chosen, problem, q, seed, endings, recorder)
        run.go(max_steps, callback, bar)
        return recorder.trajectory(
            {
                "problem": problem.name,
                "method": chosen.name,
                "parts": {part.name: part.parameters for part in chosen.parts},
                "reading": chosen.reading,
                "seed": seed,
                "dtype": str(q.dtype).removeprefix("torch."),
                "objective": problem.batching.how if problem.batching else "",
            }
        )


def as_starts(problem: Problem, x0: Any, dtype: torch.dtype | None) -> Tensor:
    """Starting points as a batch ``(B, D)`` of their own memory.

    Raises BadValue for a wrong shape, numbers that are not finite, or a problem without a standard start.
    """
    if x0 is None:
        if problem.start is None:
            raise BadValue(f"{problem.name} has no standard start; give x0")
        x0 = problem.start
    if not isinstance(x0, Tensor):
        if np.ma.is_masked(x0):
            raise BadValue("x0 has masked entries; give numbers, as x0.filled(...) does")
        try:
            x0 = torch.as_tensor(np.array(x0, order="C"))
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a list of tensors that autograd follows
            raise BadValue(f"x0 must be numbers of shape (D,) or (B, D): {error}") from error
    if x0.device.type != "cpu":
        raise BadValue(
            f"x0 is on {x0.device}, but functions are minimised on the CPU; give x0.cpu(), and keep the objective's "
            "own tensors there as well"
        )
    if x0.is_complex():
        raise BadValue("x0 must be real numbers, not complex ones")
    dtype = dtype or (x0.dtype if x0.is_floating_point() else torch.float64)
    if dtype not in (torch.float32, torch.float64):
        raise BadValue(f"runs are in torch.float32 or torch.float64, not {dtype!r}")
    q: Tensor = x0.detach().to(dtype, copy=True)
    if q.ndim == 1:
        q = q.unsqueeze(0)
    if q.ndim != 2 or q.numel() == 0:
        raise BadValue(f"x0 must have shape (D,) or (B, D) with at least one number, not {tuple(x0.shape)}")
    problem.check_dim(q.shape[1])
    if not bool(torch.isfinite(q).all()):
        row, column = (~torch.isfinite(q)).nonzero()[0].tolist()
        raise BadValue(f"x0 must be finite, but x0[{row}, {column}] = {q[row, column].item()}")
    return rows.lay_out(q)


def _check(
    problem: Problem,
    max_steps: int,
    gtol: float,
    ftol: float | None,
    f_target: float | None,
    t_end: float | None,
    every: int,
    seed: int,
    h_min: float,
) -> None:
    for name, number in (("max_steps", max_steps), ("record_every", every)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise BadValue(f"minimize: {name} = {number!r} must be a whole number >= 0")
    check_range("minimize", "gtol", gtol, 0.0)
    check_range("minimize", "h_min", h_min, 0.0)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or abs(seed) >= SEED_LIMIT:
        raise BadValue(f"minimize: seed = {seed!r} must be a whole number between -2^62 and 2^62")
    if f_target is not None:
        check_range("minimize", "f_target", f_target)
    if t_end is not None:
        check_range("minimize", "t_end", t_end, 0.0, open_low=True)
    if ftol is not None:
        check_range("minimize", "ftol", ftol, 0.0)
        if problem.minimum is None:
            raise BadValue(f"ftol needs a known minimum, which {problem.name} does not have; use f_target or gtol")


SEED_LIMIT = 2**62
"""Rows take the seeds after it, which must still be 64-bit integers."""
SHORT = 200
"""In a run of fewer steps nothing is said of hopping."""


class _Run:
    """One run: the rows that are still going, and the records of all."""

    def __init__(
        self, method: Method, problem: Problem, q: Tensor, seed: int, endings: Endings, recorder: Recorder
    ) -> None:
        seeds = seed + torch.arange(q.shape[0])
        self.method, self.endings, self.recorder = method, endings, recorder
        self.objective = Objective(problem, seeds)
        self.attempt = 0
        self.carry = kernel.start(method, q, self.objective(q), seeds, self.objective)
        self.last, point = Attempt.start(self.carry), self.carry.point
        self.best, self.course = Best(point.evaluation.value, q), Course.begin(point.evaluation)
        self.last_quarter: range | None = None

    def go(self, max_steps: int, callback: Callback | None, bar: Callable[[int], None]) -> None:
        """Step until every row has stopped. A first Ctrl-C ends the run between two steps."""
        halted, full = False, ""
        # f along other systems may rise, and of a noisy gradient it does so by chance
        if max_steps >= SHORT and "descent" in self.method.system.provides and not self.objective.problem.noise:
            self.last_quarter = range(max_steps - max_steps // 4, max_steps)
        with interruption() as interrupted:
            self._record()
            while True:
                stopped = self.endings.stopped(self.method, self.carry, self.last, self.attempt)
                if self.attempt >= max_steps:
                    stopped = torch.ones_like(self.carry.alive)
                if stopped is not None:
                    self._stop(stopped)
                    if not len(self.recorder.active):
                        return
                if interrupted() or halted:
                    return self._interrupt("interrupted" if interrupted() else "stopped by the callback")
                try:
                    self._step()
                    self._record()
                    bar(self.attempt)
                    halted = callback is not None and bool(callback(self._progress()))
                except KeyboardInterrupt:  # raised inside the objective or the callback, or by a second Ctrl-C
                    return self._interrupt("interrupted")
                except (MemoryError, RuntimeError) as error:
                    if not ran_out(error):
                        raise
                    full = str(error).split("\n", 1)[0] or "MemoryError"
                if full:  # only here, where the step that failed has let go of what it held
                    self.recorder.out_of_memory()
                    return self._interrupt(f"interrupted: memory ran out ({full}; see record_every, record_to)")

    def _step(self) -> None:
        before = self.carry.point
        carry = kernel.propose(self.method, self.carry, self.objective, self.endings.t_end)
        assessment = kernel.assess(self.method, carry, self.objective(carry.trial["q"]), self.objective)
        take = carry.alive & assessment.acceptable
        carry = kernel.commit(self.method, carry, assessment, take, self.objective)
        self.carry = carry._replace(alive=alive(self.method, carry, take))
        self.last = Attempt.of(assessment, take)
        if self.last_quarter is not None and self.attempt in self.last_quarter:
            self._watch(before)
        self.best = self.best.or_here(self.carry.point)
        self.attempt += 1

    def _watch(self, before: Point) -> None:
        assert self.last_quarter is not None
        if self.attempt == self.last_quarter.start:
            self.course = self.course._replace(earlier_f=self.best.f)
        if self.attempt >= self.last_quarter.stop - WATCHED:
            self.course = self.course.watch(before, self.carry.point, self.last.taken)

    def _record(self) -> None:
        if self.recorder.wants(self.attempt):
            self.recorder.add(self.attempt, self._entry())

    def _entry(self) -> Columns[Any]:
        point, last = self.carry.point, self.last
        return Columns(
            x=point.state["q"],
            f=point.evaluation.value,
            grad_norm=rows.slope(point.evaluation),
            h=last.h,
            t=self.carry.t,
            error=last.error,
            energy=self.method.system.energy(last.state, last.evaluation),
            accepted=last.taken,
            cost=self.objective.cost(),
        )

    def _progress(self) -> Progress:
        point = self.carry.point
        slope = rows.slope(point.evaluation)
        shown = (self.recorder.active, point.state["q"], point.evaluation.value, slope, self.carry.h, self.carry.t)
        active, x, f, slope, h, t = (part.clone() for part in shown)  # the callback's own, to overwrite
        return Progress(self.attempt, active, x, f, slope, h, t, self.objective.cost())

    def _stop(self, stopped: Tensor) -> None:
        """Rows ``(A,)`` bool retire; the others go on as a smaller batch."""
        code = classify(self.endings, self.method, self.carry, self.last, self.course, self.attempt)
        hopped = self.course.hops(self.carry.point.state["q"], self.best.f, len(self.last_quarter or ()))
        again = self.endings.same_again(self.carry, self.last)
        ends = Ends(code, self.carry, self.last, self.best, self.course, again, hopped)
        gone = stopped.nonzero().squeeze(-1)
        ended = rows.select(ends, gone)
        differences = self.objective.problem.calls_per_difference > 0
        # not the whole method: an optimizer of torch is cut down in place, and goes on with the others
        system, controller = self.method.system.select(gone), self.method.controller.select(gone)
        texts = Explanations(ended, system, controller, self.attempt, self.endings.h_min, differences)
        self._retire(stopped, ended.code, texts)
        kept = (~stopped).nonzero().squeeze(-1)
        self.method = self.method.select(kept)
        self.objective.select(kept)
        self.carry, self.last, self.best, self.course = (
            rows.select(record, kept) for record in (self.carry, self.last, self.best, self.course)
        )

    def _interrupt(self, why: str) -> None:
        everyone = torch.ones_like(self.carry.alive)
        code = torch.full((len(everyone),), int(Status.INTERRUPTED), dtype=torch.int8)
        self._retire(everyone, code, [f"{why} after {self.attempt} steps; this is what was done"] * len(code))

    def _retire(self, stopped: Tensor, code: Tensor, messages: Sequence[str]) -> None:
        final = self.objective.counts() | {"best_f": self.best.f, "best_x": self.best.x}
        if "average" in self.carry.point.state:
            average = self.carry.point.state["average"]
            final |= {"average": average, "average_f": self.objective.problem.value(average)}
        self.recorder.retire(stopped, self.attempt, code, messages, self._entry(), final)
