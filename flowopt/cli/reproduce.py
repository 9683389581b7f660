"""``flowopt reproduce``: run the papers' claims and print what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowopt.cli import _options as options
from flowopt.cli._completion import papers
from flowopt.cli._endings import INTERRUPTED, MISSED, leave, wrote
from flowopt.cli._places import check_files
from flowopt.core._files import write_json
from flowopt.core._progress import progress_bar
from flowopt.core.errors import UnknownName

if TYPE_CHECKING:
    from flowopt.reproduce import Fact


def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            metavar="PAPER",
            help="ecco, ecdsep, elra, tlr, epsilon, schemes, networks or all.",
            autocompletion=papers,
        ),
    ] = "all",
    json: options.Json = None,
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
    check_files(json)
    facts: dict[str, list[Fact]] = {}
    try:
        for name in EXPERIMENTS if paper == "all" else [paper]:
            facts[name] = _run(name, quick)
    except KeyboardInterrupt:
        leave(INTERRUPTED, "interrupted")
    if json is not None:
        write_json(json, {name: [fact.to_dict() for fact in of_one] for name, of_one in facts.items()})
    wrote(json)
    missed = sum(fact.verdict == OUTSIDE for of_one in facts.values() for fact in of_one)
    if missed:
        leave(MISSED, f"{missed} of {sum(map(len, facts.values()))} numbers lie outside their tolerance")


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
