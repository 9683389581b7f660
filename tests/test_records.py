"""Files of records: what kind they are, which version, and what is said of those that are neither."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flowopt
from flowopt.core._records import Kind
from flowopt.core.errors import BadValue
from flowopt.diagnostics import Histogram, HistogramRecord, Snapshot
from flowopt.training._heat_map import Axis, HeatMap

WEATHER = Kind("weather report", 2)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    arrays = {"wind": np.array([1.5, np.nan]), "days": np.array(["a", "é"])}
    path = WEATHER.save(tmp_path / "new" / "report", {"where": "here", "format of paper": 3}, arrays)
    assert path == tmp_path / "new" / "report.npz"
    assert [file.name for file in path.parent.iterdir()] == ["report.npz"]
    with WEATHER.loaded(path) as (about, found):
        assert about == {"where": "here", "format of paper": 3}
        assert found.keys() == arrays.keys()
        np.testing.assert_array_equal(found["wind"], arrays["wind"])
        np.testing.assert_array_equal(found["days"], arrays["days"])


def test_a_file_of_an_older_version_is_loaded_and_one_of_a_newer_is_not(tmp_path: Path) -> None:
    for version in (1, 2):
        with WEATHER.loaded(Kind("weather report", version).save(tmp_path / "x", {}, {})) as (about, arrays):
            assert (about, arrays) == ({}, {})
    newer = Kind("weather report", 3).save(tmp_path / "x", {}, {})
    with (
        pytest.raises(BadValue, match=r"x.npz is a weather report of format 3, written by a newer flowopt; .* to 2"),
        WEATHER.loaded(newer),
    ):
        pass


def test_what_the_block_stumbles_over_is_damage(tmp_path: Path) -> None:
    path = WEATHER.save(tmp_path / "x", {}, {})
    said = "not a weather report that flowopt saved, or it is damaged: 'wind'"
    with pytest.raises(BadValue, match=said), WEATHER.loaded(path) as (_, arrays):
        arrays["wind"]
    with pytest.raises(KeyboardInterrupt), WEATHER.loaded(path):
        raise KeyboardInterrupt


def a_trajectory() -> Any:
    return flowopt.minimize("rosenbrock", method="gd", max_steps=2)


def a_heat_map() -> Any:
    one = Axis("lr", (0.1,))
    cells: Any = np.zeros((1, 1, 1))
    return HeatMap(one, one, (0,), "loss", np.zeros(1), np.zeros((1, 1, 1, 1)), cells, cells, False, {})


def some_histograms() -> Any:
    record = HistogramRecord("|g|")
    record.add(Snapshot(1, {"weight": Histogram.of(torch.tensor([1.0, 2.0]))}))
    return record


RECORDS: dict[str, Callable[[], Any]] = {
    "trajectory": a_trajectory,
    "heat map": a_heat_map,
    "record of gradient histograms": some_histograms,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_of_another_kind_is_called_what_it_is(kind: str, tmp_path: Path) -> None:
    mine = RECORDS[kind]()
    path = mine.save(tmp_path / "mine.npz")
    for other, make in RECORDS.items():
        if other != kind:
            with pytest.raises(BadValue, match=f"mine.npz is a {kind}, not a {other}"):
                type(make()).load(path)
    assert type(mine).load(path).save(tmp_path / "again.npz").exists()


@pytest.mark.parametrize("kind", RECORDS)
def test_files_from_before_there_were_kinds_are_loaded(kind: str, tmp_path: Path) -> None:
    mine = RECORDS[kind]()
    with np.load(mine.save(tmp_path / "mine.npz")) as file:
        arrays = dict(file)
    about = json.loads(str(arrays.pop("text")))
    assert (about.pop("kind"), about["format"]) == (kind, 1)
    histograms = kind == "record of gradient histograms"
    if histograms:
        del about["format"]
    np.savez(tmp_path / "old.npz", **arrays, **{"about" if histograms else "text": np.array(json.dumps(about))})
    again = type(mine).load(tmp_path / "old.npz").save(tmp_path / "again.npz")
    with np.load(again) as file:
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
