"""Histograms over a training run: what GradientHistograms collects, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flowopt.core._records import Kind
from flowopt.core.drawers import drawer
from flowopt.core.errors import BadValue
from flowopt.diagnostics._bounds import AdaptiveShare, EpsilonBounds, adaptive_share, epsilon_bounds
from flowopt.diagnostics._histogram import OCTAVE, Histogram
from flowopt.diagnostics._verdicts import verdict
from flowopt.diagnostics.z_hat import Rule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = Kind("record of gradient histograms", 1)
SNAPSHOTS = 16
"""Snapshots that a record keeps at most."""


class Snapshot(NamedTuple):
    """The histograms of one step."""

    step: int
    """Steps made by then."""
    histograms: dict[str, Histogram]
    """By the parameter's name."""


class HistogramRecord:
    """The latest histogram of each parameter tensor, and up to 16 snapshots over the training so far.

    When there are 16 every second is dropped, and from then on only half as many are kept, so that they stay evenly
    spread however long the training is. Memory is at most 17 times what the histograms of a step need.
    """

    def __init__(self, what: str, rules: tuple[Rule, ...] = ()) -> None:
        self.what = what
        """'z_hat', or '|g|' of a model."""
        self.rules = rules
        """How the parameter groups use their eps, as of the latest histograms; none of a model's."""
        self.latest = Snapshot(0, {})
        self.snapshots: list[Snapshot] = []
        self._taken, self._stride = 0, 1

    def add(self, snapshot: Snapshot) -> None:
        """The histograms of one more step."""
        self.latest = Snapshot(snapshot.step, self.latest.histograms | snapshot.histograms)
        if self._taken % self._stride == 0:
            if len(self.snapshots) == SNAPSHOTS:
                self.snapshots, self._stride = self.snapshots[::2], 2 * self._stride
            self.snapshots.append(snapshot)
        self._taken += 1

    def complete(self, name: str, histogram: Histogram) -> None:
        """One more tensor of the step that was added last."""
        self.latest.histograms[name] = histogram
        if self.snapshots[-1].step == self.latest.step:
            self.snapshots[-1].histograms[name] = histogram

    def put_in_order(self, names: Iterable[str]) -> None:
        """Bring the tensors of the step that was added last into the order of these names."""
        for histograms in (self.latest.histograms, self.snapshots[-1].histograms):
            for name in names:
                if name in histograms:
                    histograms[name] = histograms.pop(name)

    @property
    def overall(self) -> Histogram:
        """The latest histogram of all tensors together. Raises BadValue where there is none yet."""
        first, *others = self._present().values()
        return sum(others, start=first)

    def epsilon_bounds(self) -> EpsilonBounds:
        """Algorithm 2 on the latest histograms: see `flowopt.diagnostics.epsilon_bounds`."""
        return epsilon_bounds(self._present())

    def adaptive_share(self, eps: float | None = None) -> AdaptiveShare:
        """The share above eps (None: the optimizer's own): see `flowopt.diagnostics.adaptive_share`."""
        return adaptive_share(self._present(), self.eps if eps is None else eps)

    def verdict(self, eps: float | None = None) -> str:
        """What the optimizer is at eps (None: its own), in words. Raises BadValue for a record of |g|."""
        if not self.rules:
            raise BadValue(
                "a record of |g| has no optimizer whose eps could be read: give GradientHistograms the optimizer"
            )
        return verdict(self.adaptive_share(eps), self.rules)

    @property
    def eps(self) -> float:
        """The optimizer's own eps. Raises BadValue where there is none, or where groups have several."""
        found = {float(rule.system.eps) for rule in self.rules}
        if len(found) != 1:
            raise BadValue(f"the optimizer has {len(found)} values of eps, not one: say which is meant, as eps=1e-8")
        return found.pop()

    def plot(self, path: str | Path | None = None, eps: float | None = None) -> Figure:
        """A picture: see `flowopt.show.histograms`."""
        figure: Figure = drawer("histograms")(self, path, eps)
        return figure

    def merge(self, other: HistogramRecord) -> HistogramRecord:
        """This record and that of another process, which held other numbers of the same steps: one of them all.

        (Of sharded parameters. Of replicas, which hold the same numbers, one record is enough.) Raises BadValue for
        records of other steps or other optimizers.
        """
        mine, theirs = ([one.step for one in record._all()] for record in (self, other))
        if mine != theirs or self.what != other.what:
            raise BadValue(
                f"only records of the same steps can be merged, not {self.what} of steps {mine} and {other.what} of "
                f"steps {theirs}: every process needs the same `every`, and as many steps"
            )
        if self.rules != other.rules:
            raise BadValue(f"only records of the same optimizer can be merged, not of {self.rules} and {other.rules}")
        merged = HistogramRecord(self.what, self.rules)
        merged._taken, merged._stride = self._taken, self._stride
        merged.latest, *merged.snapshots = map(_merged, self._all(), other._all())
        return merged

    def save(self, path: str | Path) -> Path:
        """Write the record to an .npz file, whole or not at all; returns where it is."""
        return KIND.save(path, self._about(), _arrays(self._all()))

    @classmethod
    def load(cls, path: str | Path) -> HistogramRecord:
        """Read what `save` wrote. Raises BadValue if the file is not one of ours, damaged, or of a newer flowopt."""
        with KIND.loaded(path) as (about, arrays):
            if arrays["bins"].sum() != len(arrays["counts"]):
                raise ValueError("counts are missing")
            if about["bins an octave"] != OCTAVE:
                raise ValueError(f"it has {about['bins an octave']} bins an octave, not {OCTAVE}")
            record = HistogramRecord(about["what"], tuple(map(Rule.from_dict, about["rules"])))
            record._taken, record._stride = about["taken"], about["stride"]
            record.latest, *record.snapshots = _snapshots(arrays)
            return record

    def _present(self) -> Mapping[str, Histogram]:
        if not self.latest.histograms:
            raise BadValue("there are no histograms yet: they are taken after steps of the optimizer")
        return self.latest.histograms

    def _all(self) -> list[Snapshot]:
        return [self.latest, *self.snapshots]

    def _about(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "bins an octave": OCTAVE,
            "rules": [rule.to_dict() for rule in self.rules],
            "taken": self._taken,
            "stride": self._stride,
        }


