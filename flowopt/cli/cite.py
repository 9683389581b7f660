"""``flowopt cite``: whose method it is."""

from __future__ import annotations

from typing import Annotated

import typer

from flowopt.cli import _completion as names
from flowopt.cli import _options as options
from flowopt.cli._endings import wrote
from flowopt.cli._places import check_files
from flowopt.core._files import write_json
from flowopt.core.errors import UnknownName


def cite(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD", help="A method's name (flowopt list methods).", autocompletion=names.methods),
    ],
    json: options.Json = None,
) -> None:
    """Print whose method it is, as BibTeX, and which reading of the paper it follows."""
    from flowopt.methods import everything

    known = everything()
    if method not in known:
        raise UnknownName("method", method, known)
    check_files(json)
    entry = known[method]
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
    wrote(json)
