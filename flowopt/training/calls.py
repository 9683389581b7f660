"""What comes into an optimizer from outside, checked: the method, the call of a step, losses and gradients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from flowopt.blocks import SCALAR
from flowopt.errors import BadValue, check_range
from flowopt.kernel import Method
from flowopt.papers import METHODS, as_method
from flowopt.parameters import warn_of_a_factor
from flowopt.transforms.decoupled_decay import DecoupledDecay


class NetworkMethod(NamedTuple):
    """A method as networks run it, and the defaults of the parameter groups that go with it."""

    method: Method
    lr: float
    """Learning rate of a group: the method's step size where that is a parameter ``lr``, else the factor 1."""
    unit: float
    """The learning rate at which a group moves by just the controller's step."""
    weight_decay: float


def network_method(given: str | Method, overrides: dict[str, Any]) -> NetworkMethod:
    """The method for a network, one row. Raises BadValue for one that networks cannot run."""
    overrides, decay = without_decay(given, overrides)
    weight_decay = 0.0 if decay is None else decay
    known = METHODS[given].defaults if isinstance(given, str) and given in METHODS else {}
    factor = overrides.pop("lr", 1.0) if "lr" not in known else 1.0
    check_range("FlowOptimizer", "weight_decay", weight_decay, 0.0)
    check_range("FlowOptimizer", "lr", factor, 0.0)
    method = as_method(given, overrides)
    for part in method.transforms:
        if isinstance(part, DecoupledDecay):
            weight_decay = float(part.rate)
    lr = overrides.get("lr", known.get("lr"))
    controller = method.controller
    if lr is None or lr not in (controller.parameters.get("h"), controller.parameters.get("lr")):
        return NetworkMethod(method.for_rows(1, SCALAR), factor, 1.0, weight_decay)
    if controller.adaptive:
        return NetworkMethod(method.for_rows(1, SCALAR), float(lr), float(lr), weight_decay)
    # a step size that only the groups change: theirs times 1, so that it is exactly theirs
    method = as_method(given, overrides | {"lr": 1.0})
    return NetworkMethod(method.for_rows(1, SCALAR), float(lr), 1.0, weight_decay)


def without_decay(given: str | Method, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The parameters of a method, and apart from them the weight decay w that adds w/2 |q|^2 to the objective, or None.

    A weight decay that is not such a term (adamw's) stays the method's. Raises BadValue for what is not a flow of ours.
    """
    if isinstance(given, str) and given.partition(":")[0] in ("torch", "scipy"):
        raise BadValue(f"{given} is not a flow of ours; use it directly, a network at a time, as torch.optim offers it")
    known = METHODS[given].defaults if isinstance(given, str) and given in METHODS else {}
    left = dict(overrides)
    if given == "elra":
        warn_of_a_factor(left.get("weight_decay", 0.0))
    return left, left.pop("weight_decay", None) if known.get("weight_decay", 0.0) == 0 else None


OF_A_GROUP = {"params", "param_names", "lr", "weight_decay", "maximize"}


@cache
def _torch_options() -> frozenset[str]:
    """What torch's optimizers can be told group by group."""
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)]
    return frozenset(name for kind in kinds for name in inspect.signature(kind).parameters)


def check_group(group: dict[str, Any], method: Method, maximize: bool) -> None:
    """Raise BadValue for a group with a number out of range, or an option of the flow or of other optimizers.

    What is neither may be a note of the user's or of a scheduler's.
    """
    for name in group.keys() - OF_A_GROUP:
        if name in method.options:
            raise BadValue(
                f"{name} belongs to the whole flow: give it to FlowOptimizer. A group has lr and weight_decay"
            )
        if name in _torch_options():
            raise BadValue(
                f"{name} is an option of other optimizers, not of {method.name}; a group has lr and weight_decay"
            )
    for name in ("lr", "weight_decay"):
        check_range("param_group", name, group.get(name, 0.0), 0.0)
    if group.get("maximize", maximize) != maximize:
        raise BadValue("maximize belongs to the whole flow: give it to FlowOptimizer")


def check_call(method: Method, calls_closure: bool, closure: Any, loss: Any) -> None:
    """Raise BadValue unless the step gets what the method needs."""
    if closure is not None and not callable(closure):
        raise BadValue(f"step(closure): {closure!r} is not a function; a loss goes in as step(loss=loss)")
    if closure is not None and loss is not None:
        raise BadValue("step takes a closure or a loss, not both; the closure returns the loss")
    if closure is None and calls_closure:
        many = f"the gradient at {method.integrator.stages} points a step"
        what = "Hessian-vector products" if method.needs_hvp else many
        raise BadValue(
            f"{method.name} needs {what}: call step(closure), with a closure that computes loss and gradient"
        )
    if closure is None and loss is None and method.needs_value:
        raise BadValue(f"{method.name} needs the loss: call step(loss=loss) after loss.backward(), or step(closure)")


def loss_value(method: Method, loss: Any, device: torch.device) -> Tensor:
    """The loss as a number per row, ``(1,)``; 0 where there is none and none is needed."""
    if loss is None:
        if method.needs_value:
            raise BadValue(f"{method.name} needs the loss: the closure must return it")
        return torch.zeros(1, dtype=SCALAR, device=device)
    value = torch.as_tensor(loss).detach()
    if value.numel() != 1:
        raise BadValue(f"the loss must be one number, not a tensor of shape {tuple(value.shape)}; take its mean")
    return value.to(device=device, dtype=SCALAR).reshape(1)


def dense_gradient(parameter: Tensor, name: str) -> Tensor:
    """The gradient of a parameter, zeros where it has none. Raises BadValue for a sparse one."""
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    if parameter.grad.is_sparse:
        raise BadValue(
            f"the gradient of {name} is sparse, and a flow moves all coordinates together; use sparse=False in the "
            "embedding, or torch.optim.SparseAdam for it"
        )
    return parameter.grad
