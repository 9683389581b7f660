"""Datasets by name: built in, from files in their published formats, or downloaded on request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch

from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.roles import Seed, roles
from flowopt.training.datasets.cifar import CIFAR10, CIFAR100, cifar
from flowopt.training.datasets.dataset import Dataset
from flowopt.training.datasets.digits import digits
from flowopt.training.datasets.idx import FASHION_MNIST, MNIST, idx
from flowopt.training.datasets.power import power
from flowopt.training.datasets.preprocessing import Preprocessing
from flowopt.training.datasets.text import text

__all__ = ["DATASETS", "Dataset", "accepts", "load"]

TEXT = "text:"
DATASETS: Mapping[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist": partial(idx, "mnist", MNIST),
    "fashion-mnist": partial(idx, "fashion-mnist", FASHION_MNIST),
    "cifar10": partial(cifar, CIFAR10),
    "cifar100": partial(cifar, CIFAR100),
    "power": power,
    f"{TEXT}FILE": text,
}


def accepts(name: str) -> Mapping[str, inspect.Parameter]:
    """The options of a dataset. Raises UnknownName, with the nearest matches, for a name that does not exist."""
    return inspect.signature(_loader(name)).parameters


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    preprocessing: Preprocessing | None = None,
    seed: Annotated[int | None, Seed()] = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Dataset:
    """The dataset of that name; ``text:FILE`` is a language, learnt from that file.

    `data_dir` holds the files of a dataset that has some, and `download` fetches those that are missing; `seed` draws
    the test samples of a dataset without a published split; None leaves an option at the dataset's own default.
    `dtype` is that of inputs and of a regression's targets; labels and tokens are int64.

    >>> load("digits").train_inputs.shape
    torch.Size([1437, 1, 8, 8])

    Raises UnknownName for a name, or an option that this dataset does not have, and BadValue for an option out of range
    and for files that are missing, damaged or not of the published format.
    """
    accepted = accepts(name)
    common: dict[str, Any] = {"data_dir": data_dir, "download": download or None, "preprocessing": preprocessing}
    common |= dict.fromkeys(roles(_loader(name), Seed) or ["seed"], seed)  # what draws nothing refuses it
    options |= {option: value for option, value in common.items() if value is not None}
    for option in options:
        if option not in accepted:
            raise UnknownName(f"option of {name}", option, accepted)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise BadValue(f"{name}: dtype = {dtype!r} is not a floating-point type")
    if "dtype" in accepted:
        options["dtype"] = dtype
    return _loader(name)(**options)


def _loader(name: str) -> Callable[..., Dataset]:
    if name.startswith(TEXT) and name.removeprefix(TEXT):
        return partial(text, name.removeprefix(TEXT))
    if name not in DATASETS:
        raise UnknownName("dataset", name, DATASETS)
    return DATASETS[name]
