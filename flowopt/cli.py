"""The command line: list, explore, compare, train, epsilon, heatmap, cite."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import flowopt
from flowopt.commands.epsilon import epsilon
from flowopt.commands.heatmap import heatmap
from flowopt.commands.options import INTERRUPTED, USAGE, Json
from flowopt.commands.train import train
from flowopt.errors import BadValue, FlowoptError, UnknownName
from flowopt.files import check_writable, write_json
from flowopt.progress import progress_bar

# What needs torch is imported where it is used: help and a mistyped option are there at once. typer reads the
# annotations of commands, which are therefore of plain types.
if TYPE_CHECKING:
    from flowopt.problems.problem import Problem
    from flowopt.trajectory import Trajectory

app = typer.Typer(
    name="flowopt",
    help="Optimization as numerical integration: run methods on test functions and networks, and see how they move.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(train)
app.command()(epsilon)
app.command()(heatmap)

RECORDS = 2_000_000
"""Records, of one row at one step each, that an exploration keeps of a run unless told otherwise."""

ProblemArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM", help="A problem's name (flowopt list problems), or module:function for one of your own."
    ),
]
Steps = Annotated[int, typer.Option(help="Attempted steps at most, rejected ones included.")]
Out = Annotated[Path, typer.Option(help="Folder for pictures and trajectories; made if it is not there.")]
Starts = Annotated[list[str], typer.Option(metavar="X,Y,...", help="A start; may be given again. Default: standard.")]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A parameter; may be given again. KEY=VALUE goes to every method that has it, METHOD.KEY=VALUE to one, "
        "problem.KEY=VALUE to the problem. Values are Python literals (0.1, True, None, (1, 2)), else text.",
    ),
]
Dim = Annotated[int | None, typer.Option(help="Coordinates of the problem, where it takes any: problem.dim=DIM.")]
Seed = Annotated[int, typer.Option(help="Seed of random numbers; row i draws from seed + i.")]


def main() -> None:
    """Run the command line: exit code 0 done, 2 bad input, 130 interrupted; anything else keeps its traceback."""
    try:
        app()
    except FlowoptError as error:
        print(f"flowopt: {error}", file=sys.stderr)
        sys.exit(USAGE)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flowopt {flowopt.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="methods, systems, integrators, controllers, transforms or problems; all if left out."),
    ] = None,
    json: Json = None,
) -> None:
    """List what there is, with one line of explanation and the source of each."""
    from flowopt.listing import KINDS, listing
    from flowopt.tables import listing_table, show

    found = {name: listing(name) for name in ([kind] if kind is not None else KINDS)}
    for name, lines in found.items():
        show(listing_table(name, lines))
    if json is not None:
        write_json(json, {name: [line._asdict() for line in lines] for name, lines in found.items()})


@app.command()
def cite(
    method: Annotated[str, typer.Argument(help="A method's name (flowopt list methods).")], json: Json = None
) -> None:
    """Print whose method it is, as BibTeX, and which reading of the paper it follows."""
    from flowopt.papers import METHODS

    if method not in METHODS:
        raise UnknownName("method", method, METHODS)
    entry = METHODS[method]
    print(entry.citation.strip())
    print(f"\n{method}: {entry.summary}")
    if entry.reading:
        print(f"reading: {entry.reading}")
    print("parameters: " + ", ".join(f"{name} = {value!r}" for name, value in entry.defaults.items()))
    if json is not None:
        about = {
            "parameters": entry.defaults,
            "paper": entry.paper,
            "summary": entry.summary,
            "reading": entry.reading,
            "bibtex": entry.citation,
        }
        write_json(json, {"method": method} | about)


@app.command()
def explore(
    problem: ProblemArgument,
    method: Annotated[
        list[str],
        typer.Option("--method", "-m", help="A method's name, torch:OPTIMIZER or scipy:MINIMIZER; may be given again."),
    ] = ["ecco_stable"],  # noqa: B006 (typer reads the default and never changes it)
    x0: Starts = [],  # noqa: B006
    grid: Annotated[int | None, typer.Option(metavar="N", help="Start from an N x N grid over the domain.")] = None,
    dim: Dim = None,
    steps: Steps = 1000,
    t_end: Annotated[float | None, typer.Option(help="Stop at this time of the flow.")] = None,
    gtol: Annotated[float, typer.Option(help="Converged where |grad f| is at most this.")] = 1e-6,
    record_every: Annotated[
        int | None, typer.Option(help="Keep every n-th step; by default every one, fewer where rows are many.")
    ] = None,
    seed: Seed = 0,
    set_: Set = [],  # noqa: B006
    out: Out = Path("flowopt-out"),
    json: Json = None,
) -> None:
    """Run methods on a problem; print how they ended; write trajectories (.npz) and pictures of paths and panels."""
    from flowopt import settings, tables
    from flowopt.papers import METHODS, as_method
    from flowopt.state import Status

    chosen = list(dict.fromkeys(method))
    given = settings.assign(set_, chosen)
    starts = settings.parse_starts(x0)
    known = _problem(problem, given.problem, dim, starts)
    if grid is not None:
        if starts is not None:
            raise BadValue("give --x0 or --grid, not both")
        starts = settings.grid(known, grid)
    rows = 1 if starts is None else len(starts)
    every = max(1, math.ceil(rows * steps / RECORDS)) if record_every is None else record_every
    built = {name: as_method(name, given.methods[name]) if name in METHODS else name for name in chosen}
    _make_folders(out, json)
    runs: dict[str, Trajectory] = {}
    files: list[Path] = []
    interrupted = False
    for name in chosen:
        overrides = {} if name in METHODS else given.methods[name]
        run = flowopt.minimize(
            known,
            starts,
            built[name],
            steps,
            gtol=gtol,
            t_end=t_end,
            record_every=every,
            seed=seed,
            progress=True,
            **overrides,
        )
        runs[name] = run
        files.append(run.save(out / f"{known.name}-{_plain(name)}.npz"))
        interrupted = bool((run.status == Status.INTERRUPTED).any())
        if interrupted:
            break
    tables.show(tables.runs_table(runs, known))
    if json is not None:
        write_json(json, {"problem": known.name, "minimum": known.minimum, "runs": _numbers(runs, known)})
    files += _pictures(runs, known, out, basins=grid is not None)
    _finish(files, json, interrupted)


@app.command()
def compare(
    problem: ProblemArgument,
    x0: Annotated[str | None, typer.Option(metavar="X,Y,...", help="The start; default: the standard one.")] = None,
    dim: Dim = None,
    steps: Steps = 1000,
    horizon: Annotated[
        float | None, typer.Option(help="Time up to which methods are held against the reference solution.")
    ] = None,
    seed: Seed = 0,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="problem.KEY=VALUE", help="An option of the problem.")
    ] = [],  # noqa: B006
    out: Out = Path("flowopt-out"),
    json: Json = None,
) -> None:
    """Run all the papers' methods beside torch.optim, SciPy and the flow itself: one table, one picture."""
    from flowopt import comparison, settings, tables

    starts = settings.parse_starts([x0] if x0 is not None else [])
    known = _problem(problem, settings.assign(set_, []).problem, dim, starts)
    _make_folders(out, json)
    found = comparison.compare(
        known, starts, steps, horizon=comparison.HORIZON if horizon is None else horizon, seed=seed, progress=True
    )
    tables.show(tables.comparison_table(found.rows, known, steps))
    if json is not None:
        write_json(json, found.to_dict())
    picture = out / f"{known.name}-compare.png"
    found.figure(picture)
    _finish([picture], json, found.interrupted)


