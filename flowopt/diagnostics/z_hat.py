"""z_hat, the numbers that an optimizer's eps competes with, read from the optimizer's own memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowopt.core._registry import lookup
from flowopt.core.errors import BadValue
from flowopt.core.parts import System
from flowopt.core.roles import MomentumFactor, values
from flowopt.diagnostics._histogram import PIECE
from flowopt.diagnostics._readers import Group, Memory, known, reader_of
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks._saved import FLOW
from flowopt.networks._trainable_lr import TrainableLR
from flowopt.systems.adaptive_flow import AdaptiveFlow

TRIAL = "trial."
"""What the paths of a FlowOptimizer's leaves begin with."""


class Rule(NamedTuple):
    """How the optimizer of a parameter group uses its eps."""

    system: AdaptiveFlow
    lr: float
    """alpha: the learning rate now."""
    momentum: bool
    """Whether what a large eps leaves of it has a momentum."""

    def plain_rate(self, eps: float) -> float:
        """Learning rate of the (momentum) SGD that the optimizer is where eps is far above z_hat."""
        return float(dataclasses.replace(self.system, eps=eps).plain_rate(self.lr))

    @property
    def averages(self) -> bool:
        """Whether the momentum is an average of gradients, where that of torch.optim.SGD is their sum."""
        return self.momentum and bool(values(self.system, MomentumFactor))

    def sgd_rate(self, eps: float) -> float:
        """The lr of torch.optim.SGD(momentum=beta1) with which it makes the same steps in the long run."""
        (kept,) = values(self.system, MomentumFactor).values()
        return self.plain_rate(eps) * (1 - float(kept))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the system's name and parameters, and the rest."""
        numbers = {
            name: value if isinstance(value, (str, bool)) else float(value)
            for name, value in self.system.parameters.items()
        }
        return {"system": self.system.name, "parameters": numbers, "lr": self.lr, "momentum": self.momentum}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rule:
        """The rule again. Raises UnknownName for a system that does not exist."""
        system: Any = lookup(System, data["system"])(**data["parameters"])
        return cls(system, data["lr"], data["momentum"])


@dataclass(frozen=True)
class Block:
    """The coordinates of one parameter tensor, as its optimizer remembers them."""

    name: str
    shape: torch.Size
    memory: Memory
    read: Callable[[Memory], Tensor]

    def z_hat(self, piece: slice = slice(None)) -> Tensor:
        """z_hat ``(1, n)`` of the coordinates in that slice, in single precision at least."""
        size = self.shape.numel()
        part = {key: leaf[:, piece] if leaf.shape[1] == size else leaf for key, leaf in self.memory.items()}
        vectors = [leaf.dtype for leaf in self.memory.values() if leaf.shape[1] == size]
        dtype = reduce(torch.promote_types, vectors, torch.float32)  # numbers may be in double precision
        return self.read({key: leaf.to(dtype) for key, leaf in part.items()})

    def pieces(self) -> Iterator[Tensor]:
        """z_hat piece by piece, so that no temporary is as large as the parameter; on an accelerator all at once."""
        size = self.shape.numel()
        length = PIECE if all(leaf.is_cpu for leaf in self.memory.values()) else size
        for start in range(0, size, length):
            yield self.z_hat(slice(start, start + length))


@torch.no_grad()
def z_hats(optimizer: Optimizer) -> dict[str, Tensor]:
    """z_hat of every parameter that has had a gradient, by name, as of the last step; shaped like the parameter.

    Far above eps a coordinate moves adaptively, far below it as (momentum) SGD does. Takes flowopt.FlowOptimizer with
    an adaptive method; torch.optim's Adagrad, RMSprop, Adam, AdamW, NAdam and RAdam; pytorch_optimizer's AdaBelief,
    DiffGrad, AdaMod and MADGRAD; any of them inside TrainableLR. RAdam, DiffGrad and AdaMod add eps to sqrt(v) before
    its bias correction, so theirs is sqrt(v). A complex number has two, in a last dimension.

    A number below 0, -r, means: less than r, and not known better (the AdaBelief of pytorch_optimizer keeps v + eps, in
    whose rounding errors a small v is lost).

    Raises BadValue for an optimizer outside the family, and before the first step. Source: epsilon from gradient
    histograms, Table 5.
    """
    found = blocks(optimizer)
    if not found:
        raise BadValue(f"{type(optimizer).__name__} has made no step yet, so there is no z_hat; call step() first")
    return {block.name: block.z_hat().reshape(block.shape) for block in found}


