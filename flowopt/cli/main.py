"""The command line: list, explore, compare, train, epsilon, heatmap, reproduce, cite."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flowopt.cli._endings import USAGE, warn
from flowopt.cli.cite import cite
from flowopt.cli.compare import compare
from flowopt.cli.epsilon import epsilon
from flowopt.cli.explore import explore
from flowopt.cli.heatmap import heatmap
from flowopt.cli.list import list_
from flowopt.cli.reproduce import reproduce
from flowopt.cli.train import train
from flowopt.core.errors import FlowoptError
from flowopt.core.version import VERSION

# What needs torch is imported where it is used: help and a mistyped option are there at once. typer reads the
# annotations of commands, which are therefore of plain types.
app = typer.Typer(
    name="flowopt",
    help="Optimization as numerical integration: run methods on test functions and networks, and see how they move.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help and errors, which need half the imports
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

app.command("list")(list_)
app.command()(explore)
app.command()(compare)
app.command()(train)
app.command()(epsilon)
app.command()(heatmap)
app.command()(reproduce)
app.command()(cite)


def main() -> None:
    """Run the command line: exit code 0 done, 2 bad input, 130 interrupted; anything else keeps its traceback."""
    try:
        app()
    except FlowoptError as error:
        warn(str(error))
        sys.exit(USAGE)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flowopt {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