def _problem(name: str, options: dict[str, Any], dim: int | None, start: Any) -> Problem:
    from flowopt.problems.own import as_problem

    if dim is not None:
        if "dim" in options:
            raise BadValue("give --dim or --set problem.dim=..., not both")
        options = options | {"dim": dim}
    if ":" in name and options:
        raise BadValue(f"{name} is your own: it takes no options ({', '.join(options)}); the start gives its dimension")
    known = as_problem(name, None if options else start, **options)
    if start is not None and not options and ":" not in name and known.dim != (standard := as_problem(name).dim):
        print(f"{name} in {known.dim} coordinates, as many as a start has; without --x0 it has {standard}")
    return known


def _make_folders(out: Path, json: Path | None) -> None:
    """Before any work is done: a folder that cannot be made, or a file that is a folder, is bad input."""
    check_writable(out / "picture.png")
    if json is not None:
        check_writable(json)


def _plain(name: str) -> str:
    return name.replace(":", "-")


def _numbers(runs: dict[str, Trajectory], problem: Problem) -> list[dict[str, Any]]:
    import torch

    from flowopt.state import Status

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
    from flowopt import plots

    flat = next(iter(runs.values())).x.shape[-1] == 2
    wanted: dict[Path, Callable[[Path], object]] = {}
    for name, run in runs.items():
        start = f"{problem.name}-{_plain(name)}"
        wanted[out / f"{start}-panels.png"] = partial(plots.trajectory, run, problem)
        if basins and flat:
            wanted[out / f"{start}-basins.png"] = partial(plots.basins, run, problem)
    if len(runs) > 1:
        wanted[out / f"{problem.name}-panels.png"] = partial(plots.panels, runs, problem)
    if flat:
        wanted[out / f"{problem.name}-paths.png"] = partial(plots.paths, runs, problem)
    else:
        print("no picture of the paths: contours show two coordinates, and this problem has more or fewer")
    with progress_bar(True, "pictures", len(wanted)) as bar:
        for done, (file, draw) in enumerate(wanted.items()):
            bar(done)
            draw(file)
    return list(wanted)


def _finish(files: list[Path], json: Path | None, interrupted: bool) -> None:
    for file in (*files, *([json] if json is not None else [])):
        print(f"wrote {file}")
    if interrupted:
        print("flowopt: interrupted; this is what was done", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
