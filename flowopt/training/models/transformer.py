"""A small causal transformer: a language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowopt.core.errors import BadValue, check_choice, check_count
from flowopt.training.models.data_shape import DataShape


class CausalAttention(nn.Module):
    """Self-attention in which a token sees itself and what came before (Vaswani et al. 2017, section 3.2).

    Written out, because torch's fused kernel has no second derivative, which Newton-type methods need, and no rule for
    torch.func.vmap.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        split = self.query_key_value(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)  # (N, heads, 3, T, size)
        query, key, value = split.unbind(2)
        scores = query @ key.mT / query.shape[-1] ** 0.5
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        seen = scores.masked_fill(later, -torch.inf).softmax(-1) @ value
        mixed: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return mixed


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each normalised before and added to what it read (pre-norm)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), CausalAttention(width, heads))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        x = x + self.attention(x)
        processed: Tensor = x + self.perceptron(x)
        return processed


class Transformer(nn.Module):
    """Token and position embeddings, blocks, and a linear layer to the logits of the next token."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int, tie: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tie:
            self.head.weight = self.tokens.weight
        for module in self.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, T), T at most the context -> logits (N, T, V)."""
        length, context = tokens.shape[-1], self.positions.num_embeddings
        if length > context:
            raise BadValue(f"the transformer was built for texts of up to {context} tokens, not {length}")
        x = self.tokens(tokens) + self.positions.weight[:length]
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def transformer(data: DataShape, width: int = 128, layers: int = 4, *, heads: int = 4, tie: bool = False) -> nn.Module:
    """Causal transformer language model of `layers` pre-norm blocks of `width` units, for texts of up to T tokens.

    The form and the initialisation (normal, 0.02) of GPT-2 (Radford et al. 2019), which is "transformer:768x12" with
    heads=12 and tie=True. tie: the token embedding is also the output layer's weight.
    """
    check_count(data.model, "heads", heads, 1)
    check_choice(data.model, "tie", tie, (False, True))
    if width % heads:
        raise BadValue(f"{data.model}: the width {width} is not a multiple of the {heads} heads")
    return Transformer(data.outputs, data.context(), width, layers, heads, tie)
