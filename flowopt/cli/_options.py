"""Options that commands share, each declared once: those of all commands, of functions, and of networks.

They are of plain types, and their names are completed without importing torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flowopt.cli import _completion as names

LITERALS = "Values are Python literals (0.1, True, None, (1, 2)) or inf, else text."


def method(text: str, complete: names.Completion) -> Any:
    """``--method``, of one name or of several."""
    return typer.Option("--method", "-m", metavar="METHOD", help=text, autocompletion=complete)


def _set(others: str) -> Any:
    return typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A parameter; may be given again. KEY=VALUE goes to every method that has it, METHOD.KEY=VALUE to one, "
        f"{others}. {LITERALS}",
    )


# of all commands
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers to this file.")]

# of functions
ProblemName = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM",
        help="A problem's name (flowopt list problems), or module:function for one of your own.",
        autocompletion=names.problems,
    ),
]
FunctionMethods = Annotated[
    list[str],
    method(
        "A method's name, a formula ('heavy_ball x heun [pi]'), torch:OPTIMIZER, scipy:MINIMIZER, or "
        "module:function that builds a method or an optimizer; may be given again.",
        names.function_methods,
    ),
]
FunctionSet = Annotated[list[str], _set("problem.KEY=VALUE to the problem")]
Dim = Annotated[
    int | None, typer.Option(metavar="D", help="Coordinates of the problem, where it takes any: problem.dim=D.")
]
FunctionSeed = Annotated[int, typer.Option(metavar="N", help="Seed of random numbers; row i draws from N + i.")]
FunctionOut = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go; made if it is not there.")]

# of networks
DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="digits, mnist, fashion-mnist, cifar10, cifar100, power or text:FILE.",
        autocompletion=names.datasets,
    ),
]
ModelSpec = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="A model with its sizes: mlp:64-32, cnn:16-32, lenet5, resnet18, lstm:128x2, ... Default: by the task.",
        autocompletion=names.models,
    ),
]
NetworkSet = Annotated[list[str], _set("model.KEY=VALUE to the model, data.KEY=VALUE to the dataset")]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Samples a step.")]
NetworkSeed = Annotated[
    int, typer.Option(metavar="N", help="Seed of the weights, of the order of the samples and of all noise.")
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, ...; auto: a CUDA GPU if there is one.",
        autocompletion=names.one_of("auto", "cpu", "cuda"),
    ),
]
DataDir = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the dataset's files are.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch files that are missing there.")]
NetworkOut = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where the files go. Default: a new folder for each run, in flowopt-out."),
]
