"""What a heat map leaves behind: its axes, and what the networks of its cells reached."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from flowopt.core._files import plain
from flowopt.core._importing import REQUIRED
from flowopt.core._records import Kind
from flowopt.core.drawers import drawer
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.parameters import hint
from flowopt.core.state import Status
from flowopt.methods import entry
from flowopt.networks._calls import network_defaults

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Array = NDArray[Any]

KIND = Kind("heat map", 1)
ARRAYS = ("untrained", "curves", "status", "ended")
COMPLEMENT = "1-"
"""Before a parameter: the axis shows 1 minus it."""
TOO_MANY = 1e4
"""Of a metric that is larger the digits tell nothing."""
RISING = frozenset({"accuracy"})
"""Metrics of which more is better; of all others less is."""


def counted(number: int, thing: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class Axis(NamedTuple):
    """A parameter of a method and the values that it takes along an axis."""

    name: str
    """As ``"lr"``; ``"1-beta2"`` where the values are those of 1 - beta2: averages vary by powers of ten of that."""
    values: tuple[float, ...]

    @property
    def parameter(self) -> str:
        """The parameter's name."""
        return self.name.removeprefix(COMPLEMENT)

    @property
    def settings(self) -> tuple[float, ...]:
        """What the parameter is set to."""
        return tuple(1 - value for value in self.values) if self.name.startswith(COMPLEMENT) else self.values

    @classmethod
    def checked(cls, name: str, values: Sequence[float], method: str) -> Self:
        """An axis that goes with a method, its values in ascending order.

        Raises UnknownName for a method or a parameter that does not exist, BadValue for a parameter that is not a
        number, and for values that are not finite numbers, that repeat, or that are fewer than two.
        """
        numbers = tuple(sorted(map(float, values)))
        if len(numbers) < 2 or len(set(numbers)) < len(numbers) or not all(map(math.isfinite, numbers)):
            raise BadValue(f"the axis {name} needs two or more different finite numbers, not {list(values)}")
        sign = COMPLEMENT if name.startswith(COMPLEMENT) else ""
        axis = cls(sign + entry(method).spelled(name.removeprefix(sign)), numbers)
        defaults = network_defaults(method)
        if axis.parameter not in defaults:
            raise UnknownName(f"parameter of {method}", axis.parameter, defaults, hint(axis.parameter, defaults))
        default = defaults[axis.parameter]
        if default is REQUIRED:
            return axis
        if isinstance(default, bool) or not isinstance(default, (int, float)):
            raise BadValue(
                f"{axis.parameter} of {method} is not a number (by default {default!r}): it cannot be an axis"
            )
        return axis


def check_once(x: Axis, y: Axis, others: Iterable[str]) -> None:
    """Raise BadValue where a parameter stands on both axes, or on one and among the others."""
    names = [x.parameter, y.parameter, *others]
    if len(set(names)) < len(names):
        raise BadValue(f"a parameter can be given once: along x, along y or for all cells, not {', '.join(names)}")


