"""``flowopt list``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from flowopt.cli import _completion as names
from flowopt.cli import _options as options
from flowopt.cli._endings import wrote
from flowopt.cli._places import check_files
from flowopt.core._files import write_json


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="methods, systems, integrators, controllers, transforms, problems, datasets, models or parameters; "
            "all if left out.",
            autocompletion=names.lists,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """List what there is, with one line of explanation and the source of each."""
    from flowopt.show._listing import KINDS, listing
    from flowopt.show.tables import listing_table, show

    found = {name: listing(name) for name in ([kind] if kind is not None else KINDS)}
    check_files(json)
    for name, lines in found.items():
        show(listing_table(name, lines))
    if json is not None:
        write_json(json, {name: [line._asdict() for line in lines] for name, lines in found.items()})
    wrote(json)
