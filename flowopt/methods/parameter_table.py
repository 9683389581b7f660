"""The table of all parameters of the named methods: ``python -m flowopt.methods.parameter_table``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowopt.core.parameters import VOCABULARY
from flowopt.methods._naming import METHODS

HEAD = """# Parameters

All parameters of the named methods (`flowopt list parameters`). One name means one thing in every method that has it.
This page is written by `python -m flowopt.methods.parameter_table > docs/parameters.md`.

| Name | Meaning | Unit | In papers | Default: methods |
|---|---|---|---|---|
"""


def markdown() -> str:
    """The page."""
    lines = [
        f"| `{name}` | {_cell(meaning.words)} | {_cell(meaning.unit)} | {_cell(meaning.letters)} | {defaults(name)} |"
        for name, meaning in VOCABULARY.items()
    ]
    return HEAD + "\n".join(lines) + "\n"


def defaults(name: str) -> str:
    """The defaults of a parameter, each with the methods that have it: ``0.001: gd, gdm; 0.01: adagrad``.

    >>> defaults("beta3")
    '0.9999: adamod'
    """
    methods: dict[str, list[str]] = {}
    for method, default in _having(name):
        methods.setdefault(repr(default), []).append(method)
    return "; ".join(f"{default}: {', '.join(names)}" for default, names in methods.items())


def _having(name: str) -> Iterator[tuple[str, Any]]:
    return ((method, entry.defaults[name]) for method, entry in sorted(METHODS.items()) if name in entry.defaults)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(markdown(), end="")
