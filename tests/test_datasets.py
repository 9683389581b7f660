"""Datasets: what is read is what was written, in the published formats; what is damaged is refused with the reason."""

import gzip
import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_formats import (
    CIFAR10_BATCHES,
    IDX_NAMES,
    POWER_HEADER,
    cifar_batch,
    idx_bytes,
    mnist_arrays,
    power_line,
    power_text,
    python2_pickle,
    write_mnist,
    write_tar,
)
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from together import together

from flowopt.core.errors import BadValue, UnknownName
from flowopt.training.datasets import DATASETS, Dataset, accepts, load
from flowopt.training.datasets.cifar import CIFAR10, read_batch
from flowopt.training.datasets.download import Resource, obtain
from flowopt.training.datasets.idx import FASHION_MNIST, MNIST, idx
from flowopt.training.datasets.power import read_power, resampled

# the record


def test_a_name_that_does_not_exist_gets_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="did you mean 'fashion-mnist'") as caught:
        load("fashionmnist")
    assert "fashion-mnist" in caught.value.near
    with pytest.raises(UnknownName, match="text:FILE"):
        load("text")


@together(
    ("name", "option"),
    [
        ("digits", "data_dir"),
        ("digits", "download"),
        ("mnist", "seed"),
        ("text:x", "preprocessing"),
        ("power", "windw"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(name: str, option: str) -> None:
    options: dict[str, Any] = {option: 1}
    with pytest.raises(UnknownName, match=f"no option of {name} named '{option}'"):
        load(name, **options)


@together("name", [name for name in DATASETS if "preprocessing" in accepts(name)])
def test_an_unknown_preprocessing_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(BadValue, match=r"preprocessing = 'whitened'; choose one of 'standardised', 'scaled'"):
        load(name, preprocessing="whitened")  # type: ignore[arg-type]


def test_dtype_is_that_of_the_inputs_and_must_be_floating_point() -> None:
    assert load("digits", dtype=torch.float64).train_inputs.dtype == torch.float64
    assert load("digits").train_inputs.dtype == torch.float32
    with pytest.raises(BadValue, match="floating-point"):
        load("digits", dtype=torch.int64)


def small(**changes: Any) -> Dataset:
    fields: dict[str, Any] = {
        "name": "mine",
        "task": "classification",
        "train_inputs": torch.zeros(3, 2),
        "train_targets": torch.tensor([0, 1, 0]),
        "test_inputs": torch.ones(1, 2),
        "test_targets": torch.tensor([1]),
        "outputs": 2,
    }
    return Dataset(**fields | changes)


@together(
    ("changes", "reason"),
    [
        ({"task": "clustering"}, "choose one of 'classification', 'regression', 'language'"),
        ({"train_targets": torch.tensor([0, 1])}, "mine, training: 3 inputs and 2 targets"),
        ({"test_inputs": torch.ones(0, 2), "test_targets": torch.ones(0).long()}, "mine, test: 0 inputs"),
        ({"test_inputs": torch.ones(1, 3)}, r"a test input has the shape \(3,\), a training input \(2,\)"),
        ({"train_inputs": torch.full((3, 2), torch.nan)}, "6 of 6 numbers are NaN or infinite"),
        ({"train_inputs": torch.tensor([[0.0, 1.0], [torch.nan, 2.0], [3.0, -1.0]])}, "1 of 6 numbers are NaN"),
        ({"test_inputs": torch.tensor([[0.0, -torch.inf]])}, "1 of 2 numbers are NaN or infinite"),
        ({"train_inputs": torch.zeros(3, 2).long()}, "expected floating-point"),
        ({"test_targets": torch.tensor([2])}, "labels from 2 to 2; expected 0 to 1"),
        ({"test_targets": torch.tensor([1.0])}, "labels are torch.float32"),
        ({"test_targets": torch.tensor([[1]])}, "targets have the shape"),
        ({"task": "regression"}, "targets have the shape"),
        ({"task": "language"}, "targets have the shape"),
        ({"outputs": 0}, "outputs = 0"),
    ],
)
def test_samples_of_ones_own_are_checked(changes: dict[str, Any], reason: str) -> None:
    assert small().input_shape == (2,)
    with pytest.raises(BadValue, match=reason):
        small(**changes)


def test_nothing_optional_is_imported_until_it_is_needed() -> None:
    code = "import sys, flowopt.training.datasets; assert not {'sklearn', 'matplotlib'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


# digits


def split(seed: int) -> list[Any]:
    pixels, labels = load_digits(return_X_y=True)
    return train_test_split(pixels, labels, test_size=0.2, random_state=seed, stratify=labels)


def test_digits_are_split_and_standardised_as_scikit_learn_does() -> None:
    data = load("digits", seed=3, dtype=torch.float64)
    train, test, train_labels, test_labels = split(3)
    scaler = StandardScaler().fit(train)
    np.testing.assert_allclose(data.train_inputs.flatten(1), scaler.transform(train), atol=1e-12)
    np.testing.assert_allclose(data.test_inputs.flatten(1), scaler.transform(test), atol=1e-12)
    assert data.train_targets.tolist() == train_labels.tolist()
    assert data.test_targets.tolist() == test_labels.tolist()
    assert (data.task, data.outputs, data.input_shape) == ("classification", 10, (1, 8, 8))
    assert (train.max(0) == train.min(0)).any()  # or nothing was said of a constant pixel


def test_digits_scaled_are_sixteenths() -> None:
    data = load("digits", preprocessing="scaled", seed=1)
    assert torch.equal(data.train_inputs.flatten(1), torch.from_numpy(split(1)[0] / 16).float())
    assert float(data.train_inputs.max()) == 1.0


def test_every_class_has_its_share_in_both_parts_and_the_seed_draws_them() -> None:
    data, other = load("digits", seed=0), load("digits", seed=1)
    shares = data.test_targets.bincount() / (data.train_targets.bincount() + data.test_targets.bincount())
    assert (shares - 0.2).abs().max() < 0.01
    assert not torch.equal(data.train_inputs, other.train_inputs)
    with pytest.raises(BadValue, match="seed"):
        load("digits", seed=-1)


def test_digits_without_scikit_learn_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(BadValue, match="pip install scikit-learn"):
        load("digits")


# MNIST and Fashion-MNIST


@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "."), ("mnist", "MNIST/raw"), ("fashion-mnist", "."), ("fashion-mnist", "FashionMNIST/raw")],
)
@pytest.mark.parametrize("packed", [(), IDX_NAMES, IDX_NAMES[:1]])
def test_idx_files_are_read_plain_and_packed(tmp_path: Path, name: str, folder: str, packed: tuple[str, ...]) -> None:
    arrays = write_mnist(tmp_path / folder, packed)
    data = load(name, data_dir=tmp_path, preprocessing="scaled", dtype=torch.float64)
    np.testing.assert_allclose(data.train_inputs[:, 0], arrays[IDX_NAMES[0]] / 255)
    np.testing.assert_allclose(data.test_inputs[:, 0], arrays[IDX_NAMES[2]] / 255)
    assert data.train_targets.tolist() == arrays[IDX_NAMES[1]].tolist()
    assert data.test_targets.tolist() == arrays[IDX_NAMES[3]].tolist()
    assert (data.name, data.outputs, data.input_shape) == (name, 10, (1, 28, 28))


