"""``flowopt compare``: methods beside each other, with the same budget and the same chance to be tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowopt.cli._function_options import Dim, Methods, ProblemArgument, Seed, Set, finish, make_folders, problem_named
from flowopt.cli._options import Json
from flowopt.core._files import write_json
from flowopt.core.errors import BadValue, check_choice

FORMATS = ("png", "pdf", "svg")


def compare(
    problem: ProblemArgument,
    method: Methods = [],
    all_: Annotated[bool, typer.Option("--all", help="Compare all named methods.")] = False,
    set_: Set = [],
    tune: Annotated[
        int,
        typer.Option(metavar="N", help="Values of its step size that each method has; 0: the parameters as they are."),
    ] = 16,
    evaluations: Annotated[
        int, typer.Option(metavar="N", help="Evaluations of the objective that each run may spend.")
    ] = 1000,
    x0: Annotated[str | None, typer.Option(metavar="X,Y,...", help="The start; default: the standard one.")] = None,
    dim: Dim = None,
    horizon: Annotated[
        float | None, typer.Option(help="Time up to which methods are held against the reference solution.")
    ] = None,
    seed: Seed = 0,
    format_: Annotated[str, typer.Option("--format", metavar="png|pdf|svg", help="Format of the pictures.")] = "png",
    out: Annotated[Path, typer.Option(help="Folder for pictures; made if it is not there.")] = Path("flowopt-out"),
    json: Json = None,
) -> None:
    """Run methods beside torch.optim, SciPy and the flow itself, as they are and tuned: tables, pictures, numbers.

    Without --method or --all: a dozen, one or two of each paper among them.
    """
    check_choice("flowopt compare", "--format", format_, FORMATS)
    if all_ and method:
        raise BadValue("give --all or --method, not both")
    from flowopt.cli import settings
    from flowopt.functions import comparison
    from flowopt.show import tables
    from flowopt.show._comparison_tables import comparison_table

    methods = method or (comparison.everything() if all_ else comparison.DEFAULTS)
    starts = settings.parse_starts([x0] if x0 is not None else [])
    given = settings.assign(set_, list(dict.fromkeys(methods)))
    known = problem_named(problem, given.problem, dim, starts)
    make_folders(out, json)
    found = comparison.compare(
        known,
        starts,
        methods,
        {name: values for name, values in given.methods.items() if values},
        evaluations,
        tune,
        horizon=comparison.HORIZON if horizon is None else horizon,
        seed=seed,
        progress=True,
    )
    tables.show(comparison_table(found))
    if json is not None:
        write_json(json, found.to_dict())
    files = [out / f"{known.name}-compare.{format_}"]
    found.figure(files[0])
    if found.flat:
        files.append(out / f"{known.name}-compare-paths.{format_}")
        found.paths(files[1])
    finish(files, json, found.interrupted)
