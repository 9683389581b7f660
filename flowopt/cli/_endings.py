"""How commands end: exit codes, and what is said last."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import typer

MISSED = 1
"""Exit code where a measured number lies outside its tolerance."""
USAGE = 2
"""Exit code for bad input."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, 128 + SIGINT as in the shell."""
TERMINATED = 143
"""Exit code after SIGTERM, 128 + 15."""

DONE = "interrupted; this is what was done"


def wrote(*files: Path | None) -> None:
    """Say which files were written."""
    for file in files:
        if file is not None:
            print(f"wrote {file}")


def warn(text: str) -> None:
    """Say, on stderr, something that is not a result."""
    print(f"flowopt: {text}", file=sys.stderr)


def leave(code: int, text: str) -> NoReturn:
    """End the command with an exit code, and say why."""
    warn(text)
    raise typer.Exit(code)