@dataclass(frozen=True, eq=False)
class HeatMap:
    """What the networks of a heat map reached: Y x X cells, each with S seeds.

    A network whose loss or gradient was no longer finite has ended: what it reached before counts for `best`, and
    `last` is NaN.
    """

    x: Axis
    y: Axis
    seeds: tuple[int, ...]
    """Of the initial weights, S."""
    metric: str
    """Name of what was measured on the test samples: the first metric of the task, or "loss"."""
    untrained: Array
    """The metric before the first step, ``(S,)``."""
    curves: Array
    """The metric after each finished epoch, ``(E, Y, X, S)``; NaN once a network has ended."""
    status: Array
    """Status codes, ``(Y, X, S)``: RUNNING, or why a network ended."""
    ended: Array
    """The step, from 1, with which a network ended, ``(Y, X, S)``; 0 where it did not."""
    interrupted: bool
    """Whether Ctrl-C came before all epochs were done."""
    about: dict[str, Any]
    """Data, model, method, batch size and what else determines the numbers."""

    @property
    def rising(self) -> bool:
        """Whether more of the metric is better."""
        return self.metric in RISING

    @property
    def best(self) -> Array:
        """The best over the epochs, as the paper's figures 6 and 7 show it, ``(Y, X, S)``; NaN where there is none.

        The test samples choose the epoch, so it is better than what new samples would show; `last` is not chosen.
        """
        extreme = np.fmax if self.rising else np.fmin
        return np.asarray(extreme.reduce(self.curves, axis=0, initial=np.nan))

    @property
    def last(self) -> Array:
        """After the last epoch, ``(Y, X, S)``; NaN of networks that have ended."""
        return self.curves[-1] if len(self.curves) else np.full(self.ended.shape, np.nan)

    @property
    def diverged(self) -> Array:
        """How many of a cell's networks have ended, ``(Y, X)``."""
        return np.asarray((self.ended > 0).sum(-1))

    @property
    def cells(self) -> Array:
        """Mean of `best` over the seeds, ``(Y, X)``; NaN where a network ended before its first epoch did."""
        return np.asarray(self.best.mean(-1))

    @property
    def score(self) -> Array:
        """`cells` as more is better, ``(Y, X)``; NaN where a network has ended."""
        return np.where(self.diverged > 0, np.nan, self.cells if self.rising else -self.cells)

    @property
    def best_cell(self) -> tuple[int, int] | None:
        """Row and column of the best of the cells none of whose networks has ended; None if there is none."""
        return self.best_where(np.ones(self.score.shape, dtype=np.bool_))

    def best_where(self, chosen: NDArray[np.bool_]) -> tuple[int, int] | None:
        """The same among the cells `chosen`, ``(Y, X)`` or what broadcasts to it."""
        score = np.where(chosen, self.score, np.nan)
        if np.isnan(score).all():
            return None
        row, column = np.unravel_index(int(np.nanargmax(score)), score.shape)
        return int(row), int(column)

    def summary(self) -> str:
        """The best cell and how many networks ended, in a sentence."""
        found = self.best_cell
        ended = int((self.ended > 0).sum())
        tail = f"; {ended} of {self.ended.size} networks diverged" if ended else ""
        if found is None:
            return ("a network of every cell diverged" if len(self.curves) else "no epoch was finished") + tail
        row, column = found
        where = f"{self.x.name} = {self.x.values[column]:g}, {self.y.name} = {self.y.values[row]:g}"
        seeds = f"mean of {len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        best, last = self.shown(self.cells[found]), self.shown(float(self.last[found].mean()))
        epochs = counted(len(self.curves), "epoch")
        return f"best test {self.metric} of {epochs} {best}, after the last {last} ({seeds}), at {where}{tail}"

    def shown(self, value: float) -> str:
        """A value of the metric in few digits: a fraction in percent."""
        if self.metric == "accuracy":
            return f"{100 * value:.1f} %"
        return f"{value:.4g}" if value < TOO_MANY else f"{value:.0e}"

    def table(self) -> Table:
        """The cells for people, laid out as in the picture: y upwards. ``†n``: n networks have ended."""
        from rich import box
        from rich.table import Table

        epochs, seeds = counted(len(self.curves), "epoch"), counted(len(self.seeds), "seed")
        title = f"test {self.metric}, best of {epochs}, mean of {seeds}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for head in (rf"{self.y.name} \ {self.x.name}", *(f"{value:g}" for value in self.x.values)):
            table.add_column(head, justify="right", no_wrap=True)
        rows = zip(self.y.values, self.cells, self.diverged, strict=True)
        for value, cells, diverged in reversed(list(rows)):
            texts = ("-" if math.isnan(cell) else self.shown(cell) for cell in cells)
            marks = (f" †{count}" if count else "" for count in diverged)
            table.add_row(f"{value:g}", *(text + mark for text, mark in zip(texts, marks, strict=True)))
        return table

    def plot(
        self, path: str | Path | None = None, *, bounds: tuple[float, float] | None = None, ridge: bool = False
    ) -> Figure:
        """The map as a picture: see `flowopt.show.heat_map`."""
        figure: Figure = drawer("heat_map")(self, path, bounds=bounds, ridge=ridge)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """All but the curves as plain Python, ready for json."""
        found = self.best_cell
        return {
            "about": plain(self.about),
            "x": {"name": self.x.name, "values": list(self.x.values)},
            "y": {"name": self.y.name, "values": list(self.y.values)},
            "seeds": list(self.seeds),
            "metric": self.metric,
            "epochs": len(self.curves),
            "interrupted": self.interrupted,
            "chosen": f"best and best_cell are chosen by the {self.metric} on the test samples, over the epochs",
            "best_cell": found and {self.x.name: self.x.values[found[1]], self.y.name: self.y.values[found[0]]},
            "untrained": plain(self.untrained),
            "best": plain(self.best),
            "last": plain(self.last),
            "ended": plain(self.ended),
            "status": [[[Status(int(code)).words for code in cell] for cell in row] for row in self.status],
        }

    def save(self, path: str | Path) -> Path:
        """Write everything to an .npz file, whole or not at all."""
        about = {"x": self.x.name, "y": self.y.name, "metric": self.metric}
        arrays: dict[str, Any] = {"x": self.x.values, "y": self.y.values, "seeds": self.seeds}
        arrays |= {name: getattr(self, name) for name in ARRAYS}
        return KIND.save(path, about | {"interrupted": self.interrupted, "about": plain(self.about)}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises BadValue if the file is not one of ours, damaged, or of a newer flowopt."""
        with KIND.loaded(path) as (about, arrays):
            return cls(
                x=Axis(about["x"], tuple(arrays["x"].tolist())),
                y=Axis(about["y"], tuple(arrays["y"].tolist())),
                seeds=tuple(arrays["seeds"].tolist()),
                metric=about["metric"],
                **{name: arrays[name] for name in ARRAYS},
                interrupted=about["interrupted"],
                about=about["about"],
            )
