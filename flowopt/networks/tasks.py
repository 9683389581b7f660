"""What a network is trained for: the loss of each task and the numbers that tell how well it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flowopt.core.errors import BadValue, UnknownName

Loss = Callable[[Tensor, Tensor], Tensor]
"""(output, target) -> mean over all targets, a scalar."""


@dataclass(frozen=True)
class Metric:
    """A number computed from a mean over the targets: ``finish(mean(output, target))``.

    Over several batches, average `mean` weighted by the number of targets, and `finish` once at the end: the perplexity
    of two batches is not the mean of their perplexities.
    """

    mean: Loss
    finish: Callable[[Tensor], Tensor] = torch.positive  # the mean as it is

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The metric of one batch, a scalar."""
        return self.finish(self.mean(output, target))


@dataclass(frozen=True)
class Task:
    """A loss and the metrics to report beside it."""

    loss: Loss
    metrics: Mapping[str, Metric]
    loss_of_many: Loss | None = None
    """The loss in a form that is faster where many networks are computed at once; None: as it is."""


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats: logits ``(..., C)`` against class numbers ``(...)``.

    Raises BadValue if the shapes do not go together.
    """
    if logits.shape[:-1] != target.shape:
        raise BadValue(
            f"cross entropy takes logits (..., classes) and class numbers (...), "
            f"not {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))


def cross_entropy_by_columns(logits: Tensor, target: Tensor) -> Tensor:
    """The same to rounding; of many networks at once, with few classes, several times faster on a CPU.

    torch's log_softmax is slow along short rows, and fast along columns.
    """
    if logits.shape[-1] >= 16:
        return cross_entropy(logits, target)
    return F.nll_loss(logits.reshape(-1, logits.shape[-1]).mT.log_softmax(0).mT, target.reshape(-1))


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of outputs ``(N, D)`` against targets ``(N, D)``.

    Raises BadValue unless the shapes are equal: ``(N, 1)`` against ``(N,)`` would silently compare all with all.
    """
    if output.shape != target.shape:
        raise BadValue(
            f"the targets {tuple(target.shape)} must have the shape of the outputs {tuple(output.shape)}; "
            "a single number a sample is (N, 1)"
        )
    return F.mse_loss(output, target)


def _right(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.argmax(-1) == target).to(logits.dtype).mean()


ACCURACY = Metric(_right)
"""Fraction of the targets that get the largest logit."""
PERPLEXITY = Metric(cross_entropy, torch.exp)
"""exp of the cross entropy: among how many equally likely symbols the model chooses."""
BITS_PER_CHARACTER = Metric(cross_entropy, lambda nats: nats / math.log(2))
"""The cross entropy in bits."""
RMSE = Metric(squared_error, torch.sqrt)
"""Root of the mean squared error, in the targets' unit."""

TASKS: dict[str, Task] = {
    "classification": Task(cross_entropy, {"accuracy": ACCURACY}, cross_entropy_by_columns),
    "regression": Task(squared_error, {"rmse": RMSE}),
    "language": Task(cross_entropy, {"perplexity": PERPLEXITY, "bits_per_character": BITS_PER_CHARACTER}),
}
"""classification: logits (N, C), classes (N,); regression: (N, D) both; language: logits (N, T, V), tokens (N, T)."""


def task(name: str) -> Task:
    """The task with that name; UnknownName for one that does not exist."""
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return TASKS[name]


def loss_for(name: str) -> Loss:
    """The loss function of a task.

    >>> float(loss_for("regression")(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]])))
    5.0
    """
    return task(name).loss


def metrics_for(name: str) -> Mapping[str, Metric]:
    """The metrics of a task by name.

    >>> list(metrics_for("language"))
    ['perplexity', 'bits_per_character']
    """
    return task(name).metrics