def rules(optimizer: Optimizer) -> list[Rule]:
    """How each parameter group uses its eps. Raises BadValue for an optimizer outside the family."""
    optimizer = _inner(optimizer)
    if isinstance(optimizer, FlowOptimizer):
        system = _own_system(optimizer)
        momentum = bool(values(system, MomentumFactor))
        return [Rule(system, rate, momentum) for rate in _own_rates(optimizer)]
    reader = reader_of(optimizer)
    return [Rule(reader.system(group), float(group["lr"]), reader.momentum(group)) for group in optimizer.param_groups]


def blocks(optimizer: Optimizer) -> list[Block]:
    """The parameters that the optimizer remembers something of. Raises BadValue for one outside the family."""
    optimizer = _inner(optimizer)
    rules(optimizer)  # raises for one outside the family
    return [
        _own_block(slot, optimizer) if isinstance(optimizer, FlowOptimizer) else _block(slot, optimizer)
        for slot in _slots(optimizer)
        if slot.parameter.numel() and optimizer.state.get(slot.parameter)
    ]


def name_parameters(optimizer: Optimizer, model: nn.Module) -> None:
    """Note the names of the model's parameters in the optimizer's groups, where torch notes those that it is told."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        group.setdefault("param_names", [names[parameter] for parameter in group["params"]])


def _inner(optimizer: Optimizer) -> Optimizer:
    return optimizer.base if isinstance(optimizer, TrainableLR) else optimizer


class _Slot(NamedTuple):
    """A parameter of an optimizer."""

    name: str
    parameter: Tensor
    group: Group
    place: int
    """Its place among all parameters."""


def _slots(optimizer: Optimizer) -> list[_Slot]:
    found: list[_Slot] = []
    taken: set[str] = set()
    for number, group in enumerate(optimizer.param_groups):
        plain = [f"parameter {place} of group {number}" for place in range(len(group["params"]))]
        for name, own, parameter in zip(group.get("param_names", plain), plain, group["params"], strict=True):
            unique = f"{name} ({own})" if name in taken else name
            taken.add(unique)
            found.append(_Slot(unique, parameter, group, len(found)))
    return found


def _block(slot: _Slot, optimizer: Optimizer) -> Block:
    reader, numbers = reader_of(optimizer), {"unit": torch.tensor(torch.finfo(slot.parameter.dtype).eps)}
    if "step" in slot.group:  # as pytorch_optimizer counts
        numbers["step"] = torch.tensor(float(slot.group["step"]))
    memory = _rows({**numbers, **optimizer.state[slot.parameter]}, slot)
    return Block(slot.name, _real(slot.parameter).shape, memory, lambda part: reader.z_hat(slot.group, part))


def _own_block(slot: _Slot, optimizer: FlowOptimizer) -> Block:
    """The leaves of the pending trial: vectors stand under the parameter, counters of all parameters in the flow."""
    counters = {path: leaf[slot.place] for path, leaf in _flow(optimizer).items() if path.startswith(TRIAL)}
    leaves = {**counters, **optimizer.state[slot.parameter]}
    memory = _rows({path.removeprefix(TRIAL): leaf for path, leaf in leaves.items() if path.startswith(TRIAL)}, slot)
    system = _own_system(optimizer)
    return Block(slot.name, _real(slot.parameter).shape, memory, lambda part: system.z_hat(dict(part)))


def _rows(kept: Mapping[str, Any], slot: _Slot) -> Memory:
    """The tensors among what is kept, as rows where the parameter is: torch keeps counts on the CPU."""
    tensors = {key: leaf for key, leaf in kept.items() if isinstance(leaf, Tensor)}
    return {key: _real(leaf).reshape(1, -1).to(slot.parameter.device) for key, leaf in tensors.items()}


def _flow(optimizer: FlowOptimizer) -> Mapping[str, Any]:
    """The numbers of the whole flow; none before the first step."""
    found: Mapping[str, Any] = optimizer.state.get(FLOW, {})  # type: ignore[call-overload]
    return found


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()


def _own_system(optimizer: FlowOptimizer) -> AdaptiveFlow:
    system = optimizer.method.system
    if not isinstance(system, AdaptiveFlow):
        raise BadValue(
            f"the method {optimizer.method.name!r} has no eps that decides how adaptive it is; known: {known()}"
        )
    return system


def _own_rates(optimizer: FlowOptimizer) -> list[float]:
    """The learning rate of each group: its lr_factor times the step that the method's rule is at."""
    flow = _flow(optimizer)
    rates = {id(group): float(group["lr"]) for group in optimizer.param_groups}
    for slot in _slots(optimizer):
        if "h" in flow and slot.parameter in optimizer.state:
            rates[id(slot.group)] = float(flow["h"]) * float(flow["lr_factors"][slot.place])
    return list(rates.values())
