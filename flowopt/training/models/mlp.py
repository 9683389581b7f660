"""Multilayer perceptrons, and the fully connected layers that other networks end with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from flowopt.core.errors import check_choice
from flowopt.training.models.data_shape import DataShape

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def activation_named(owner: str, name: str) -> type[nn.Module]:
    """The module of an activation; BadValue for one that does not exist."""
    check_choice(owner, "activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def dense(widths: Sequence[int], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear layers between successive widths, with the activation between them and none at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]


def mlp(data: DataShape, *widths: int, activation: str = "relu") -> nn.Module:
    """Multilayer perceptron with hidden layers of these widths; samples of any shape are flattened.

    ELRA trains "mlp:10" on MNIST, TLR "mlp:1000".
    """
    sizes = (math.prod(data.sample), *widths, data.outputs)
    return nn.Sequential(nn.Flatten(), *dense(sizes, activation_named(data.model, activation)))
