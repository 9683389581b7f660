"""Long short-term memory: over series (classification, regression) and over text (language)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowopt.core.errors import BadValue, check_choice, check_range
from flowopt.training.models.data_shape import DataShape


class StepByStepLSTM(nn.Module):
    """The layers of an nn.LSTM (batch first) from elementary operations, with its parameters under their names.

    torch's own kernel is faster, but torch.func.vmap, forward-mode derivatives and torch.compile cannot look into it.
    """

    def __init__(self, fused: nn.LSTM) -> None:
        super().__init__()
        self.width, self.layers, self.dropout = fused.hidden_size, fused.num_layers, nn.Dropout(fused.dropout)
        for name, parameter in fused.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, T, F) -> the outputs of the last layer (N, T, width), alone in a tuple."""
        for layer in range(self.layers):
            x = self._layer(layer, self.dropout(x) if layer else x)
        return (x,)

    def _layer(self, layer: int, x: Tensor) -> Tensor:
        into, over, into_bias, over_bias = (
            getattr(self, f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden = cell = x.new_zeros(x.shape[0], self.width)
        outputs = []
        for driven in F.linear(x, into, into_bias).unbind(1):
            write, keep, value, read = (driven + F.linear(hidden, over, over_bias)).chunk(4, -1)
            cell = keep.sigmoid() * cell + write.sigmoid() * value.tanh()
            hidden = read.sigmoid() * cell.tanh()
            outputs.append(hidden)
        return torch.stack(outputs, 1)


class LSTM(nn.Module):
    """An LSTM whose last state, or every state, goes through a linear layer."""

    def __init__(
        self, embedding: nn.Module, core: nn.Module, head: nn.Linear, *, dropout: float, every_step: bool
    ) -> None:
        super().__init__()
        self.embedding, self.core, self.dropout, self.head = embedding, core, nn.Dropout(dropout), head
        self.every_step = every_step

    def forward(self, x: Tensor) -> Tensor:
        """Series (N, T, F) -> (N, outputs), or tokens (N, T) -> logits (N, T, V)."""
        states = self.core(self.embedding(x))[0]
        answer: Tensor = self.head(self.dropout(states if self.every_step else states[:, -1]))
        return answer


def lstm(
    data: DataShape, width: int = 128, layers: int = 1, *, dropout: float = 0.0, tie: bool = False, fused: bool = True
) -> nn.Module:
    """LSTM of `layers` layers of `width` units.

    A series ``(T, F)``: classifies or predicts from the last state. A text ``(T,)``: predicts every next token.

    dropout: of every layer's outputs. tie: the token embedding is also the output layer's weight ("language" only).
    fused: False writes the recurrence out step by step, as torch.func.vmap (ensembles) and fullgraph compilation need;
    the parameters, their names and the results up to rounding stay the same. (ECCO-DNN does not print the sizes of the
    LSTM that it trains on household power.)
    """
    check_range(data.model, "dropout", dropout, 0.0, 1.0)
    check_choice(data.model, "tie", tie, (False, True))
    check_choice(data.model, "fused", fused, (False, True))
    language = data.task == "language"
    if tie and not language:
        raise BadValue(f"{data.model}: tie=True shares the weights of a token embedding, which only 'language' has")
    head = nn.Linear(width, data.outputs)
    embedding: nn.Embedding | nn.Identity = nn.Identity()
    if language:
        data.context()
        embedding = nn.Embedding(data.outputs, width)
        nn.init.uniform_(embedding.weight, -0.1, 0.1)  # torch's N(0, 1) would make tied logits of size sqrt(width)
        if tie:
            head.weight = embedding.weight
    inputs = width if language else data.series_features()
    core = nn.LSTM(inputs, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
    return LSTM(embedding, core if fused else StepByStepLSTM(core), head, dropout=dropout, every_step=language)
