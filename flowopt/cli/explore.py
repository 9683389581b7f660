"""``flowopt explore``: run methods on a problem, and see how they moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowopt.cli import _options as options
from flowopt.cli._endings import DONE, INTERRUPTED, leave, wrote
from flowopt.cli._places import as_file, check_files
from flowopt.core._files import write_json
from flowopt.core._progress import progress_bar
from flowopt.core.errors import BadValue

if TYPE_CHECKING:
    from flowopt.functions._trajectory import Trajectory
    from flowopt.problems import Problem

RECORDS = 2_000_000
"""Records, of one row at one step each, that an exploration keeps of a run unless told otherwise."""


def explore(
    problem: options.ProblemName,
    method: options.FunctionMethods = ["ecco_stable"],
    x0: Annotated[
        list[str],
        typer.Option(metavar="X,Y,...", help="A start; may be given again. Default: the standard one."),
    ] = [],
    grid: Annotated[int | None, typer.Option(metavar="N", help="Start from an N x N grid over the domain.")] = None,
    dim: options.Dim = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Attempted steps at most, rejected ones included.")] = 1000,
    t_end: Annotated[float | None, typer.Option(metavar="T", help="Stop at this time of the flow.")] = None,
    gtol: Annotated[float, typer.Option(metavar="G", help="Converged where |grad f| is at most this.")] = 1e-6,
    record_every: Annotated[
        int | None,
        typer.Option(metavar="N", help="Keep every N-th step; 0: start and end alone. Default: 1, more for many rows."),
    ] = None,
    seed: options.FunctionSeed = 0,
    set_: options.FunctionSet = [],
    out: options.FunctionOut = Path("flowopt-out"),
    json: options.Json = None,
) -> None:
    """Run methods on a problem; print how they ended; write trajectories (.npz) and pictures of paths and panels."""
    import torch

    from flowopt.cli._functions import problem_named, settings_of
    from flowopt.cli._starts import grid as grid_of
    from flowopt.cli._starts import parse_starts
    from flowopt.core.state import Status
    from flowopt.functions import minimize
    from flowopt.functions.comparison.choosing import candidate, with_parameters
    from flowopt.show import tables

    chosen = list(dict.fromkeys(method))
    given = settings_of(chosen, set_)
    starts = parse_starts(x0)
    known = problem_named(problem, given, dim, starts)
    if grid is not None:
        if starts is not None:
            raise BadValue("give --x0 or --grid, not both")
        starts = grid_of(known, grid)
    rows = 1 if starts is None else len(starts)
    every = max(1, math.ceil(rows * steps / RECORDS)) if record_every is None else record_every
    candidates = {name: with_parameters(candidate(name), given.methods[name]) for name in chosen}
    for one in candidates.values():
        one.check(torch.zeros(1, 2, dtype=torch.float64))  # whatever it starts from
    check_files(out / f"{known.name}.npz", json)
    runs: dict[str, Trajectory] = {}
    files: list[Path] = []
    interrupted = False
    for name in chosen:
        as_given, overrides = candidates[name].call()
        run = minimize(
            known,
            starts,
            as_given,
            steps,
            gtol=gtol,
            t_end=t_end,
            record_every=every,
            seed=seed,
            progress=True,
            **overrides,
        )
        runs[name] = run
        files.append(run.save(out / f"{known.name}-{as_file(name)}.npz"))
        interrupted = bool((run.status == Status.INTERRUPTED).any())
        if interrupted:
            break
    tables.show(tables.runs_table(runs, known))
    if json is not None:
        write_json(json, {"problem": known.name, "minimum": known.minimum, "runs": _numbers(runs, known)})
    files += _pictures(runs, known, out, basins=grid is not None)
    wrote(*files, json)
    if interrupted:
        leave(INTERRUPTED, DONE)


def _numbers(runs: dict[str, Trajectory], problem: Problem) -> list[dict[str, Any]]:
    import torch

    from flowopt.core.state import Status

    return [
        {
            "method": name,
            "about": run.about,
            "rows": [
                {
                    "x0": run.x[0, row],
                    "final_x": run.final_x[row],
                    "final_f": run.final_f[row],
                    "best_f": run.best_f[row],
                    "grad_norm": run.grad_norm[-1, row],
                    "distance": problem.distance(torch.as_tensor(run.final_x[row])),
                    "t": run.t[-1, row],
                    "steps": run.steps[row],
                    "rejected": run.rejected[row],
                    "evaluations": {kind: count[row] for kind, count in run.evaluations.items()},
                    "status": Status(int(run.status[row])).words,
                    "message": run.message[row],
                }
                for row in range(run.rows)
            ],
        }
        for name, run in runs.items()
    ]


def _pictures(runs: dict[str, Trajectory], problem: Problem, out: Path, basins: bool) -> list[Path]:
    from flowopt import show

    flat = next(iter(runs.values())).x.shape[-1] == 2
    wanted: dict[Path, Callable[[Path], object]] = {}
    for name, run in runs.items():
        start = f"{problem.name}-{as_file(name)}"
        wanted[out / f"{start}-panels.png"] = partial(show.trajectory, run, problem)
        if basins and flat:
            wanted[out / f"{start}-basins.png"] = partial(show.basins, run, problem)
    if len(runs) > 1:
        wanted[out / f"{problem.name}-panels.png"] = partial(show.panels, runs, problem)
    if flat:
        wanted[out / f"{problem.name}-paths.png"] = partial(show.paths, runs, problem)
    else:
        print("no picture of the paths: contours show two coordinates, and this problem has more or fewer")
    with progress_bar(True, "pictures", len(wanted)) as bar:
        for done, (file, draw) in enumerate(wanted.items()):
            bar(done)
            draw(file)
    return list(wanted)
