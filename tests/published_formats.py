"""Small datasets, written in the formats in which the large ones are published."""

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR10_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
POWER_HEADER = (
    "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
    "Sub_metering_1;Sub_metering_2;Sub_metering_3"
)
Bytes = NDArray[np.uint8]


def idx_bytes(values: Bytes) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def mnist_arrays(train: int = 12, test: int = 5) -> dict[str, Bytes]:
    rng = np.random.default_rng(0)
    shapes = ((train, 28, 28), (train,), (test, 28, 28), (test,))
    return {
        name: rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
        for name, shape in zip(IDX_NAMES, shapes, strict=True)
    }


def write_mnist(folder: Path, packed: Iterable[str] = ()) -> dict[str, Bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = mnist_arrays()
    for name, values in arrays.items():
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values)))
        else:
            (folder / name).write_bytes(idx_bytes(values))
    return arrays


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which wrote CIFAR: both are BINSTRING."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


def python2_pickle(value: Any, module: str = "numpy.core") -> bytes:
    """A pickle of protocol 2, in which NumPy's internals live in `module`."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    content = file.getvalue()
    for spelling in (b"cnumpy._core.", b"cnumpy.core."):
        content = content.replace(spelling, f"c{module}.".encode())
    return content


def cifar_batch(count: int, seed: int, key: str = "labels", classes: int = 10) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
        "batch_label": "training batch",
        key: rng.integers(0, classes, count).tolist(),
        "filenames": [f"picture_{i}.png" for i in range(count)],
    }


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def power_line(minute: int, values: Sequence[float] | None) -> str:
    """A row, `minute` minutes after 16/12/2006 17:24; without values it is as UCI writes a missing one."""
    total = 17 * 60 + 24 + minute
    clock = f"{16 + total // 1440}/12/2006;{total % 1440 // 60:02d}:{total % 60:02d}:00"
    return f"{clock};?;?;?;?;?;?;" if values is None else f"{clock};" + ";".join(f"{value:.3f}" for value in values)


def power_text(rows: Sequence[str]) -> str:
    return "\n".join([POWER_HEADER, *rows]) + "\n"
