"""Options and exit codes that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers to this file.")]
USAGE = 2
"""Exit code for bad input."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, 128 + SIGINT as in the shell."""
TERMINATED = 143
"""Exit code after SIGTERM, 128 + 15."""
