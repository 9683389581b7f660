"""How the pictures look: colours for colour-blind readers too, repeated by line styles and markers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from flowopt.core._files import replacing
from flowopt.core.state import Status
from flowopt.core.version import VERSION

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito 2008, without yellow (too light on white) and black (kept for references and minimisers)."""
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)), (0, (4, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
REJECTED = "black"

FONTS: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.titlesize": 12,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,  # journals ask for fonts that are embedded as they are
    "ps.fonttype": 42,
}
PRINTED: Any = FONTS | {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "figure.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.2,
}
"""For a picture as wide as a page of a paper, to be printed at its size."""
PAGE = 7.2
"""Its width in inches."""
DPI = 150


class Look(NamedTuple):
    """How one of several curves is drawn."""

    colour: str
    dash: Any
    marker: str


def look(index: int) -> Look:
    """The look of curve number `index`; 30 in a row differ in colour or dashes."""
    return Look(PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])


STATUS_LOOK: dict[Status, tuple[str, str]] = {
    Status.RUNNING: (GREY, "."),
    Status.CONVERGED: ("#009E73", "o"),
    Status.MAX_STEPS: ("#0072B2", "s"),
    Status.TIME_REACHED: ("#56B4E9", "D"),
    Status.STEP_TOO_SMALL: ("#E69F00", "v"),
    Status.NONFINITE: ("#D55E00", "X"),
    Status.BELOW_F0: ("#CC79A7", "^"),
    Status.DIVERGED: ("#000000", "P"),
    Status.SOLVER_FAILED: ("#8C510A", "*"),
    Status.INTERRUPTED: (GREY, "d"),
}
"""Colour and marker of a row by how it ended."""


@contextmanager
def figure(width: float, height: float, title: str = "", fonts: Any = FONTS) -> Iterator[Figure]:
    """A Figure of that size in inches to draw on; fonts and grid hold inside the block only."""
    with matplotlib.rc_context(fonts):
        drawn = Figure(figsize=(width, height), layout="constrained")
        if title:
            drawn.suptitle(title)
        yield drawn


def note(axes: Axes, text: str) -> None:
    """Say in words why a panel is empty, and take its ticks away."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, style="italic", wrap=True)
    axes.tick_params(left=False, labelleft=False, which="both")
    axes.grid(False)


def write(drawn: Figure, path: str | Path | None, dpi: int = DPI) -> Figure:
    """Write the figure to `path` in the format of its suffix (PNG if it has none), and hand it back."""
    if path is not None:
        target = Path(path)
        if not target.suffix:
            target = target.with_suffix(".png")
        with replacing(target) as file, matplotlib.rc_context(FONTS):
            drawn.savefig(file, format=target.suffix[1:], dpi=dpi, metadata=_about(drawn, target.suffix))
    return drawn


def _about(drawn: Figure, suffix: str) -> dict[str, str] | None:
    """For a PNG the version that drew it and all that is written in it, to be read without looking."""
    if suffix.lower() != ".png":
        return None  # other formats hold their texts as such, and know other keys
    texts = [text.get_text() for text in drawn.findobj(Text) if text.get_visible()]
    return {"Software": f"flowopt {VERSION}", "Description": "\n".join(filter(None, texts))}
