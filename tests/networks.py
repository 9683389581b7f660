"""What the tests of FlowOptimizer run on: a tiny network, its batches, and every named method."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from catalogue import NAMES, same
from torch import Tensor, nn
from torch.optim import Optimizer

from flowopt import method
from flowopt.core.roles import EpochLength, StepSize, roles
from flowopt.methods import METHODS
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.systems.adaptive_flow import AdaptiveFlow

SECOND_ORDER = [name for name in NAMES if method(name).needs_hvp]
CALLS_CLOSURE = [name for name in NAMES if method(name).needs_hvp or method(name).integrator.stages > 1]
GRADIENT_AT_HAND = [name for name in NAMES if name not in CALLS_CLOSURE]
NEEDS_LOSS = [name for name in GRADIENT_AT_HAND if method(name).needs_value]
GRADIENT_ONLY = [name for name in GRADIENT_AT_HAND if name not in NEEDS_LOSS]
REJECTING = [name for name in NAMES if method(name).rejects]

ADAPTIVE = [name for name in NAMES if isinstance(method(name).system, AdaptiveFlow)]
GENTLE: dict[str, dict[str, Any]] = {
    **{name: {"lr": 0.02} for name in ADAPTIVE},
    "adamod": {"lr": 0.02, "beta3": 0.9},
    "tlr_adam": {"lr": 0.02, "max_factor": 1.2},
    "armijo": {"h0": 0.2},
    "bb": {"h0": 0.05},
    "bbi": {"dt": 0.3},
    "ecdsep": {"dt": 0.2},
    "ecdsep_strang": {"dt": 0.2},
    "elra": {"alpha0": 0.05},
    "flow": {"rtol": 1e-3, "atol": 1e-3},
    "gd": {"lr": 0.2},
    "gdm": {"lr": 0.05},
    "hypergradient": {"lr": 0.1},
    "implicit": {"dt": 0.5},
    "nesterov": {"lr": 0.05},
    "newton": {"dt": 0.5, "damping": 2.0},
    "polyak": {"h_max": 0.5},
    "sps": {"h_max": 0.5},
    "step_decay": {"lr": 0.2, "every": 10},
    "tlr": {"lr": 0.1, "max_factor": 1.2},
    "tlr_gdm": {"lr": 0.02, "max_factor": 1.2},
}
"""Values that tests of a hundred steps bit for bit were written with: far from where rounding decides, in bfloat16 too.

No method needs to be here: `settings` looks for a step size, of the ranges that are declared.
"""

BATCHES = 4


def network(dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Sequential:
    """Two linear layers of 13 parameters in all, the same each time."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).to(dtype)


@cache
def data() -> tuple[Tensor, Tensor]:
    """32 samples that a network of the same kind has labelled."""
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return x, 2 * network(seed=5)(x)


def loss_of(model: nn.Module, number: int | None = None) -> Tensor:
    """Mean squared error on batch `number` (they come round again), or on all samples."""
    x, y = data() if number is None else (part[number % BATCHES :: BATCHES] for part in data())
    first = next(model.parameters())
    x, y = x.to(first), y.to(first)
    return nn.functional.mse_loss(model(x), y)


def closure(
    model: nn.Module, optimizer: Optimizer, number: int | None = None, loss: Callable[..., Tensor] = loss_of
) -> Callable[[], Tensor]:
    """What a loop hands to step(): loss and gradients, differentiable again where the method differentiates again."""
    twice = isinstance(optimizer, FlowOptimizer) and optimizer.method.needs_hvp

    def compute() -> Tensor:
        optimizer.zero_grad()
        value = loss(model, number)
        parameters = [p for p in model.parameters() if p.requires_grad]
        # not backward(create_graph=True), which warns of the cycle that it leaves behind
        grads = torch.autograd.grad(value, parameters, create_graph=twice, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        return value

    return compute


@cache
def settings(name: str) -> dict[str, Any]:
    """The parameters with which a method gets somewhere on the tiny network, whose epochs are known here.

    The step size is its default if that brings the loss down to a tenth in 20 steps, else the smallest in its range
    that does; if none does, the one that brings it lowest.
    """
    entry = METHODS[name]
    lengths = {key: BATCHES for key in roles(entry.build, EpochLength) if entry.defaults[key] is not None}
    if name in GENTLE:
        return lengths | GENTLE[name]
    ((step, declared),) = roles(entry.build, StepSize).items()
    start, found = loss_of(network()).item(), {}
    for value in (entry.defaults[step], *declared.grid(9)):
        found[value] = _loss_after(20, name, lengths | {step: value})
        if found[value] < 0.1 * start:
            break
    return lengths | {step: min(found, key=found.__getitem__)}


def _loss_after(steps: int, name: str, given: dict[str, Any]) -> float:
    model = network()
    optimizer = FlowOptimizer(model.named_parameters(), name, compile=False, **given)
    for _ in range(steps):
        optimizer.step(closure(model, optimizer))
    with optimizer.accepted():
        return loss_of(model).nan_to_num(nan=torch.inf).item()


def build(parameters: Any, name: str, **given: Any) -> FlowOptimizer:
    """The method at the step size that suits the tiny network."""
    return FlowOptimizer(parameters, name, compile=False, **settings(name) | given)


def train(model: nn.Module, optimizer: Optimizer, steps: int, first: int = 0) -> None:
    """Steps on batch `first` and those after it."""
    for number in range(first, first + steps):
        optimizer.step(closure(model, optimizer, number))


def trained(name: str, steps: int, dtype: torch.dtype = torch.float64, **given: Any) -> tuple[nn.Module, FlowOptimizer]:
    """A network after so many steps of a method."""
    model = network(dtype)
    optimizer = build(model.parameters(), name, **given)
    train(model, optimizer, steps)
    return model, optimizer


def vector(model: nn.Module) -> Tensor:
    """All parameters, a copy ``(D,)``."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Every parameter and buffer, bit for bit."""
    state, expected = one.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    wrong = [name for name in state if not same(state[name], expected[name])]
    assert not wrong, {name: (state[name], expected[name]) for name in wrong}
