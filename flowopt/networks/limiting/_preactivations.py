"""Layers whose pre-activation is affine in their parameters, and the inputs that those multiply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from flowopt.core.errors import BadValue

Inputs = tuple[Tensor, ...]
"""What the parameters of a layer multiply, detached; samples along the first dimension of each."""

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNN, nn.LSTM, nn.GRU)


@dataclass(frozen=True)
class Affine:
    """``W x + b`` of a Linear (each vector of the leading dimensions is a sample) or a Conv (each image is one)."""

    names: tuple[str, ...] = ("weight", "bias")

    def inputs(self, layer: Any, given: Mapping[str, Any], output: Any) -> Inputs:
        """From the arguments and the result of the layer's forward: ``(N, in)`` or ``(N, channels, *positions)``."""
        x = given["input"].detach()
        if isinstance(layer, nn.Linear):
            return (x.reshape(-1, x.shape[-1]),)
        return (x if x.dim() == layer.weight.dim() else x.unsqueeze(0),)

    def apply(self, layer: Any, inputs: Inputs, values: Mapping[str, Tensor]) -> Tensor:
        """The pre-activation ``(N, *units)``, with these values in place of the parameters."""
        forward = F.linear if isinstance(layer, nn.Linear) else layer._conv_forward
        result: Tensor = forward(inputs[0], values["weight"], values.get("bias"))
        return result


@dataclass(frozen=True)
class Gates(Affine):
    """``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh`` of one direction of a one-layer RNN, LSTM or GRU.

    A sample is each time of each sequence. The hidden states are those of the forward pass: like the inputs of any
    layer, they are held fixed while its parameters move. Of a GRU only the reset and the update gate count: its
    candidate contains the reset gate and is not affine in the parameters.
    """

    reverse: bool = False

    def inputs(self, layer: Any, given: Mapping[str, Any], output: Any) -> Inputs:
        """x_t ``(N, in)`` and h_(t-1) ``(N, hidden)``."""
        x, start = given["input"], given.get("hx")
        if isinstance(x, PackedSequence):
            raise BadValue("activation limiting cannot read a PackedSequence; give the recurrent layer a padded tensor")
        time = 1 if layer.batch_first and x.dim() == 3 else 0
        states = output[0].detach().chunk(1 + layer.bidirectional, -1)[int(self.reverse)]
        first, count = torch.zeros_like(states.narrow(time, 0, 1)), x.shape[time] - 1
        if start is not None:
            first = (start[0] if isinstance(start, tuple) else start)[int(self.reverse)].detach().unsqueeze(time)
        parts = [states.narrow(time, 1, count), first] if self.reverse else [first, states.narrow(time, 0, count)]
        return x.detach().reshape(-1, x.shape[-1]), torch.cat(parts, time).reshape(-1, first.shape[-1])

    def apply(self, layer: Any, inputs: Inputs, values: Mapping[str, Tensor]) -> Tensor:
        """``(N, gates * hidden)``."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.names
        gates = F.linear(inputs[0], values[weight_ih], values.get(bias_ih))
        gates = gates + F.linear(inputs[1], values[weight_hh], values.get(bias_hh))
        return gates[:, : 2 * layer.hidden_size] if isinstance(layer, nn.GRU) else gates


def preactivations(layer: nn.Module) -> tuple[Affine, ...]:
    """The pre-activations of a layer of one of the KINDS: one, or two of a bidirectional recurrent layer."""
    if not isinstance(layer, nn.RNNBase):
        return (Affine(),)
    ends = ("_l0", "_l0_reverse")[: 1 + layer.bidirectional]
    stems = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(Gates(tuple(stem + end for stem in stems), reverse="reverse" in end) for end in ends)


def obstacle(layer: nn.Module) -> str:
    """Why the pre-activations of a module cannot be told from its inputs and its own parameters; empty if they can."""
    kind = next((kind for kind in KINDS if isinstance(layer, kind)), None)
    if kind is None:
        return f"is a {type(layer).__name__}, not one of {', '.join(kind.__name__ for kind in KINDS)}"
    if isinstance(layer, nn.RNNBase) and layer.num_layers > 1:
        return "hides the states between its stacked layers; build it from modules of one layer each"
    weights = {name for place in preactivations(layer) for name in place.names if name.startswith("weight")}
    if type(layer).forward is not kind.forward or not weights <= layer._parameters.keys():
        return f"has a forward of its own or a parametrised weight; use a plain {kind.__name__}"
    return ""
