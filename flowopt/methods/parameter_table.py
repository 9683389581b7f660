"""The table of all parameters of the named methods: ``python -m flowopt.methods.parameter_table``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flowopt.core.parameters import VOCABULARY
from flowopt.core.roles import LowerBound, Range, Role, roles
from flowopt.methods._naming import METHODS, Entry

HEAD = """# Parameters

All parameters of the named methods (`flowopt list parameters`). One name means one thing in every method that has it.
The range is where a study looks for good values, on a logarithmic scale if nothing else is said; it limits nothing.
This page is written by `python -m flowopt.methods.parameter_table > docs/parameters.md`.

| Name | Meaning | Unit | In papers | Default: methods | Range |
|---|---|---|---|---|---|
"""


def markdown() -> str:
    """The page."""
    lines = [
        f"| `{name}` | {' | '.join(map(_cell, (meaning.words, meaning.unit, meaning.letters)))} "
        f"| {defaults(name)} | {ranges(name)} |"
        for name, meaning in VOCABULARY.items()
    ]
    return HEAD + "\n".join(lines) + "\n"


def defaults(name: str) -> str:
    """The defaults of a parameter, each with the methods that have it: ``0.001: gd, gdm; 0.01: adagrad``.

    >>> defaults("beta3")
    '0.9999: adamod'
    """
    return _by_method((repr(entry.defaults[name]), method) for method, entry in _having(name))


def ranges(name: str) -> str:
    """Where a parameter is looked for, with the methods if they differ; of one that a driver fills in, what it is.

    >>> ranges("beta3"), ranges("safety"), ranges("F0")
    ('0.9 to 0.99999, even in log(1 - value)', '0.1 to 1, linear', 'a lower bound of f')
    """
    found = [(_words(role), method) for method, entry in _having(name) for role in _declared(entry.build, name)]
    return found[0][0] if len({words for words, _ in found}) == 1 else _by_method(found)


def _words(role: Role) -> str:
    if isinstance(role, Range):
        scale = {"log": "", "linear": ", linear", "complement": ", even in log(1 - value)"}[role.scale]
        return f"{role.low:g} to {role.high:g}{scale}"
    return "a lower bound of f" if isinstance(role, LowerBound) else "the length of an epoch"


def _declared(build: Callable[..., Any], name: str) -> list[Role]:
    return [role for parameter, role in roles(build, Role).items() if parameter == name]


def _by_method(found: Iterable[tuple[str, str]]) -> str:
    methods: dict[str, list[str]] = {}
    for words, method in found:
        methods.setdefault(words, []).append(method)
    return "; ".join(f"{words}: {', '.join(names)}" for words, names in methods.items())


def _having(name: str) -> Iterator[tuple[str, Entry]]:
    return ((method, entry) for method, entry in sorted(METHODS.items()) if name in entry.defaults)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(markdown(), end="")
