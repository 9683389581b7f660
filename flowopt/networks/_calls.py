"""What comes into an optimizer from outside, checked: the method, the call of a step, losses and gradients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from flowopt.core._blocks import SCALAR
from flowopt.core._importing import REQUIRED
from flowopt.core.errors import BadValue, check_range, shown
from flowopt.core.method import Method
from flowopt.core.parameters import as_parameter, warn_of_a_factor
from flowopt.core.roles import Kind, LearningRate, StepSize, WeightDecay, values
from flowopt.core.state import Number
from flowopt.methods import as_method, entry
from flowopt.transforms.decoupled_decay import DecoupledDecay


class NetworkMethod(NamedTuple):
    """A method as networks run it, and the defaults of the parameter groups that go with it."""

    method: Method
    lr: Number
    """Learning rate of a group: the method's own where it declares one, else the factor 1."""
    unit: float
    """The learning rate at which a group moves by just the controller's step."""
    weight_decay: Number


def network_method(given: str | Method, overrides: dict[str, Any]) -> NetworkMethod:
    """The method for a network, one row. Raises BadValue for one that networks cannot run."""
    decay_name = _decay(given).name
    overrides, decay = without_decay(given, overrides)
    weight_decay = as_number("FlowOptimizer", decay_name, 0.0 if decay is None else decay)
    name = next(iter(_declared(given, LearningRate)), "")
    default = entry(given).defaults[name] if isinstance(given, str) and name else 1.0
    if overrides.get(name, default) is REQUIRED:
        as_method(given, overrides)  # raises, as it does for all that is missing
    # in the groups a tensor stays the tensor that it is; the method is built with its number
    lr = as_number(given if isinstance(given, str) else "FlowOptimizer", name or LR, overrides.pop(name or LR, default))
    method = as_method(given, overrides | ({name: float(lr)} if name else {}))
    for part in method.transforms:
        if isinstance(part, DecoupledDecay):
            rate = part.rate if decay is None else decay
            weight_decay = as_number("FlowOptimizer", decay_name, overrides.get(decay_name, rate))
    controller = method.controller
    if not name:
        return NetworkMethod(method.for_rows(1, SCALAR), lr, 1.0, weight_decay)
    if float(lr) not in values(controller, StepSize).values():
        if isinstance(lr, Tensor):
            raise BadValue(
                f"{method.name}: {name} = {shown(lr)} is not the lr of the groups, a factor here; give a number"
            )
        return NetworkMethod(method.for_rows(1, SCALAR), 1.0, 1.0, weight_decay)
    if controller.adaptive:
        return NetworkMethod(method.for_rows(1, SCALAR), lr, float(lr), weight_decay)
    # a step size that only the groups change: theirs times 1, so that it is exactly theirs
    method = as_method(given, overrides | {name: 1.0})
    return NetworkMethod(method.for_rows(1, SCALAR), lr, 1.0, weight_decay)


def _declared(given: str | Method, kind: type[Kind]) -> dict[str, Kind]:
    """The parameters of a named method with that role; none of a Method that is already built."""
    return entry(given).roles(kind) if isinstance(given, str) else {}


class _Decay(NamedTuple):
    """The weight decay of a method that the parameter groups may set."""

    name: str
    role: WeightDecay
    own: bool
    """Whether it is a parameter of the method: in networks every method has one."""


def _decay(given: str | Method) -> _Decay:
    """The method's own, the decoupled one where its formula has both kinds."""
    declared = _declared(given, WeightDecay)
    for name in sorted(declared, key=lambda name: not declared[name].decoupled):
        return _Decay(name, declared[name], own=True)
    return _Decay(WEIGHT_DECAY, WeightDecay(), own=False)


def network_defaults(name: str) -> dict[str, Any]:
    """The parameters of a named method in networks, with their defaults: there every method has a weight decay."""
    own = {} if _declared(name, WeightDecay) else {WEIGHT_DECAY: 0.0}
    return entry(name).defaults | own