def test_images_are_standardised_by_the_training_pixels(tmp_path: Path) -> None:
    arrays = write_mnist(tmp_path)
    train = arrays[IDX_NAMES[0]].astype(float)
    data = load("mnist", data_dir=tmp_path, dtype=torch.float64)
    np.testing.assert_allclose(data.train_inputs[:, 0], (train - train.mean()) / train.std(), atol=1e-12)
    np.testing.assert_allclose(data.test_inputs[:, 0], (arrays[IDX_NAMES[2]] - train.mean()) / train.std(), atol=1e-12)
    rough = load("mnist", data_dir=tmp_path, dtype=torch.bfloat16)
    torch.testing.assert_close(rough.train_inputs, data.train_inputs.bfloat16(), rtol=0.01, atol=1e-3)


def test_blank_images_do_not_divide_by_zero(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / IDX_NAMES[0]).write_bytes(idx_bytes(np.full((12, 28, 28), 7, np.uint8)))
    assert not load("mnist", data_dir=tmp_path).train_inputs.any()


IMAGES, LABELS = idx_bytes(mnist_arrays()[IDX_NAMES[0]]), idx_bytes(mnist_arrays()[IDX_NAMES[1]])
SMALLER = idx_bytes(np.zeros((12, 27, 28), np.uint8))


