"""The networks on which the claims on eps are tried: a perceptron, a convolutional one, and LSTMs on two texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from flowopt.diagnostics.z_hat import z_hats
from flowopt.networks._batches import batches
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.tasks import loss_for
from flowopt.training._heat_map import HeatMap, heat_map
from flowopt.training.datasets import Dataset, load
from flowopt.training.models import build

CHARACTERS, WORDS, VOCABULARY, LENGTH = 40_000, 10_000, 300, 20
"""Of the texts: characters of one, words of the other, of which so many different ones are known; words of a sample."""


@dataclass(frozen=True)
class Study:
    """A network, its data, the paper's weight decay for it, and the map of learning rate and eps made of it."""

    name: str
    spec: str
    data: Callable[[], Dataset]
    lr: tuple[float, ...]
    eps: tuple[float, ...]
    epochs: int
    weight_decay: float
    batch: int = 128

    def network(self, seed: int) -> nn.Module:
        """The network of a seed."""
        data = self.data()
        shape: dict[str, Any] = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
        stepwise: dict[str, Any] = {"fused": False} if self.spec.startswith("lstm") else {}
        return build(self.spec, **shape, seed=seed, **stepwise)

    def map(
        self,
        x: tuple[str, tuple[float, ...]],
        y: tuple[str, tuple[float, ...]],
        seeds: int,
        method: str = "adam",
        **hyperparameters: float,
    ) -> HeatMap:
        """A heat map with these values. Ctrl-C raises KeyboardInterrupt: half a map proves nothing."""
        found = heat_map(
            self.network,
            method,
            x,
            y,
            self.data(),
            epochs=self.epochs,
            seeds=range(seeds),
            batch_size=self.batch,
            hyperparameters={"weight_decay": self.weight_decay} | hyperparameters,
        )
        if found.interrupted:
            raise KeyboardInterrupt
        return found

    @cache  # noqa: B019 (the studies are constants)
    def rate_and_eps(self, seeds: int) -> HeatMap:
        """The map of Adam over lr and eps."""
        return self.map(("lr", self.lr), ("eps", self.eps), seeds)

    @cache  # noqa: B019
    def z_hats(self, seed: int) -> dict[str, Tensor]:
        """z_hat of every tensor at the end of the first epoch of Adam with its usual parameters."""
        data, model = self.data(), self.network(seed)
        optimizer = FlowOptimizer(model.named_parameters(), "adam", weight_decay=self.weight_decay)
        loss_of = loss_for(data.task)
        for index in batches(len(data.train_inputs), self.batch, seed=0, epoch=0):
            optimizer.zero_grad()
            torch.autograd.backward(loss_of(model(data.train_inputs[index]), data.train_targets[index]))
            optimizer.step()
        return z_hats(optimizer)


@cache
def digits() -> Dataset:
    """The digits, pixels / 16."""
    return load("digits", preprocessing="scaled", seed=0)


def prose() -> str:
    """English that every Python has: its language reference, as `help` shows it. It differs a little by version."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


@cache
def characters() -> Dataset:
    """The next character, in samples of 32."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prose.txt"
        file.write_text(prose()[:CHARACTERS], encoding="utf-8")
        return load(f"text:{file}", length=32)


@cache
def words() -> Dataset:
    """The next word or sign; the rare ones are one and the same, number 0."""
    found = re.findall(r"[a-z]+|[^\sa-z]", prose().lower())[:WORDS]
    known = [word for word, _ in Counter(found).most_common(VOCABULARY - 1)]
    numbers = {word: number for number, word in enumerate(known, start=1)}
    tokens = torch.tensor([numbers.get(word, 0) for word in found])
    count = (len(tokens) - 1) // LENGTH
    inputs, targets = (tokens[start : start + count * LENGTH].view(count, LENGTH) for start in (0, 1))
    cut = 9 * count // 10
    return Dataset("words", "language", inputs[:cut], targets[:cut], inputs[cut:], targets[cut:], outputs=VOCABULARY)


CLASSIFIER, LANGUAGE = 5e-4, 1.2e-6
"""Weight decay: the paper's for images and for language."""
_SMALL_EPS = (1.0, 1e-4, 1e-8)
_TEXT: dict[str, Any] = {
    "lr": (10.0, 0.03),
    "eps": _SMALL_EPS,
    "epochs": 3,
    "weight_decay": LANGUAGE,
    "batch": 16,
}

MLP = Study("perceptron", "mlp:64-32", digits, (10.0, 1.0, 0.1, 0.01), (10.0, 1.0, 1e-2, 1e-4, 1e-8), 10, CLASSIFIER)
CNN = Study("convolutional", "cnn:8-16", digits, (1.0, 0.01), _SMALL_EPS, 5, CLASSIFIER)
LSTM = Study("LSTM, characters", "lstm:32", characters, **_TEXT)
WORD_LSTM = Study("LSTM, words", "lstm:32", words, **_TEXT)
