"""Results as a notebook shows them: small tables of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

MOST = 20
"""Lines of a table; what is between the first and the last of more is left out."""


def html_table(title: str, heads: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table with a title; everything in it is text, whatever it looks like.

    >>> html_table("a < b", ["f"], [[0.5]])
    '<table><caption>a &lt; b</caption><tr><th>f</th></tr><tr><td>0.5</td></tr></table>'
    """
    found = list(lines)
    if len(found) > MOST:
        found = [*found[: MOST // 2], ["..."] * len(heads), *found[-MOST // 2 :]]
    body = "".join(f"<tr>{_cells('td', line)}</tr>" for line in found)
    return f"<table><caption>{escape(title)}</caption><tr>{_cells('th', heads)}</tr>{body}</table>"


def brief(value: Any) -> str:
    """A value for a table: numbers in few digits, a dash where there is none."""
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cells(tag: str, line: Iterable[Any]) -> str:
    return "".join(f"<{tag}>{escape(brief(value))}</{tag}>" for value in line)
