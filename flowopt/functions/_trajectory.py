"""What a run leaves behind: every step of every row, and why each row stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from flowopt.core._dataframe import dataframe
from flowopt.core._display import html_table
from flowopt.core._files import plain
from flowopt.core._records import Kind
from flowopt.core._sentences import standing
from flowopt.core.drawers import drawer
from flowopt.core.errors import BadValue
from flowopt.core.reasons import not_a_minimum
from flowopt.core.state import Status
from flowopt.functions._columns import COLUMNS, Array, Columns
from flowopt.functions._long_format import columns, kept, write_csv
from flowopt.functions._storage import REST, opened

if TYPE_CHECKING:
    import pandas

KIND = Kind("trajectory", 1)


@dataclass(eq=False)
class Trajectory(Columns[Array]):
    """T records of B rows in D dimensions; record 0 is the start.

    A record shows the point a row stood at after an attempted step, and the attempt itself: its step size h, its
    estimated error, whether it was accepted (if not, the point is the old one). After a row has stopped its point is
    repeated, with h and error NaN and `accepted` False.
    """

    attempt: Array
    """Number of the attempt that each record shows, ``(T,)``."""
    status: Array
    """Status code per row, ``(B,)``: see `Status`."""
    message: Sequence[str]
    """Why each row stopped, in words."""
    steps: Array
    """Attempted steps per row, ``(B,)``, rejected ones included."""
    evaluations: dict[str, Array]
    """Evaluations per row, ``(B,)`` each: ``gradient``, ``value``, ``hvp``."""
    best_f: Array
    """Lowest f that the row was accepted at, ``(B,)``, over all steps and not only the recorded ones."""
    best_x: Array
    """Where that was, ``(B, D)``."""
    average: Array | None = None
    """Average of the iterates, ``(B, D)``, of a method with IterateAveraging."""
    average_f: Array | None = None
    """Objective at the average, ``(B,)``; measured once at the end and not counted."""
    about: dict[str, Any] = field(default_factory=dict)
    """Problem, method, its parameters, the reading it follows, seed."""
    dense: Callable[[Any], Array] | None = field(default=None, repr=False, compare=False)
    """Dense output of a reference solution, t -> ``(len(t), B, D)``; not saved."""

    @property
    def rows(self) -> int:
        """B."""
        return int(self.x.shape[1])

    @property
    def final_x(self) -> Array:
        """Last position, ``(B, D)``."""
        return np.asarray(self.x[-1])

    @property
    def final_f(self) -> Array:
        """Last objective, ``(B,)``."""
        return np.asarray(self.f[-1])

    @property
    def running(self) -> Array:
        """Records in which the row was still moving (or had just stopped), ``(T, B)`` bool."""
        return np.asarray(self.attempt[:, None] <= self.steps[None, :])

    @property
    def converged(self) -> Array:
        """Rows that converged, ``(B,)`` bool."""
        return np.asarray(self.status == Status.CONVERGED)

    @property
    def rejected(self) -> Array:
        """Recorded attempts that were rejected, per row, ``(B,)``."""
        return np.asarray((self.running & ~self.accepted).sum(0))

    def __repr__(self) -> str:
        (rows, dim), ended = self.x.shape[1:], [f"{count} {words}" for words, count in self._endings()]
        best = "" if not rows else f", best f {np.nanmin(self.best_f, initial=np.inf):.6g}"
        size = f"{_counted(rows, 'row')} of {_counted(dim, 'coordinate')}, {_counted(len(self.attempt), 'record')}"
        return f"<Trajectory: {self._title}, {size}; {', '.join(ended)}{best}>"

    def _repr_html_(self) -> str:
        heads = ("ended", "rows", "median f at the start", "at best", "at the end", "median steps")
        lines = []
        for code in np.unique(self.status):
            of_it = self.status == code
            figures = [float(np.median(c[of_it])) for c in (self.f[0], self.best_f, self.final_f, self.steps)]
            lines.append((Status(int(code)).words, int(of_it.sum()), *figures))
        return html_table(self._title, heads, lines)

    @property
    def _title(self) -> str:
        return f"{self.about.get('method', '?')} on {self.about.get('problem', '?')}"

    def _endings(self) -> list[tuple[str, int]]:
        codes, counts = np.unique(self.status, return_counts=True)
        return [(Status(int(code)).words, int(count)) for code, count in zip(codes, counts, strict=True)]

    def row(self, index: int) -> Trajectory:
        """One row, as a Trajectory of its own, cut off where it stopped."""
        if not -self.rows <= index < self.rows:
            raise BadValue(f"row {index} does not exist: the trajectory has {self.rows} rows")
        keep = kept(self.attempt, self.steps[[index]])[:, 0]
        pick = [index % self.rows]
        data = {name: getattr(self, name)[keep][:, pick] for name in COLUMNS}
        return Trajectory(
            **data,
            attempt=np.minimum(self.attempt[keep], self.steps[index]),
            status=self.status[pick],
            message=[self.message[index]],
            steps=self.steps[pick],
            evaluations={kind: count[pick] for kind, count in self.evaluations.items()},
            best_f=self.best_f[pick],
            best_x=self.best_x[pick],
            average=None if self.average is None else self.average[pick],
            average_f=None if self.average_f is None else self.average_f[pick],
            about=self.about,
        )

    def summary(self) -> str:
        """A few lines in words: method, problem, and how the rows ended."""
        lines = [f"{self.about.get('method', '?')} on {self.about.get('problem', '?')}: {self.rows} row(s)"]
        lines += [self._of_status(int(code)) for code in np.unique(self.status)]
        row = int(lowest(self.best_f))
        lines.append(f"  best of all, in row {row}: {standing(self.best_x[row].tolist(), self.best_f[row])}")
        return "\n".join(lines)

    def _of_status(self, code: int) -> str:
        rows = np.flatnonzero(self.status == code)
        start, best, last = (np.median(f[rows]) for f in (self.f[0], self.best_f, self.final_f))
        text = (
            f"  {Status(code).words}: {len(rows)} row(s), median f {start:.6g} at the start, {best:.6g} at best, "
            f"{last:.6g} at the end, median steps {np.median(self.steps[rows]):g}; e.g. {self.message[rows[0]]}"
        )
        if code == Status.CONVERGED:
            ends = (self.final_f, self.final_x, self.grad_norm[-1], self.f[0], self.best_f, self.best_x)
            high = int(not_a_minimum(*(values[rows] for values in ends)).sum())
            text += f" ({high} of these rows ended above a point that they had passed)" if high else ""
        return text

    def plot(self, problem: Any = None, path: str | Path | None = None) -> Any:
        """Panels of f, gradient norm, step size, error and energy, and for D = 2 the path over contours; a Figure."""
        return drawer("trajectory")(self, problem=problem, path=path)

    def to_dataframe(self) -> pandas.DataFrame:
        """In long format, one line a record and row: attempt, row, x0, x1, ..., f, grad_norm, ..., cost, status.

        Row after row, each up to its end. Raises BadValue where pandas is not installed.
        """
        return dataframe(columns(self, np.arange(self.rows)))

    def to_csv(self, path: str | Path) -> Path:
        """Write what `to_dataframe` has to a CSV file, atomically and without pandas; NaN is an empty cell."""
        return write_csv(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python lists and numbers, ready for json (NaN and infinities become None)."""
        result: dict[str, Any] = {name: plain(getattr(self, name)) for name in (*COLUMNS, *_PER_ROW, "attempt")}
        result |= {name: plain(getattr(self, name)) for name in _OPTIONAL}
        result["status"] = [Status(int(code)).words for code in self.status]
        return result | {
            "message": list(self.message),
            "evaluations": {kind: plain(count) for kind, count in self.evaluations.items()},
            "about": plain(self.about),
        }

    def save(self, path: str | Path) -> Path:
        """Write everything to an .npz file, atomically: a file of that name is replaced only by a whole new one."""
        return self._write(path, self.named())

    def save_rest(self, folder: Path) -> None:
        """Write everything but the columns to a folder that has these already, and so make it a whole record."""
        self._write(folder / REST, {})

    def _write(self, path: str | Path, columns: dict[str, Array]) -> Path:
        arrays = columns | {name: getattr(self, name) for name in (*_PER_ROW, "attempt", "status")}
        arrays |= {f"evaluations_{kind}": count for kind, count in self.evaluations.items()}
        arrays |= {name: array for name in _OPTIONAL if (array := getattr(self, name)) is not None}
        return KIND.save(path, {"message": list(self.message), "about": plain(self.about)}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote, or the folder of a run with ``record_to``, whose columns stay on disk.

        Raises BadValue if it is not one of ours, cut short, of a newer flowopt, or the folder of a run that did not
        come to its end.
        """
        path = Path(path)
        folder = path.is_dir()
        if folder and not (path / REST).exists():
            raise BadValue(f"{path} is not a whole record: its run was cut off (there is no {REST} in it)")
        with KIND.loaded(path / REST if folder else path) as (about, arrays):
            fields: dict[str, Any] = dict(opened(path, COLUMNS) if folder else {k: arrays[k] for k in COLUMNS})
            fields |= {name: arrays[name] for name in ("steps", "best_f", "attempt", "status")}
            fields |= {name: arrays[name] for name in _OPTIONAL if name in arrays}
            fields["best_x"] = arrays["best_x"] if "best_x" in arrays else _best_recorded(fields)
            kinds = {kind: arrays[f"evaluations_{kind}"] for kind in _KINDS}
            return cls(**fields, message=about["message"], evaluations=kinds, about=about["about"])


_PER_ROW = ("steps", "best_f", "best_x")
_OPTIONAL = ("average", "average_f")
_KINDS = ("gradient", "value", "hvp")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def lowest(f: Array) -> Array:
    """Number of the record with the lowest f ``(T, ...)``; the first one where none is a number."""
    return np.asarray(np.where(np.isnan(f), np.inf, f).argmin(0))


def _best_recorded(arrays: dict[str, Array]) -> Array:
    """best_x ``(B, D)`` for files from before it was saved; NaN in rows whose lowest f stands in no record."""
    row = np.arange(arrays["f"].shape[1])
    best = lowest(arrays["f"])
    known = arrays["f"][best, row] == arrays["best_f"]
    return np.where(known[:, None], arrays["x"][best, row], np.nan)
