"""MNIST and Fashion-MNIST, from the IDX files in which they are published."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue, check_choice
from flowopt.training.datasets.dataset import Dataset, check_labels
from flowopt.training.datasets.download import Resource, obtain
from flowopt.training.datasets.preprocessing import PREPROCESSING, Images, Preprocessing, image_dataset

CLASSES = 10
IMAGE = (28, 28)
UNSIGNED_BYTE = 0x08
"""IDX's code of that type."""


def _published(folder: str, url: str, checksums: Mapping[str, str]) -> tuple[Resource, ...]:
    # torchvision's folder first: the two datasets name their files alike, so a common folder holds but one of them
    return tuple(
        Resource((f"{folder}/{name}.gz", f"{folder}/{name}", f"{name}.gz", name), f"{url}{name}.gz", checksum)
        for name, checksum in checksums.items()
    )


MNIST = _published(
    "MNIST/raw",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = _published(
    "FashionMNIST/raw",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def idx(
    name: str,
    resources: Sequence[Resource],
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    preprocessing: Preprocessing = "standardised",
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """10 classes, images ``(N, 1, 28, 28)``; as published, 60 000 for training and 10 000 for testing.

    `preprocessing`: "standardised", by the mean and standard deviation of all training pixels; "scaled", divided by
    255. Sources: LeCun, Cortes, Burges 1998 (MNIST); Xiao, Rasul, Vollgraf 2017 (Fashion-MNIST).
    Raises BadValue for files that are missing or not what they should be.
    """
    check_choice(name, "preprocessing", preprocessing, PREPROCESSING)
    paths = obtain(name, resources, data_dir, download)
    return image_dataset(name, _pair(*paths[:2]), _pair(*paths[2:]), CLASSES, preprocessing, dtype)


def _pair(image_path: Path, label_path: Path) -> Images:
    images, labels = read_idx(image_path, IMAGE).unsqueeze(1), read_idx(label_path, ()).long()
    if len(images) != len(labels):
        raise BadValue(f"{image_path} has {len(images)} images and {label_path} {len(labels)} labels")
    check_labels(str(label_path), labels, CLASSES)
    return Images(images, labels)


def read_idx(path: Path, item: tuple[int, ...]) -> Tensor:
    """The bytes of an IDX file, ``(N, *item)`` uint8; plain, or packed where the name ends in .gz.

    Raises BadValue unless type, shape and length are what they should be.
    """
    content = _unpacked(path)
    magic = bytes((0, 0, UNSIGNED_BYTE, 1 + len(item)))
    if content[:4] != magic:
        raise BadValue(
            f"{path} begins with the bytes {content[:4].hex(' ') or '(none)'}; expected {magic.hex(' ')}, an IDX file "
            f"of unsigned bytes (08) in {magic[3]} dimensions"
        )
    header = 4 + 4 * magic[3]
    if len(content) < header:
        raise BadValue(
            f"{path} is truncated: {len(content)} bytes, less than its header of {header}; download it again"
        )
    count, *shape = struct.unpack_from(f">{magic[3]}I", content, 4)
    if tuple(shape) != item:
        raise BadValue(f"{path} holds items of the shape {tuple(shape)}, expected {item}")
    length = header + count * math.prod(item)
    if len(content) != length:
        state = "truncated" if len(content) < length else "damaged"
        raise BadValue(f"{path} is {state}: {len(content)} bytes, its header promises {length}; download it again")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(count, *item).copy())


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise BadValue(f"{path} cannot be read: {error}; download it again") from error
