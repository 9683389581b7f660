"""The table of a paper: source, the printed number, what we made of it, what we ran, the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flowopt.reproduce.facts import OUTSIDE, Fact

HEADS = ("printed number, verbatim", "what we made of it", "what we ran")


def facts_table(title: str, sections: Iterable[tuple[str, Iterable[Fact]]]) -> RenderableType:
    """One line a fact under the summary of its experiment; notes below."""
    table = Table(title=title, title_justify="left")
    table.add_column("source")
    for head, ratio in zip(HEADS, (2, 3, 3), strict=True):
        table.add_column(head, ratio=ratio)
    table.add_column("verdict")
    notes: dict[str, int] = {}
    for summary, facts in sections:
        table.add_row("", "", Text(summary, style="bold"))
        for fact in facts:
            mark = f" [{notes.setdefault(fact.note, len(notes) + 1)}]" if fact.note else ""
            cells = (fact.source, fact.printed or "-", f"{fact.made}{mark}", fact.ran)
            table.add_row(*map(Text, cells), Text(fact.verdict, style="bold red" if fact.verdict == OUTSIDE else ""))
        table.add_section()
    return Group(table, *(Text(f"[{number}] {note}") for note, number in notes.items()))
