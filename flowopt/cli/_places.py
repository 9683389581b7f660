"""Where the files of commands go: folders of their own for runs, names of files, and whether they can be written."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from flowopt.core._files import check_writable
from flowopt.core.errors import BadValue

OUT = Path("flowopt-out")
"""Where runs go that are not told where to go."""


def as_file(text: str) -> str:
    """A text, such as a method's name, as a file may be called.

    >>> as_file("torch:Adam"), as_file("heavy_ball x heun [pi]")
    ('torch-Adam', 'heavy_ball-x-heun-pi')
    """
    return re.sub(r"[^\w.]+", "-", text).strip("-")


def run_name(dataset: str, *parts: str | None) -> str:
    """A name for a run on a dataset."""
    return as_file("-".join([re.sub("^text:.*/", "text:", dataset), *(part for part in parts if part is not None)]))


def numbered(name: str, number: int) -> Path:
    """The folder of the `number`-th run of that name, counted from 1."""
    return OUT / (name if number == 1 else f"{name}-{number}")


def free_number(name: str) -> int:
    """The number of the first run of that name whose folder is not there or empty."""
    return next(number for number in count(1) if not any(numbered(name, number).glob("*")))


def folder_for(out: Path | None, name: str, file: str, what: str) -> Path:
    """The folder that `file` goes to: `out`, or a free one of that name.

    Raises BadValue where the file is there already, or could not be written.
    """
    folder = numbered(name, free_number(name)) if out is None else out
    if (folder / file).exists():
        raise BadValue(f"{folder} holds {what} already; give another folder")
    check_writable(folder / file)
    return folder


def check_files(*files: Path | None) -> None:
    """Before any work is done: raise BadValue where one of the files could not be written."""
    for file in files:
        if file is not None:
            check_writable(file)
