"""suggest_epsilon: the bounds of eps for a user's own model, data and optimizer, in a line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowopt.core.errors import BadValue, check_count
from flowopt.diagnostics._bounds import EpsilonBounds, epsilon_bounds
from flowopt.diagnostics.z_hat import name_parameters, rules, z_hats
from flowopt.functions.baselines.torch_optimizers import as_optimizer
from flowopt.networks import tasks
from flowopt.networks._optimizer import FlowOptimizer

Loss = Callable[[Any, Any], Tensor]


def suggest_epsilon(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    optimizer: str | type[Optimizer] | Callable[[Any], Optimizer] = "adam",
    loss: Loss | None = None,
    epochs: int = 1,
) -> EpsilonBounds:
    """Train a copy of the model for an epoch, and say between which values eps should be looked for.

        bounds = suggest_epsilon(model, loader, optimizer=torch.optim.Adam)
        print(bounds, bounds.table())

    loader      yields batches (inputs, targets); they are moved to the model's device.
    optimizer   a method's name (`flowopt.method`), "torch:Adam", a torch optimizer class, or a factory:
                ``lambda params: torch.optim.Adam(params, lr=0.1)``. See `z_hats` for those that are known.
    loss        ``loss(output, targets)``; None: cross entropy of logits ``(..., C)`` for whole numbers as targets, mean
                squared error for others.

    The model stays as it is, its gradients and its mode included, and so do torch's random numbers and the loader's
    generator, if it has one. eps is looked for at the given learning rate.

    Raises BadValue for an optimizer outside the family, a loader that yields nothing, and a loss without a gradient.
    """
    check_count("suggest_epsilon", "epochs", epochs, 1)
    trained = copy.deepcopy(model).train()
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    if not parameters:
        raise BadValue("suggest_epsilon: the model has no parameter that can be trained")
    steps = _made(optimizer, trained)
    rules(steps)  # raises for one outside the family, before any work
    devices = {parameter.device for parameter in parameters if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)), _generators_kept(loader):
        for epoch in range(1, epochs + 1):
            if not _train(trained, loader, steps, loss, parameters[0].device):
                raise BadValue(
                    f"suggest_epsilon: the loader yields no batch in epoch {epoch}; it must start anew each time"
                )
    return epsilon_bounds(z_hats(steps))


def _made(given: str | type[Optimizer] | Callable[[Any], Optimizer], model: nn.Module) -> Optimizer:
    """The optimizer of the model, with the names of its parameters."""
    if isinstance(given, Optimizer):
        raise BadValue("suggest_epsilon trains a copy of the model: give an optimizer's class or factory, no instance")
    recipe = as_optimizer(given, {})
    if recipe is None:
        return FlowOptimizer(model.named_parameters(), given)  # type: ignore[arg-type]
    found = recipe.make(list(model.parameters()))
    if not isinstance(found, Optimizer):
        raise BadValue(f"suggest_epsilon: {recipe.label} makes a {type(found).__name__}, not a torch optimizer")
    mine = set(model.parameters())
    if not all(parameter in mine for group in found.param_groups for parameter in group["params"]):
        raise BadValue("suggest_epsilon trains a copy of the model: the factory must take the parameters it is given")
    name_parameters(found, model)
    return found


def _train(
    model: nn.Module, loader: Iterable[Any], optimizer: Optimizer, loss: Loss | None, device: torch.device
) -> int:
    """An epoch; the number of batches."""
    steps = 0
    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise BadValue("suggest_epsilon: the loader must yield pairs (inputs, targets)")
        inputs, targets = (part.to(device) if isinstance(part, Tensor) else part for part in batch)
        optimizer.step(partial(_closure, model, optimizer, loss or _usual_loss(targets), inputs, targets))
        steps += 1
    return steps


def _closure(model: nn.Module, optimizer: Optimizer, loss: Loss, inputs: Any, targets: Any) -> Any:
    optimizer.zero_grad()
    value = loss(model(inputs), targets)
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise BadValue("suggest_epsilon: the loss does not depend on the model's parameters")
    if not bool(torch.isfinite(value).all()):
        raise BadValue(
            f"suggest_epsilon: the loss is {value.detach()}: look at the data, or take a lower learning rate (a "
            "factory sets it)"
        )
    value.backward()  # type: ignore[no-untyped-call]
    return value.detach()


def _usual_loss(targets: Any) -> Loss:
    if not isinstance(targets, Tensor):
        raise BadValue(
            f"suggest_epsilon: give loss=..., since the targets are not a tensor but {type(targets).__name__}"
        )
    return tasks.squared_error if targets.is_floating_point() else tasks.cross_entropy


@contextmanager
def _generators_kept(loader: Iterable[Any]) -> Iterator[None]:
    """Put the loader's own random numbers back to where they were."""
    found = [getattr(owner, "generator", None) for owner in (loader, getattr(loader, "sampler", None))]
    states = [(generator, generator.get_state()) for generator in found if isinstance(generator, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
