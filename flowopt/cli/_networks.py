"""What the commands that train networks share: what they check before any work, data, models and optimizers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from flowopt.cli.settings import Settings, assign
from flowopt.core.errors import BadValue, UnknownName, check_count
from flowopt.core.roles import EpochLength
from flowopt.functions.baselines.torch_optimizers import OptimizerRecipe, as_optimizer
from flowopt.methods import entry, is_formula
from flowopt.networks._calls import network_defaults
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.limiting._limiting import ActivationLimiting
from flowopt.training import datasets, fit, models
from flowopt.training.datasets import Dataset

MODEL, DATA = "model", "data"
DEFAULT_MODELS = {"classification": "mlp:64-32", "regression": "lstm:32", "language": "lstm:128"}
"""Of each task."""


@dataclass(frozen=True)
class OfNetwork:
    """The parameters of a method where it trains a network: those of the method, and a weight decay."""

    settings: Mapping[str, Any]
    spelled: Callable[[str], str] = str
    """Gives the name in `settings` of a parameter that may be written in another way."""
    shares = True

    def accepts(self, key: str) -> bool:
        """Whether it has a parameter of that name."""
        return self.spelled(key) in self.settings


def settings_of(methods: Sequence[str], texts: Sequence[str]) -> Settings:
    """What ``--set`` says of these methods, of the model and of the data.

    Raises as `assign` does, and UnknownName or BadValue for what cannot train a network.
    """
    takers = {name: _taker(name) for name in methods}
    return assign(texts, takers, (MODEL, DATA), inspect.signature(fit).parameters)


def check(command: str, dataset: str, spec: str | None, given: Settings, *, seed: int = 0, **counts: int) -> None:
    """Raise BadValue for a count below 1 or a seed below 0, UnknownName for a dataset, model or option of theirs."""
    check_count(command, "--seed", seed, 0)
    for name, value in counts.items():
        check_count(command, f"--{name.replace('_', '-')}", value, 1)
    known = [(dataset, given.sections[DATA], datasets.accepts(dataset).keys() - {"dtype"})]
    if spec is not None:
        name = spec.partition(":")[0]
        if name not in models.MODELS:
            raise UnknownName("model", name, models.MODELS)
        known.append((name, given.sections[MODEL], set(models.MODELS[name].options)))
    for owner, options, names in known:
        for option in options.keys() - names:
            raise UnknownName(f"option of {owner}", option, names)


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


@dataclass(frozen=True)
class Learning:
    """Data, and the model that is to learn from them."""

    data: Dataset
    spec: str
    """The model with its sizes."""
    options: Mapping[str, Any]
    """Of the model."""
    device: torch.device

    @classmethod
    def read(
        cls,
        dataset: str,
        spec: str | None,
        given: Settings,
        device: torch.device,
        data_dir: Path | None,
        download: bool,
    ) -> Learning:
        """Read the data; a model that is not named is that of their task.

        Raises BadValue for a folder of files where the dataset has none, and whatever `flowopt.training.datasets.load`
        does.
        """
        if "data_dir" not in datasets.accepts(dataset) and (data_dir is not None or download):
            raise BadValue(f"{dataset} needs no files from elsewhere: leave out --data-dir and --download")
        data = datasets.load(dataset, **{"data_dir": data_dir, "download": download} | given.sections[DATA])
        return cls(data, DEFAULT_MODELS[data.task] if spec is None else spec, given.sections[MODEL], device)

    def __str__(self) -> str:
        return f"{self.spec} on {self.data.name}, {self.device}"

    def network(self, seed: int) -> nn.Module:
        """The model that fits the data, its weights drawn from the seed."""
        data = self.data
        shape: dict[str, Any] = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
        return models.build(self.spec, **shape, seed=seed, **self.options).to(self.device)

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.data.train_inputs) / batch_size)


def with_epoch_length(method: str, parameters: dict[str, Any], steps: int) -> dict[str, Any]:
    """The parameters of a method, with those that are the length of an epoch set to it."""
    lengths = {} if is_formula(method) else entry(method).roles(EpochLength)  # a formula says its own
    return {name: steps for name, role in lengths.items() if role.unless not in parameters} | parameters


def make_optimizer(
    method: str,
    parameters: dict[str, Any],
    model: nn.Module,
    seed: int = 0,
    steps_an_epoch: int = 1,
    limiting: str | None = None,
) -> Optimizer:
    """The optimizer of a model. Parameters of a method that are the length of an epoch are set to it.

    Raises BadValue for parameters out of range, and where `limiting`, a reading of activation limiting, does not go
    with the optimizer.
    """
    recipe = _recipe(method, parameters)
    if recipe is not None:
        if limiting is not None:
            raise BadValue(f"activation limiting goes with the methods of flowopt list methods, not with {method}")
        try:
            return recipe.make(list(model.parameters()))  # type: ignore[no-any-return]
        except (TypeError, ValueError) as error:
            raise BadValue(f"{method}: {error}") from error
    filled = with_epoch_length(method, parameters, steps_an_epoch)
    layers = None if limiting is None else ActivationLimiting(model, limiting)
    return FlowOptimizer(model.named_parameters(), method, seed=seed, limiting=layers, **filled)


def check_optimizer(method: str, parameters: dict[str, Any], limiting: str | None = None) -> None:
    """Build the optimizer for a trifle, so that what is wrong with it is said before any work is done."""
    make_optimizer(method, parameters, nn.Linear(1, 1), limiting=limiting)


def _taker(method: str) -> OfNetwork:
    """The parameters that a method, or an optimizer of torch, takes. Raises UnknownName if there is none."""
    recipe = _recipe(method, {})
    if recipe is None:
        return OfNetwork(network_defaults(method), entry(method).spelled)
    _, *parameters = inspect.signature(recipe.make).parameters.values()  # the first is params
    return OfNetwork({parameter.name: parameter.default for parameter in parameters})


def _recipe(method: str, parameters: dict[str, Any]) -> OptimizerRecipe | None:
    """How to build an optimizer that is not a flow of ours; None for what is."""
    if method.lower().startswith("scipy:"):
        raise BadValue(
            f"{method} needs the whole objective again and again, and a mini-batch is a part of it; try torch:LBFGS"
        )
    return as_optimizer(method, parameters)