@together(
    ("name", "content", "reason"),
    [
        (IDX_NAMES[0], IMAGES[:-1], "is truncated: 9423 bytes, its header promises 9424"),
        (IDX_NAMES[0], IMAGES[:9], "is truncated: 9 bytes, less than its header of 16"),
        (IDX_NAMES[0], b"", r"begins with the bytes \(none\)"),
        (IDX_NAMES[0], IMAGES + b"x", "is damaged: 9425 bytes"),
        (IDX_NAMES[0], b"\0\0\x0d\3" + IMAGES[4:], "begins with the bytes 00 00 0d 03; expected 00 00 08 03"),
        (IDX_NAMES[0], LABELS, "begins with the bytes 00 00 08 01; expected 00 00 08 03"),
        (IDX_NAMES[0], b"\x89PNG" + IMAGES[4:], "begins with the bytes 89 50 4e 47"),
        (IDX_NAMES[0], SMALLER, r"items of the shape \(27, 28\), expected \(28, 28\)"),
        (IDX_NAMES[1], idx_bytes(np.array([3] * 11 + [10], np.uint8)), "labels from 3 to 10; expected 0 to 9"),
        (IDX_NAMES[1], idx_bytes(np.zeros(11, np.uint8)), "has 12 images and .* 11 labels"),
        (f"{IDX_NAMES[0]}.gz", IMAGES, "Not a gzipped file"),
        (f"{IDX_NAMES[0]}.gz", gzip.compress(IMAGES)[:-20], "cannot be read: .*end-of-stream"),
        (f"{IDX_NAMES[0]}.gz", gzip.compress(IMAGES)[:40] + b"rubbish" * 9, "cannot be read"),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    write_mnist(tmp_path)
    (tmp_path / name.removesuffix(".gz")).unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadValue, match=reason) as caught:
        load("mnist", data_dir=tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / IDX_NAMES[3]).unlink()
    with pytest.raises(BadValue) as caught:
        load("mnist", data_dir=tmp_path)
    message = str(caught.value)
    for part in (f"1 of 4 files are not in {tmp_path}", "MNIST/raw/t10k-labels-idx1-ubyte", MNIST[3].url, "--download"):
        assert part in message
    assert "train-images" not in message
    with pytest.raises(BadValue, match=r"give their folder: --data-dir DIR .*train-images-idx3-ubyte"):
        load("mnist")


# CIFAR


def write_cifar(folder: Path, name: str, packed: bool, module: str) -> dict[str, dict[str, Any]]:
    members, inner = (CIFAR10_BATCHES, "cifar-10-batches-py")
    key, classes = "labels", 10
    if name == "cifar100":
        members, inner, key, classes = ("train", "test"), "cifar-100-python", "fine_labels", 100
    batches = {member: cifar_batch(3 + i, i, key, classes) for i, member in enumerate(members)}
    contents = {f"{inner}/{member}": python2_pickle(batch, module) for member, batch in batches.items()}
    if packed:
        write_tar(folder / f"{inner.removesuffix('-batches-py').removesuffix('-python')}-python.tar.gz", contents)
    else:
        (folder / inner).mkdir()
        for path, content in contents.items():
            (folder / path).write_bytes(content)
    return batches


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_cifar_is_read_from_archive_and_folder(tmp_path: Path, name: str, packed: bool, module: str) -> None:
    batches = list(write_cifar(tmp_path, name, packed, module).values())
    key = "labels" if name == "cifar10" else "fine_labels"
    data = load(name, data_dir=tmp_path, preprocessing="scaled", dtype=torch.float64)
    train = np.concatenate([batch["data"] for batch in batches[:-1]]).reshape(-1, 3, 32, 32)
    np.testing.assert_allclose(data.train_inputs, train / 255)
    np.testing.assert_allclose(data.test_inputs.flatten(1), batches[-1]["data"] / 255)
    assert data.train_targets.tolist() == [label for batch in batches[:-1] for label in batch[key]]
    assert data.test_targets.tolist() == batches[-1][key]
    assert (data.outputs, data.input_shape) == (10 if name == "cifar10" else 100, (3, 32, 32))
    standard = load(name, data_dir=tmp_path, dtype=torch.float64).train_inputs
    expected = (train - train.mean((0, 2, 3), keepdims=True)) / train.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(standard, expected, atol=1e-12)


def read(value: Any) -> Any:
    return read_batch("batch", value if isinstance(value, bytes) else python2_pickle(value), b"labels", 10)


def test_an_array_kept_by_columns_is_read_as_well() -> None:
    batch = cifar_batch(4, seed=0)
    by_columns = batch | {"data": np.asfortranarray(batch["data"])}
    assert torch.equal(read(by_columns).pixels, read(batch).pixels)


def test_the_test_batch_is_what_numpy_itself_reads() -> None:
    batch = cifar_batch(4, seed=9)
    ours = pickle.loads(
        python2_pickle(batch, np.zeros(0).__reduce__()[0].__module__[: -len(".multiarray")]), encoding="bytes"
    )
    np.testing.assert_array_equal(ours[b"data"], batch["data"])
    assert ours[b"labels"] == batch["labels"]


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["alone", "beside", "as a label", "within an array"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, place: str) -> None:
    attack: Any = Attack(tmp_path / "made")
    batch = cifar_batch(2, seed=0)
    if place == "alone":
        batch = attack
    elif place == "beside":
        batch["extra"] = attack
    elif place == "as a label":
        batch["labels"][1] = attack
    else:
        batch["data"] = np.array([[attack]], dtype=object)
    content = python2_pickle(batch)
    with pytest.raises(BadValue, match=r"asks for (posix|nt|os)\.mkdir|an array of the type b'O8'"):
        read(content)
    assert not (tmp_path / "made").exists()
    if place != "within an array":
        pickle.loads(content, encoding="bytes")
        assert (tmp_path / "made").exists()  # or the attack was none


@together("name", ["numpy.core.multiarray\nfromfile", "numpy\nload", "builtins\neval", "numpy.core\nmultiarray"])
def test_no_other_name_is_looked_up_not_even_in_numpy(name: str) -> None:
    with pytest.raises(BadValue, match=f"asks for {name.replace(chr(10), '.')}"):
        read(b"\x80\x02c" + name.encode() + b"\n.")


GOOD = cifar_batch(4, seed=0)


@together(
    ("batch", "reason"),
    [
        (GOOD | {"data": GOOD["data"][:, :3071]}, r"pixels of the shape \(4, 3071\)"),
        (GOOD | {"data": GOOD["data"].reshape(-1)}, "pixels of the shape"),
        (GOOD | {"data": GOOD["data"].astype(np.float32)}, "an array of the type b'f4'"),
        (GOOD | {"data": [[0] * 3072] * 4}, "'list' object has no attribute"),
        (GOOD | {"labels": [0, 1, 2]}, r"labels of \(3,\)"),
        (GOOD | {"labels": [0, 1, 2, 10]}, "labels from 0 to 10; expected 0 to 9"),
        (GOOD | {"labels": [0, 1, 2, -1]}, "labels from -1 to 2"),
        (GOOD | {"labels": [0, 1, 2, 2.5]}, "labels are torch.float32"),
        (GOOD | {"labels": ["a", "b", "c", "d"]}, "is not a batch of CIFAR"),
        ({"data": GOOD["data"]}, "KeyError: b'labels'"),
        ([1, 2], "is not a batch of CIFAR"),
        (python2_pickle(GOOD)[:-200], "is not a batch of CIFAR"),
        (b"", "EOFError"),
        (b"no pickle at all", "is not a batch of CIFAR"),
    ],
)
def test_a_damaged_batch_is_refused(batch: Any, reason: str) -> None:
    assert read(GOOD)[0].shape == (4, 3, 32, 32)
    with pytest.raises(BadValue, match=reason):
        read(batch)


def test_an_incomplete_or_damaged_archive_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", packed=True, module="numpy.core")
    path = tmp_path / "cifar-10-python.tar.gz"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive", whole[:200] + b"rubbish" * 50):
        path.write_bytes(content)
        with pytest.raises(BadValue, match=r"tar.gz (cannot be read|lacks)"):
            load("cifar10", data_dir=tmp_path)
    write_tar(path, {"cifar-10-batches-py/data_batch_1": python2_pickle(GOOD), "elsewhere/test_batch": b""})
    with pytest.raises(BadValue, match="lacks data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch"):
        load("cifar10", data_dir=tmp_path)
    path.unlink()
    write_cifar(tmp_path, "cifar10", packed=False, module="numpy.core")
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(BadValue, match="cifar-10-batches-py lacks data_batch_4"):
        load("cifar10", data_dir=tmp_path)


def test_missing_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadValue, match=f"cifar-10-python.tar.gz or cifar-10-batches-py .from {CIFAR10.resource.url}.*--download"
    ):
        load("cifar10", data_dir=tmp_path)


