"""CIFAR-10 and CIFAR-100, from the pickled batches ("python version") in which they are published."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from flowopt.core.errors import BadValue, check_choice
from flowopt.training.datasets.dataset import Dataset, check_labels
from flowopt.training.datasets.download import Resource, obtain
from flowopt.training.datasets.preprocessing import PREPROCESSING, Images, Preprocessing, image_dataset

IMAGE = (3, 32, 32)
PIXELS = 3072


class Archive(NamedTuple):
    """A published archive and what is in it."""

    name: str
    resource: Resource
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    key: bytes
    """Of the labels."""
    classes: int


CIFAR10 = Archive(
    "cifar10",
    Resource(
        ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar-10-batches-py",
    ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    ("test_batch",),
    b"labels",
    10,
)
CIFAR100 = Archive(
    "cifar100",
    Resource(
        ("cifar-100-python.tar.gz", "cifar-100-python"),
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    "cifar-100-python",
    ("train",),
    ("test",),
    b"fine_labels",
    100,
)


def cifar(
    archive: Archive,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    preprocessing: Preprocessing = "standardised",
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """Photographs ``(N, 3, 32, 32)`` of 10 or 100 classes; as published, 50 000 for training and 10 000 for testing.

    Read from the published archive or its unpacked folder. `preprocessing`: "standardised", each channel by the mean
    and standard deviation of its training pixels; "scaled", divided by 255. Source: Krizhevsky 2009.
    Raises BadValue for files that are missing or not what they should be.
    """
    check_choice(archive.name, "preprocessing", preprocessing, PREPROCESSING)
    (path,) = obtain(archive.name, [archive.resource], data_dir, download)
    batches = {
        member: read_batch(f"{path}: {member}", content, archive.key, archive.classes)
        for member, content in _contents(path, archive.folder, archive.train + archive.test).items()
    }
    train, test = (
        Images(*map(torch.cat, zip(*(batches[member] for member in members), strict=True)))
        for members in (archive.train, archive.test)
    )
    return image_dataset(archive.name, train, test, archive.classes, preprocessing, dtype)


def _contents(path: Path, folder: str, members: Sequence[str]) -> dict[str, bytes]:
    """The members' bytes by name, from a folder or an archive; nothing is unpacked to disk."""
    found: dict[str, bytes] = {}
    try:
        if path.is_dir():
            found = {member: (path / member).read_bytes() for member in members if (path / member).is_file()}
        else:
            with tarfile.open(path, "r:gz") as archive:
                for entry in archive:
                    above, _, member = entry.name.rpartition("/")
                    wanted = entry.isfile() and above == folder and member in members
                    file = archive.extractfile(entry) if wanted else None
                    if file is not None:
                        found[member] = file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise BadValue(f"{path} cannot be read: {error}; download it again") from error
    if missing := [member for member in members if member not in found]:
        raise BadValue(f"{path} lacks {', '.join(missing)}; download it again")
    return found


def read_batch(owner: str, content: bytes, key: bytes, classes: int) -> Images:
    """Images ``(N, 3, 32, 32)`` uint8 and labels ``(N,)`` int64 of one pickled batch; no code in it is run.

    Raises BadValue for anything but a dictionary of an array ``(N, 3072)`` of bytes and N labels below `classes`.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"].bytes, torch.tensor(batch[key])
    except Exception as error:  # a damaged pickle may raise anything
        raise BadValue(
            f"{owner} is not a batch of CIFAR: {type(error).__name__}: {error}; download it again"
        ) from error
    if pixels.shape[1:] != (PIXELS,) or labels.shape != pixels.shape[:1]:
        raise BadValue(
            f"{owner} has pixels of the shape {pixels.shape} and labels of {tuple(labels.shape)}; expected "
            f"(N, {PIXELS}) and (N,)"
        )
    check_labels(owner, labels, classes)
    return Images(torch.from_numpy(pixels).view(-1, *IMAGE), labels)


class _Array:
    """Stands for ``numpy.ndarray`` while a batch is read, so that nothing of NumPy is at the pickle's command."""

    bytes: NDArray[np.uint8]

    def __init__(self, *_: object) -> None:
        """Take the arguments of NumPy's ``_reconstruct``, which say nothing of the array to come."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Byte):
            raise pickle.UnpicklingError("an array of no type")
        self.bytes = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C").copy()


class _Byte:
    """Stands for ``numpy.dtype``, of which only "u1" is let through."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of the type {code!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment: a byte has none."""


KNOWN: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,  # NumPy 1, which wrote the published files
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # NumPy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Byte,
}
"""The names that a pickled array of bytes needs."""


class _Unpickler(pickle.Unpickler):
    """Refuses every name but the known."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no batch of images needs: do not trust it"
            )
        return KNOWN[module, name]
