"""What the commands that run methods on functions share: options, the problem, where files go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowopt.cli._options import INTERRUPTED
from flowopt.core._files import check_writable
from flowopt.core.errors import BadValue

if TYPE_CHECKING:
    from flowopt.problems._problem import Problem

ProblemArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM", help="A problem's name (flowopt list problems), or module:function for one of your own."
    ),
]
Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        "-m",
        help="A method's name, torch:OPTIMIZER, scipy:MINIMIZER, or module:function that builds a method or an "
        "optimizer; may be given again.",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for pictures and trajectories; made if it is not there.")]
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


def problem_named(name: str, options: dict[str, Any], dim: int | None, start: Any) -> Problem:
    """The problem of a command: a name with its options, or a function of the user's own."""
    from flowopt.problems._own import as_problem

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


def make_folders(out: Path, json: Path | None) -> None:
    """Before any work is done: a folder that cannot be made, or a file that is a folder, is bad input."""
    check_writable(out / "picture.png")
    if json is not None:
        check_writable(json)


def plain(name: str) -> str:
    """A method's name as a part of a file's."""
    return name.replace(":", "-")


def finish(files: list[Path], json: Path | None, interrupted: bool) -> None:
    """Say what was written, and leave with the exit code of an interruption if there was one."""
    for file in (*files, *([json] if json is not None else [])):
        print(f"wrote {file}")
    if interrupted:
        print("flowopt: interrupted; this is what was done", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