def as_number(owner: str, name: str, value: Any) -> Number:
    """A number >= 0 of a parameter group: NumPy's as Python's, a tensor of one element as it is, to be changed later.

    Raises BadValue for what is neither.
    """
    number = as_parameter(owner, name, value)
    if isinstance(number, Tensor) and number.numel() != 1:
        raise BadValue(f"{owner}: {name} has the shape {tuple(number.shape)}; an optimizer takes one number")
    check_range(owner, name, number, 0.0)
    return value if isinstance(value, Tensor) else cast(Number, number)


def without_decay(given: str | Method, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The parameters of a method, and apart from them the weight decay w that adds w/2 |q|^2 to the objective, or None.

    A weight decay that is not such a term (adamw's) stays the method's. Raises BadValue for what is not a flow of ours.
    """
    if isinstance(given, str) and given.partition(":")[0] in ("torch", "scipy"):
        raise BadValue(f"{given} is not a flow of ours; use it directly, a network at a time, as torch.optim offers it")
    left = entry(given).canonical(overrides) if isinstance(given, str) else dict(overrides)
    name, role, own = _decay(given)
    if role.decoupled or name not in left:
        return left, None
    if role.factor:
        warn_of_a_factor(str(given), name, left[name], role.factor)
    decay = left.pop(name)
    return left | ({name: 0.0} if own else {}), decay


LR, WEIGHT_DECAY = "lr", "weight_decay"
"""What torch calls these two in a parameter group, whatever the method calls them."""
OF_A_GROUP = {"params", "param_names", LR, WEIGHT_DECAY, "maximize"}


@cache
def _torch_options() -> frozenset[str]:
    """What torch's optimizers can be told group by group."""
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)]
    return frozenset(name for kind in kinds for name in inspect.signature(kind).parameters)


def checked_group(group: dict[str, Any], method: Method, maximize: bool) -> dict[str, Any]:
    """A parameter group with its numbers as `as_number` has them.

    Raises BadValue for a number out of range, or an option of the flow or of other optimizers; what is neither may be
    a note of the user's or of a scheduler's.
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
    if group.get("maximize", maximize) != maximize:
        raise BadValue("maximize belongs to the whole flow: give it to FlowOptimizer")
    numbers = [name for name in (LR, WEIGHT_DECAY) if name in group]
    return group | {name: as_number("param_group", name, group[name]) for name in numbers}


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


def check_returned(method: Method, calls_closure: bool, loss: Any) -> None:
    """Raise BadValue where a closure returned nothing and the method needs the loss."""
    if loss is None and (method.needs_value or calls_closure):
        raise BadValue(f"the closure returned None, and {method.name} needs the loss: end it with `return loss`")


def drifting(method: Method) -> str:
    """What becomes of several processes with a method that uses the loss; empty where there is nothing to say."""
    if not (method.needs_value and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return ""
    return (
        f"{method.name} uses the loss, and there are {dist.get_world_size()} processes: if each hands in the loss of "
        "its own batch, their parameters drift apart (DistributedDataParallel averages gradients only). Hand in the "
        "mean over the processes: mean = loss.detach().clone(); torch.distributed.all_reduce(mean); "
        "step(loss=mean / torch.distributed.get_world_size()), or return that from the closure"
    )


def loss_value(loss: Any, device: torch.device) -> Tensor:
    """The loss as a number per row, ``(1,)``; 0 where there is none. Raises BadValue for what is not one number."""
    if loss is None:
        return torch.zeros(1, dtype=SCALAR, device=device)
    try:
        value = torch.as_tensor(loss).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadValue(f"the loss must be a number, not {shown(loss)}") from error
    if value.numel() != 1:
        raise BadValue(f"the loss must be one number, not a tensor of shape {tuple(value.shape)}; take its mean")
    if value.is_complex():
        raise BadValue("the loss must be a real number, not a complex one; take its real part or its absolute value")
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
