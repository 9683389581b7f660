"""``flowopt reproduce``: run the papers' claims and print what was measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowopt.cli._options import INTERRUPTED, Json
from flowopt.core._files import write_json
from flowopt.core._progress import progress_bar
from flowopt.core.errors import BadValue, UnknownName

if TYPE_CHECKING:
    from flowopt.reproduce import Fact

MISSED = 1
"""Exit code when a measured number lies outside its tolerance."""


def reproduce(
    paper: Annotated[str, typer.Argument(help="ecco, ecdsep, elra, tlr, epsilon, schemes, networks or all.")] = "all",
    json: Json = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Shorter runs; what they cannot tell is not measured.")
    ] = False,
) -> None:
    """Run the papers' claims: the number that is printed, what we made of it, what we ran, and a verdict on the first.

    Exit code 0: every number is where it was expected; 1: one is not; 2: bad input; 130: interrupted.
    """
    from flowopt.reproduce import EXPERIMENTS
    from flowopt.reproduce.facts import OUTSIDE

    if paper != "all" and paper not in EXPERIMENTS:
        raise UnknownName("paper", paper, (*EXPERIMENTS, "all"))
    if json is not None:
        _make_folder(json.parent)
    facts: dict[str, list[Fact]] = {}
    try:
        for name in EXPERIMENTS if paper == "all" else [paper]:
            facts[name] = _run(name, quick)
    except KeyboardInterrupt:
        print("flowopt: interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if json is not None:
        write_json(json, {name: [fact.to_dict() for fact in of_one] for name, of_one in facts.items()})
        print(f"wrote {json}")
    missed = sum(fact.verdict == OUTSIDE for of_one in facts.values() for fact in of_one)
    if missed:
        print(
            f"flowopt: {missed} of {sum(map(len, facts.values()))} numbers lie outside their tolerance", file=sys.stderr
        )
        raise typer.Exit(MISSED)


def _run(name: str, quick: bool) -> list[Fact]:
    from flowopt.reproduce import EXPERIMENTS
    from flowopt.reproduce.table import facts_table
    from flowopt.show.tables import show

    sections: list[tuple[str, list[Fact]]] = []
    with progress_bar(True, name, len(EXPERIMENTS[name])) as bar:
        for done, experiment in enumerate(EXPERIMENTS[name]):
            bar(done)
            sections.append((experiment.summary, experiment.facts(quick=quick)))
    show(facts_table(name, sections))
    return [fact for _, facts in sections for fact in facts]


def _make_folder(folder: Path) -> None:
    """Before any work is done: a folder that cannot be made is bad input."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue(f"cannot make the folder {folder}: {error.strerror}") from error
