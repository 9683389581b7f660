"""What a run leaves behind can be kept: saved, read again, and never taken from a file that is not whole."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flowopt import BadValue, Trajectory, minimize

ARRAYS = (
    "x",
    "f",
    "grad_norm",
    "h",
    "t",
    "error",
    "energy",
    "accepted",
    "cost",
    "attempt",
    "status",
    "steps",
    "best_f",
)


@pytest.fixture(scope="module")
def run() -> Trajectory:
    """Two rows, one of which goes below F0; elra's average on another."""
    return minimize("rosenbrock", [[-1.2, 1.0], [1.0, 1.0]], "elra", max_steps=12, average=True, record_every=5)


def assert_same(a: Trajectory, b: Trajectory) -> None:
    for name in (*ARRAYS, "average", "average_f"):
        mine, other = getattr(a, name), getattr(b, name)
        assert mine.dtype == other.dtype, name
        assert np.array_equal(mine, other, equal_nan=mine.dtype.kind == "f"), name
    assert {kind: count.tolist() for kind, count in a.evaluations.items()} == {
        kind: count.tolist() for kind, count in b.evaluations.items()
    }
    assert list(a.message) == list(b.message)


def test_shapes(run: Trajectory) -> None:
    assert run.x.shape == (4, 2, 2)
    for name in ("f", "grad_norm", "h", "t", "error", "energy", "accepted", "cost"):
        assert getattr(run, name).shape == (4, 2), name
    for name in ("status", "steps", "best_f", "average_f"):
        assert getattr(run, name).shape == (2,), name
    assert run.average is not None
    assert run.average.shape == (2, 2)
    assert len(run.message) == 2


def test_saved_and_read_again(run: Trajectory, tmp_path: Path) -> None:
    path = run.save(tmp_path / "folder" / "run")
    assert path == tmp_path / "folder" / "run.npz"
    again = Trajectory.load(path)
    assert_same(run, again)
    assert again.about == json.loads(json.dumps(run.to_dict()["about"]))
    assert again.summary() == run.summary()
    assert_same(again, Trajectory.load(again.save(tmp_path / "again.npz")))


def test_a_method_without_an_average_has_none(tmp_path: Path) -> None:
    plain = minimize("rosenbrock", method="gd", max_steps=2)
    again = Trajectory.load(plain.save(tmp_path / "plain.npz"))
    assert plain.average is None
    assert again.average is None
    assert again.average_f is None


def test_the_average_is_the_mean_of_the_iterates() -> None:
    run = minimize("rosenbrock", method="elra", max_steps=12, retrace=None, average=True)
    assert run.average is not None
    assert run.average[0] == pytest.approx(run.x[1:, 0].mean(0), rel=1e-13)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(
    run: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.save(tmp_path / "run.npz")
    before = path.read_bytes()

    def fill_the_disk(file: object, **arrays: object) -> None:
        file.write(b"half a file")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        run.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"], "nothing half-written stays behind"


def test_saving_over_a_file_replaces_it(run: Trajectory, tmp_path: Path) -> None:
    other = minimize("rosenbrock", method="gd", max_steps=2)
    path = other.save(tmp_path / "run.npz")
    run.save(path)
    assert_same(Trajectory.load(path), run)


def test_no_pickle_inside(run: Trajectory, tmp_path: Path) -> None:
    with np.load(run.save(tmp_path / "run.npz"), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('a pickle was run')",)

    as_pickle = tmp_path / "pickle.npz"
    as_pickle.write_bytes(pickle.dumps(Trap()))
    as_array = tmp_path / "array.npz"
    np.savez(as_array, text=np.array([Trap()], dtype=object))
    for path in (as_pickle, as_array):
        with pytest.raises(BadValue, match="not a trajectory"):
            Trajectory.load(path)


def test_damaged_files_are_refused(run: Trajectory, tmp_path: Path) -> None:
    whole = run.save(tmp_path / "run.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadValue, match="damaged"):
            Trajectory.load(path)
    with zipfile.ZipFile(tmp_path / "run.npz") as archive:
        members = archive.infolist()
    assert len(members) >= len(ARRAYS) + 4
    for member in members:
        header = whole[member.header_offset : member.header_offset + 30]
        start = member.header_offset + 30 + sum(int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
        flipped = bytearray(whole)
        flipped[start + member.compress_size // 2] ^= 0xFF
        path.write_bytes(bytes(flipped))
        with pytest.raises(BadValue, match="damaged"):
            Trajectory.load(path)


def test_foreign_files_are_refused(run: Trajectory, tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(BadValue, match="not a trajectory"):
        Trajectory.load(path)
    path.write_text("x,y\n1,2\n")
    with pytest.raises(BadValue, match="not a trajectory"):
        Trajectory.load(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(BadValue, match="not a trajectory"):
        Trajectory.load(tmp_path / "array.npy")
    with np.load(run.save(tmp_path / "run.npz")) as file:
        arrays = dict(file)
    newer = json.loads(str(arrays["text"])) | {"format": 99}
    np.savez(path, **(arrays | {"text": np.array(json.dumps(newer))}))
    with pytest.raises(BadValue, match="format 99"):
        Trajectory.load(path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "energy"})
    with pytest.raises(BadValue, match="energy"):
        Trajectory.load(path)
    with pytest.raises(FileNotFoundError):
        Trajectory.load(tmp_path / "missing.npz")


def test_to_dict_is_json(run: Trajectory) -> None:
    plain = json.loads(json.dumps(run.to_dict(), allow_nan=False))
    assert plain["status"] == ["max steps", "converged"]
    assert plain["h"][0] == [None, None]
    assert plain["x"] == run.x.tolist()
    assert plain["evaluations"]["gradient"] == run.evaluations["gradient"].tolist()
    assert plain["about"]["method"] == "elra"
    assert plain["message"] == list(run.message)


def test_summary_in_words(run: Trajectory) -> None:
    lines = run.summary().splitlines()
    assert lines[0] == "elra on rosenbrock: 2 row(s)"
    assert any(line.strip().startswith("converged: 1 row(s), median f 0") for line in lines)
    assert any(line.strip().startswith("max steps: 1 row(s)") for line in lines)