# power


def household(count: int, missing: set[int] = frozenset(), absent: set[int] = frozenset()) -> tuple[str, np.ndarray]:  # type: ignore[type-arg, assignment]
    """A file's text, and its values ``(T, 7)`` on the grid of minutes with NaN where there are none."""
    rng = np.random.default_rng(1)
    values = rng.uniform(0.1, 5, (count, 7)).round(3)
    lines = [power_line(t, None if t in missing else list(values[t])) for t in range(count) if t not in absent]
    values[sorted(missing | absent)] = np.nan
    return power_text(lines), values


def write_power(folder: Path, text: str, packed: bool = False) -> Path:
    if packed:
        path = folder / "household_power_consumption.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("household_power_consumption.txt", text)
    else:
        path = folder / "household_power_consumption.txt"
        path.write_text(text)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("preprocessing", ["standardised", "scaled"])
def test_power_windows_are_those_of_a_plain_loop(tmp_path: Path, packed: bool, preprocessing: Any) -> None:
    text, values = household(60, missing={7, 20}, absent={33, 34})
    write_power(tmp_path, text, packed)
    data = load(
        "power",
        data_dir=tmp_path,
        minutes=1,
        window=4,
        train_fraction=0.7,
        preprocessing=preprocessing,
        dtype=torch.float64,
    )
    complete = values[:42][~np.isnan(values[:42]).any(1)]
    scaler = (StandardScaler() if preprocessing == "standardised" else MinMaxScaler()).fit(complete)
    dropped = 0
    for part, inputs, targets in (
        (values[:42], data.train_inputs, data.train_targets),
        (values[42:], data.test_inputs, data.test_targets),
    ):
        expected = []
        for t in range(len(part) - 4):
            if np.isnan(part[t : t + 5]).any():
                dropped += 1
            else:
                expected.append(scaler.transform(part[t : t + 5]))
        np.testing.assert_allclose(inputs, np.array(expected)[:, :4], atol=1e-12)
        np.testing.assert_allclose(targets, np.array(expected)[:, 4, :1], atol=1e-12)
    facts = data.facts
    assert facts["train_windows_dropped"] == dropped == 5 + 5 + 6
    assert (facts["rows"], facts["rows_with_missing_values"], facts["minutes_without_row"]) == (58, 2, 2)
    kilowatts = data.train_targets[0, 0] * facts["target_scale"] + facts["target_shift"]
    assert float(kilowatts) == pytest.approx(values[4, 0])
    assert (data.task, data.outputs, data.input_shape) == ("regression", 1, (4, 7))


