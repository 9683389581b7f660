"""``flowopt compare``: methods beside each other, with the same budget and the same chance to be tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowopt.cli import _options as options
from flowopt.cli._completion import one_of
from flowopt.cli._endings import DONE, INTERRUPTED, leave, wrote
from flowopt.cli._places import check_files
from flowopt.core._files import write_json
from flowopt.core.errors import BadValue, check_choice

FORMATS = ("png", "pdf", "svg")


def compare(
    problem: options.ProblemName,
    method: options.FunctionMethods = [],
    all_: Annotated[bool, typer.Option("--all", help="Compare all named methods.")] = False,
    set_: options.FunctionSet = [],
    tune: Annotated[
        int,
        typer.Option(metavar="N", help="Values of its step size that each method tries; 0: none, as it is."),
    ] = 16,
    evaluations: Annotated[
        int, typer.Option(metavar="N", help="Evaluations of the objective that each run may spend.")
    ] = 1000,
    x0: Annotated[str | None, typer.Option(metavar="X,Y,...", help="The start; default: the standard one.")] = None,
    dim: options.Dim = None,
    horizon: Annotated[
        float | None,
        typer.Option(metavar="T", help="Time up to which methods are held against the reference solution."),
    ] = None,
    seed: options.FunctionSeed = 0,
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="png|pdf|svg", help="Format of the pictures.", autocompletion=one_of(*FORMATS)
        ),
    ] = "png",
    out: options.FunctionOut = Path("flowopt-out"),
    json: options.Json = None,
) -> None:
    """Run methods beside torch.optim, SciPy and the flow itself, as they are and tuned: tables, pictures, numbers.

    Without --method or --all: a dozen, one or two of each paper among them.
    """
    check_choice("compare", "--format", format_, FORMATS)
    if all_ and method:
        raise BadValue("give --all or --method, not both")
    from flowopt.cli._functions import problem_named, settings_of
    from flowopt.cli._starts import parse_starts
    from flowopt.functions import comparison
    from flowopt.show import tables
    from flowopt.show._comparison_tables import comparison_table

    methods = method or (comparison.everything() if all_ else comparison.DEFAULTS)
    starts = parse_starts([x0] if x0 is not None else [])
    given = settings_of(methods, set_)
    known = problem_named(problem, given, dim, starts)
    files = [out / f"{known.name}-compare.{format_}"]
    check_files(*files, json)
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
    found.figure(files[0])
    if found.flat:
        files.append(out / f"{known.name}-compare-paths.{format_}")
        found.paths(files[1])
    wrote(*files, json)
    if found.interrupted:
        leave(INTERRUPTED, DONE)
