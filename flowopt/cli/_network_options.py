"""What the commands that train networks share: checks before any work, models, folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.roles import EpochLength, roles
from flowopt.methods import METHODS
from flowopt.training import datasets, models
from flowopt.training.datasets import Dataset

DEFAULT_MODELS = {"classification": "mlp:64-32", "regression": "lstm:32", "language": "lstm:128"}
"""Of each task."""
OUT = Path("flowopt-out")
"""Where runs go that are not told where to go."""


def check_names(dataset: str, spec: str | None, model: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raise UnknownName for a dataset, a model, or an option of theirs that does not exist."""
    known = [(f"option of {dataset}", data, datasets.accepts(dataset).keys() - {"dtype"})]
    if spec is not None:
        name = spec.partition(":")[0]
        if name not in models.MODELS:
            raise UnknownName("model", name, models.MODELS)
        known.append((f"option of {name}", model, set(models.MODELS[name].options)))
    for kind, options, names in known:
        for option in options.keys() - names:
            raise UnknownName(kind, option, names)


def device_named(name: str) -> torch.device:
    """The device of that name; "auto": a CUDA GPU if there is one. Raises BadValue for one that cannot train."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise BadValue(f"--device {name}: {str(error).splitlines()[0]}") from error
    if device.type not in ("cpu", "cuda"):
        raise BadValue(f"--device {name}: training runs on cpu and cuda, and needs double precision for its numbers")
    return device


def network(spec: str, data: Dataset, seed: int, options: Mapping[str, Any]) -> nn.Module:
    """The model that fits the data."""
    shape: dict[str, Any] = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    return models.build(spec, **shape, seed=seed, **options)


def with_epoch_length(method: str, parameters: dict[str, Any], steps: int) -> dict[str, Any]:
    """The parameters of a method, with those that are the length of an epoch set to it."""
    lengths = roles(METHODS[method].build, EpochLength)
    return {name: steps for name, role in lengths.items() if role.unless not in parameters} | parameters


def folder_name(dataset: str, *parts: str | None) -> str:
    """A name for a run on a dataset."""
    given = [re.sub("^text:.*/", "text:", dataset), *(part for part in parts if part is not None)]
    return plain("-".join(given))


def numbered(name: str, number: int) -> Path:
    """The folder of the `number`-th run of that name, counted from 1."""
    return OUT / (name if number == 1 else f"{name}-{number}")


def free_number(name: str) -> int:
    """The number of the first run of that name whose folder is not there or empty."""
    return next(number for number in count(1) if not any(numbered(name, number).glob("*")))


def plain(name: str) -> str:
    """A text as a file may be called."""
    return re.sub(r"[^\w.]+", "-", name)