def test_samples_are_means_over_the_clock_of_the_values_that_are_there(tmp_path: Path) -> None:
    text, values = household(200, missing={3, *range(36, 96)}, absent={100})
    clock, read_values = read_power(write_power(tmp_path, text))
    assert (clock % 1440)[0] == 17 * 60 + 24
    means = resampled(clock, read_values, 30)
    assert np.isnan(means[2]).all()  # 18:00 to 18:30 has no value
    edges = [0, 6, 36, 66, 96, 126, 156, 186, 200]  # 17:30, 18:00, ...
    expected = [np.nanmean(values[a:b], axis=0) for a, b in pairwise(edges) if a not in (36, 66)]
    np.testing.assert_allclose(means[[0, 1, 4, 5, 6, 7]], expected)
    np.testing.assert_array_equal(resampled(clock, read_values, 1), values)


def test_rows_limit_what_is_read(tmp_path: Path) -> None:
    text, _ = household(60)
    write_power(tmp_path, text + "rubbish\n")
    data = load("power", data_dir=tmp_path, minutes=1, window=3, rows=50)
    assert data.facts["rows"] == 50
    assert len(data.train_inputs) + len(data.test_inputs) == 50 - 2 * 3


def test_a_constant_measurement_does_not_divide_by_zero(tmp_path: Path) -> None:
    lines = [power_line(t, [t % 5, 0.1, 240.1, 3, 0, 0, 0]) for t in range(60)]
    write_power(tmp_path, power_text(lines))
    data = load("power", data_dir=tmp_path, minutes=1, window=2)
    assert data.train_inputs[:, :, 1:].abs().max() < 1e-6


