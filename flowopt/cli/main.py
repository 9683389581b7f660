"""The command line: list, explore, compare, train, epsilon, heatmap, reproduce, cite."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flowopt.cli._options import USAGE, Json
from flowopt.cli.compare import compare
from flowopt.cli.epsilon import epsilon
from flowopt.cli.explore import explore
from flowopt.cli.heatmap import heatmap
from flowopt.cli.reproduce import reproduce
from flowopt.cli.train import train
from flowopt.core._files import write_json
from flowopt.core.errors import FlowoptError, UnknownName
from flowopt.core.version import VERSION

# What needs torch is imported where it is used: help and a mistyped option are there at once. typer reads the
# annotations of commands, which are therefore of plain types.
app = typer.Typer(
    name="flowopt",
    help="Optimization as numerical integration: run methods on test functions and networks, and see how they move.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help and errors, which need half the imports
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

app.command()(explore)
app.command()(compare)
app.command()(train)
app.command()(epsilon)
app.command()(heatmap)
app.command()(reproduce)


def main() -> None:
    """Run the command line: exit code 0 done, 2 bad input, 130 interrupted; anything else keeps its traceback."""
    try:
        app()
    except FlowoptError as error:
        print(f"flowopt: {error}", file=sys.stderr)
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


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="methods, systems, integrators, controllers, transforms or problems; all if left out."),
    ] = None,
    json: Json = None,
) -> None:
    """List what there is, with one line of explanation and the source of each."""
    from flowopt.show._listing import KINDS, listing
    from flowopt.show.tables import listing_table, show

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
    from flowopt.methods import METHODS

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
