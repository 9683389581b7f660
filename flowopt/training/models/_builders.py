"""Builds a model by its name, from data whose shape is known, before any work is done."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn

from flowopt.core.errors import BadValue, UnknownName, check_count
from flowopt.core.roles import Seed
from flowopt.networks import tasks
from flowopt.training.models.convolutional import cnn, fashion_cnn, lenet5
from flowopt.training.models.data_shape import DataShape
from flowopt.training.models.mlp import mlp
from flowopt.training.models.recurrent import lstm
from flowopt.training.models.residual import resnet18, resnet34, senet18, wrn
from flowopt.training.models.transformer import transformer


@dataclass(frozen=True)
class Family:
    """Models of one name.

    `make` takes a DataShape, then the sizes that may stand behind the name in a spec, then options by keyword.
    """

    make: Callable[..., nn.Module]
    example: str
    """A spec that shows the form: name, colon, sizes and the sign between them."""
    tasks: tuple[str, ...]
    source: str

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.make) or "").split("\n", 1)[0]

    @property
    def options(self) -> list[str]:
        """Names of the options that `build` takes for it."""
        return [p.name for p in inspect.signature(self.make).parameters.values() if p.kind is p.KEYWORD_ONLY]


SUPERVISED = ("classification", "regression")

MODELS: dict[str, Family] = {
    "mlp": Family(mlp, "mlp:64-32", SUPERVISED, ""),
    "cnn": Family(cnn, "cnn:16-32", SUPERVISED, ""),
    "lenet5": Family(lenet5, "lenet5", SUPERVISED, "LeCun, Bottou, Bengio, Haffner 1998"),
    "fashion_cnn": Family(fashion_cnn, "fashion_cnn", SUPERVISED, "named in ELRA"),
    "resnet18": Family(resnet18, "resnet18", SUPERVISED, "He, Zhang, Ren, Sun 2015; pytorch-cifar"),
    "resnet34": Family(resnet34, "resnet34", SUPERVISED, "He, Zhang, Ren, Sun 2015; pytorch-cifar"),
    "senet18": Family(senet18, "senet18", SUPERVISED, "Hu, Shen, Sun 2018; pytorch-cifar"),
    "wrn": Family(wrn, "wrn:28-10", SUPERVISED, "Zagoruyko, Komodakis 2016"),
    "lstm": Family(lstm, "lstm:128x2", (*SUPERVISED, "language"), "Hochreiter, Schmidhuber 1997"),
    "transformer": Family(transformer, "transformer:128x4", ("language",), "Radford et al. 2019 (GPT-2)"),
}


def build(
    spec: str, *, input_shape: Sequence[int], outputs: int, task: str, seed: Annotated[int, Seed()], **options: Any
) -> nn.Module:
    """The model that `spec` names, on the CPU, its weights drawn from `seed` alone.

    spec: a name of MODELS, with sizes behind a colon where it has some: "mlp:64-32", "wrn:28-10", "lstm:128x2".
    input_shape: of one sample, without the batch: (F,) features, (C, H, W) an image, (T, F) a series, (T,) tokens.
    outputs: classes, numbers to predict, or the size of the vocabulary. task: a name of `flowopt.networks.tasks.TASKS`.

    >>> build("mlp:3", input_shape=(2,), outputs=1, task="regression", seed=0)(torch.zeros(5, 2)).shape
    torch.Size([5, 1])

    torch's own random numbers go on as if nothing had been drawn. Raises UnknownName for a model, task or option that
    does not exist; BadValue for a spec that is not well formed, an option out of its range, or a model that cannot take
    these samples or do this task.
    """
    name, colon, text = spec.partition(":")
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)
    family = MODELS[name]
    sizes = _sizes(spec, family, text if colon else None)
    for option in options:
        if option not in family.options:
            known = family.options
            raise UnknownName(f"option of {name}", option, known) if known else BadValue(f"{name} has no options")
    data = _data_shape(name, input_shape, outputs, task)
    check_count("build", "seed", seed, 0)
    # Not torch.manual_seed, which would also seed the generators of GPUs that fork_rng does not look after here.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(int(seed))
        return family.make(data, *sizes, **options)


def _sizes(spec: str, family: Family, text: str | None) -> list[int]:
    """The numbers behind the colon; BadValue if they are not written as in the family's example."""
    _, *accepted = inspect.signature(family.make).parameters.values()  # the first is the data
    sizes = [p for p in accepted if p.kind is not p.KEYWORD_ONLY]
    unlimited = any(p.kind is p.VAR_POSITIONAL for p in sizes)
    if text is None and not unlimited:
        return []  # the defaults
    sign = "x" if "x" in family.example.partition(":")[2] else "-"
    numbers = (text or "").split(sign)
    well_formed = all(re.fullmatch("[1-9][0-9]*", number) for number in numbers)
    if not well_formed or not (unlimited or len(numbers) <= len(sizes)):
        raise BadValue(f"the model {spec!r} is not written like {family.example!r}")
    return [int(number) for number in numbers]


def _data_shape(model: str, input_shape: Sequence[int], outputs: int, task: str) -> DataShape:
    tasks.task(task)
    if task not in MODELS[model].tasks:
        able = [name for name, family in MODELS.items() if task in family.tasks]
        raise BadValue(f"{model} does not do {task}; these do: {', '.join(able)}")
    if not input_shape:
        raise BadValue("build: input_shape is empty; it is the shape of one sample, such as (64,) or (1, 28, 28)")
    for length in input_shape:
        check_count("build", "a length in input_shape", length, 1)
    check_count("build", "outputs", outputs, 1 if task == "regression" else 2)
    return DataShape(model, tuple(input_shape), outputs, task)
