"""What ``flowopt train --set`` says, sorted out; and the optimizers that it asks for."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from flowopt.cli._network_options import with_epoch_length
from flowopt.cli.settings import parse_setting
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.parameters import hint
from flowopt.functions.baselines.torch_optimizers import OptimizerRecipe, as_optimizer
from flowopt.methods import METHODS
from flowopt.networks._calls import network_defaults
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.limiting._limiting import ActivationLimiting

SECTIONS = ("model", "data")
"""Owners of settings that are options of the model or of the dataset: ``model.key=value``."""


class TrainSettings(NamedTuple):
    """Settings, each with those that it is for."""

    methods: dict[str, dict[str, Any]]
    model: dict[str, Any]
    data: dict[str, Any]


def sort_out(texts: Iterable[str], methods: Sequence[str]) -> TrainSettings:
    """Give each ``[owner.]key=value`` to those that it is for; one without owner to all `methods` that have such a key.

    Raises UnknownName for a method, an owner, or a method's parameter that does not exist, BadValue for a malformed
    text.
    """
    parameters = {name: parameters_of(name) for name in methods}
    found = TrainSettings({name: {} for name in methods}, {}, {})
    for setting in map(parse_setting, texts):
        if setting.owner in SECTIONS:
            getattr(found, setting.owner)[setting.key] = setting.value
            continue
        if setting.owner and setting.owner not in methods:
            raise UnknownName("owner of a setting in this run", setting.owner, [*methods, *SECTIONS])
        asked = [setting.owner] if setting.owner else methods
        fitting = [name for name in asked if setting.key in parameters[name]]
        if not fitting:
            known = {key for name in asked for key in parameters[name]}
            raise UnknownName(f"parameter of {' or '.join(asked)}", setting.key, known, hint(setting.key, known))
        for name in fitting:
            found.methods[name][setting.key] = setting.value
    return found


def parameters_of(method: str) -> Collection[str]:
    """Names of the parameters that a method, or a torch optimizer, takes. Raises UnknownName if there is none."""
    if method in METHODS:
        return network_defaults(method)
    _, *parameters = inspect.signature(_recipe(method, {}).make).parameters  # the first is params
    return parameters


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
    if method not in METHODS:
        if limiting is not None:
            raise BadValue(f"activation limiting goes with the methods of flowopt list methods, not with {method}")
        try:
            return _recipe(method, parameters).make(list(model.parameters()))  # type: ignore[no-any-return]
        except (TypeError, ValueError) as error:
            raise BadValue(f"{method}: {error}") from error
    filled = with_epoch_length(method, parameters, steps_an_epoch)
    layers = None if limiting is None else ActivationLimiting(model, limiting)
    return FlowOptimizer(model.named_parameters(), method, seed=seed, limiting=layers, **filled)


def check_optimizer(method: str, parameters: dict[str, Any], limiting: str | None) -> None:
    """Build the optimizer for a trifle, so that what is wrong with it is said before any work is done."""
    make_optimizer(method, parameters, nn.Linear(1, 1), limiting=limiting)


def _recipe(method: str, parameters: dict[str, Any]) -> OptimizerRecipe:
    if method.lower().startswith("scipy:"):
        raise BadValue(
            f"{method} needs the whole objective again and again, and a mini-batch is a part of it; try torch:LBFGS"
        )
    recipe = as_optimizer(method, parameters)
    if recipe is None:
        raise UnknownName("method", method, METHODS)
    return recipe