ROWS = household(60)[0].splitlines()[1:]


@together(
    ("text", "reason"),
    [
        ("", "it begins with ''"),
        (POWER_HEADER + "\n", "no rows after the header"),
        ("\n".join(ROWS), "it begins with '16/12/2006.*expected 'Date;Time;"),
        (power_text([*ROWS, ROWS[-1][:25]]), "number of columns changed from 9 to"),
        (power_text([row.rpartition(";")[0] for row in ROWS]), "8 columns, expected 9"),
        (
            power_text([*ROWS[:30], ROWS[30].replace("16/12/2006", "2006-12-16"), *ROWS[31:]]),
            "could not convert string '2006-12-16'.*like 16/12/2006;17:24:00",
        ),
        (power_text([*ROWS[:30], ROWS[30].replace(":00;", ":00;x"), *ROWS[31:]]), "could not convert string 'x"),
        (power_text([*ROWS[:30], ROWS[30] + "#1", *ROWS[31:]]), "could not convert string '.*#1'"),
        (power_text([*ROWS[:30], ROWS[29], *ROWS[31:]]), "line 32: its time is not after the line before"),
        (power_text([*ROWS[:30], power_line(30, [np.inf] * 7), *ROWS[31:]]), "line 32: a value is infinite"),
        (
            power_text([*ROWS[:-1], ROWS[-1].replace("2006", "2012")]),
            "rows lie .* minutes apart; expected one a minute",
        ),
        (power_text(ROWS[:7]), "too few for windows of 3"),
        (power_text([power_line(t, None) for t in range(60)]), "too few for windows"),
        (power_text([power_line(t, [1.0] * 7 if t % 3 else None) for t in range(60)]), "all .* training windows of 3"),
    ],
)
def test_a_damaged_power_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    write_power(tmp_path, text)
    with pytest.raises(BadValue, match=reason):
        load("power", data_dir=tmp_path, minutes=1, window=3)


def test_a_damaged_or_foreign_zip_is_refused(tmp_path: Path) -> None:
    path = write_power(tmp_path, household(60)[0], packed=True)
    whole = path.read_bytes()
    for content in (whole[:-30], b"no archive", whole[:100] + b"rubbish" * 20 + whole[240:]):
        path.write_bytes(content)
        with pytest.raises(BadValue, match=r"\.zip cannot be read as UCI's file"):
            load("power", data_dir=tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(BadValue, match=r"no item named 'household_power_consumption.txt'"):
        load("power", data_dir=tmp_path)


@together("wrong", [{"minutes": 0}, {"window": 0}, {"train_fraction": 1.0}, {"rows": 1}, {"window": 2.5}])
def test_options_of_power_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match=next(iter(wrong))):
        load("power", **wrong)


def test_power_has_no_checksum_so_it_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"no checksum is published .* household_power_consumption\.txt"):
        load("power", data_dir=tmp_path, download=True)
    with pytest.raises(BadValue) as caught:
        load("power", data_dir=tmp_path)
    assert "--download" not in str(caught.value)


# text


def test_text_is_what_its_tokens_spell_and_targets_are_one_ahead(tmp_path: Path) -> None:
    content = "Größe, 大きさ, 🙂 and size.\n" * 20
    path = tmp_path / "words.txt"
    path.write_text(content, encoding="utf-8")
    data = load(f"text:{path}", length=8, train_fraction=0.75)
    cut = int(0.75 * len(content))
    for part, inputs, targets in (
        (content[:cut], data.train_inputs, data.train_targets),
        (content[cut:], data.test_inputs, data.test_targets),
    ):
        assert len(inputs) == (len(part) - 1) // 8
        assert "".join(data.vocabulary[i] for i in inputs.flatten()) == part[: inputs.numel()]
        assert "".join(data.vocabulary[i] for i in targets.flatten()) == part[1 : targets.numel() + 1]
    assert data.vocabulary == "".join(sorted(set(content)))
    assert (data.task, data.outputs, data.name) == ("language", len(data.vocabulary), "text:words.txt")


