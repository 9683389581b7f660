"""The table of a paper: claim, source, the paper's number, the expected one, the measured one, the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flowopt.experiments.facts import OUTSIDE, Fact


def facts_table(title: str, sections: Iterable[tuple[str, Iterable[Fact]]]) -> RenderableType:
    """One line a fact under the summary of its experiment; notes below."""
    table = Table(title=title, title_justify="left")
    table.add_column("claim", ratio=1)
    table.add_column("source")
    for head in ("paper", "expected", "measured"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    notes: dict[str, int] = {}
    for summary, facts in sections:
        table.add_row(Text(summary, style="bold"))
        for fact in facts:
            mark = f" [{notes.setdefault(fact.note, len(notes) + 1)}]" if fact.note else ""
            paper = fact.paper.text if fact.paper else "-"
            cells = (f"  {fact.claim}{mark}", fact.source, paper, fact.expected.text, fact.shown)
            table.add_row(*map(Text, cells), Text(fact.verdict, style="bold red" if fact.verdict == OUTSIDE else ""))
        table.add_section()
    return Group(table, *(Text(f"[{number}] {note}") for note, number in notes.items()))