def _merged(mine: Snapshot, theirs: Snapshot) -> Snapshot:
    histograms = dict(mine.histograms)
    for name, histogram in theirs.histograms.items():
        histograms[name] = histograms[name] + histogram if name in histograms else histogram
    return Snapshot(mine.step, histograms)


_NUMBERS = ("first", "zeros", "nonfinite", "unresolved")


def _arrays(snapshots: list[Snapshot]) -> dict[str, Any]:
    """A line for each histogram: the number of its snapshot and of its tensor, its numbers; all counts in a row."""
    names = list(dict.fromkeys(name for one in snapshots for name in one.histograms))
    lines = [
        (place, names.index(name), histogram)
        for place, one in enumerate(snapshots)
        for name, histogram in one.histograms.items()
    ]
    counts = [histogram.counts for *_, histogram in lines]
    return {
        "names": np.array(names, dtype=np.str_),
        "steps": np.array([one.step for one in snapshots]),
        "snapshot": np.array([place for place, *_ in lines], dtype=np.int64),
        "tensor": np.array([name for _, name, _ in lines], dtype=np.int64),
        **{key: np.array([getattr(h, key) for *_, h in lines], dtype=np.int64) for key in _NUMBERS},
        "bins": np.array([len(one) for one in counts], dtype=np.int64),
        "counts": np.concatenate([np.zeros(0, np.int64), *counts]),
    }


def _snapshots(arrays: Mapping[str, Any]) -> list[Snapshot]:
    found = [Snapshot(int(step), {}) for step in arrays["steps"]]
    ends = arrays["bins"].cumsum()
    names = [str(name) for name in arrays["names"]]
    for line, (end, length) in enumerate(zip(ends, arrays["bins"], strict=True)):
        first, *others = (int(arrays[key][line]) for key in _NUMBERS)
        name = names[arrays["tensor"][line]]
        found[arrays["snapshot"][line]].histograms[name] = Histogram(
            first, arrays["counts"][end - length : end], *others
        )
    return found