@together(
    ("content", "options", "reason"),
    [
        (b"", {}, "0 different characters"),
        (b"aaaaaaaaaaaaa", {}, "1 different characters"),
        (b"ab" * 100, {}, "test: 20 characters are too few for chunks of 64"),
        (b"abc\xff\xfe" * 100, {}, "is not a text in UTF-8"),
        (b"ab" * 100, {"length": 0}, "length = 0"),
        (b"ab" * 100, {"train_fraction": 0}, "train_fraction"),
        (None, {}, "cannot read the text .*No such file"),
    ],
)
def test_a_text_that_will_not_do_is_refused(
    tmp_path: Path, content: bytes | None, options: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "words.txt"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadValue, match=reason):
        load(f"text:{path}", **options)


# downloads


def at(folder: Path, resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """The same resources, published as files of a folder with the checksums that they have there."""
    moved = []
    for resource in resources:
        path = folder / resource.names[0].rpartition("/")[2]
        moved.append(Resource(resource.names, path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()))
    return tuple(moved)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with MNIST packed, which stands for the place where it is published."""
    folder = tmp_path / "published"
    write_mnist(folder, IDX_NAMES)
    monkeypatch.setitem(DATASETS, "mnist", partial(idx, "mnist", at(folder, MNIST)))  # type: ignore[arg-type]
    return folder


def test_what_is_missing_is_downloaded_once_and_only_on_request(published: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with pytest.raises(BadValue, match="4 of 4 files are not in"):
        load("mnist", data_dir=data_dir)
    assert not data_dir.exists()
    first = load("mnist", data_dir=data_dir, download=True)
    assert sorted(path.name for path in (data_dir / "MNIST/raw").iterdir()) == sorted(f"{n}.gz" for n in IDX_NAMES)
    for path in published.iterdir():
        path.unlink()
    again = load("mnist", data_dir=data_dir, download=True)
    assert torch.equal(again.train_inputs, first.train_inputs)
    assert torch.equal(load("mnist", data_dir=data_dir).test_targets, first.test_targets)


def test_a_file_with_another_checksum_is_refused_and_not_left_behind(published: Path, tmp_path: Path) -> None:
    path = published / f"{IDX_NAMES[2]}.gz"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BadValue, match=r"checksum [0-9a-f]{64}, not the published [0-9a-f]{64}") as caught:
        load("mnist", data_dir=tmp_path / "data", download=True)
    assert path.name in str(caught.value)
    left = {path.name for path in (tmp_path / "data/MNIST/raw").iterdir()}
    assert left == {f"{IDX_NAMES[0]}.gz", f"{IDX_NAMES[1]}.gz"}


class Server(http.server.BaseHTTPRequestHandler):
    """Promises more than it sends, or has nothing."""

    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(("page", "reason"), [("gone", "404"), ("half", "checksum|IncompleteRead")])
def test_a_download_that_fails_or_breaks_off_leaves_nothing(
    server: str, page: str, reason: str, tmp_path: Path
) -> None:
    resource = Resource(("file.bin",), f"{server}/{page}", "0" * 64)
    with pytest.raises(BadValue, match=reason):
        obtain("mine", [resource], tmp_path, download=True)
    assert not list(tmp_path.iterdir())


def test_without_a_network_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    resource = Resource(("file.bin",), "http://127.0.0.1:9/file.bin", "0" * 64)  # nobody listens there
    with pytest.raises(BadValue, match=r"cannot download http://127.0.0.1:9/file.bin: .*is there a network\?"):
        obtain("mine", [resource], tmp_path, download=True)
    assert not list(tmp_path.iterdir())


def test_published_files_have_checksums_of_their_own() -> None:
    checksums = [resource.sha256 for resource in (*MNIST, *FASHION_MNIST, CIFAR10.resource)]
    assert len(set(checksums)) == 9
    assert all(len(bytes.fromhex(checksum or "")) == 32 for checksum in checksums)
