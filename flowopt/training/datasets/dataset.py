"""Dataset: training and test samples, and what a model and its loss need to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from flowopt.core._display import html_table
from flowopt.core.errors import BadValue, check_choice, check_count

Task = Literal["classification", "regression", "language"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test samples; N differs between the two, all else is alike.

    | task | inputs | targets | loss |
    |---|---|---|---|
    | classification | ``(N, channels, height, width)`` floats | ``(N,)`` int64 | cross-entropy |
    | regression | ``(N, time, features)`` floats | ``(N, outputs)`` floats | mean squared error |
    | language | ``(N, length)`` int64, tokens | ``(N, length)`` int64, the tokens that come next | cross-entropy |

    Raises BadValue for shapes that do not fit, labels or tokens out of range, NaN and infinity.
    """

    name: str
    task: Task
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    outputs: int
    """Classes, target coordinates, or tokens in the vocabulary: the width of a model's last layer."""
    vocabulary: str = ""
    """Of a language: the character of each token."""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    """How the samples were made: rows dropped, shift and scale of the targets, ..."""

    def __post_init__(self) -> None:
        check_choice(self.name, "task", self.task, get_args(Task))
        check_count(self.name, "outputs", self.outputs, 1)
        self._check(f"{self.name}, training", self.train_inputs, self.train_targets)
        self._check(f"{self.name}, test", self.test_inputs, self.test_targets)
        if self.test_inputs.shape[1:] != self.train_inputs.shape[1:]:
            found = tuple(self.test_inputs.shape[1:])
            raise BadValue(f"{self.name}: a test input has the shape {found}, a training input {self.input_shape}")

    def __repr__(self) -> str:
        sizes = f"{len(self.train_inputs)} training and {len(self.test_inputs)} test samples"
        return f"<Dataset {self.name}: {self.task}, {sizes} of shape {self.input_shape}, {self.outputs} outputs>"

    def _repr_html_(self) -> str:
        what = {
            "task": self.task,
            "training samples": len(self.train_inputs),
            "test samples": len(self.test_inputs),
            "shape of an input": self.input_shape,
            "outputs": self.outputs,
            **self.facts,
        }
        return html_table(f"Dataset {self.name}", ("what", "value"), list(what.items()))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.train_inputs.shape[1:])

    def _check(self, owner: str, inputs: Tensor, targets: Tensor) -> None:
        if not len(inputs) or len(inputs) != len(targets):
            raise BadValue(
                f"{owner}: {len(inputs)} inputs and {len(targets)} targets; there must be as many of both, at least one"
            )
        shapes = {"classification": (), "regression": (self.outputs,), "language": inputs.shape[1:]}
        if targets.shape[1:] != shapes[self.task]:
            raise BadValue(f"{owner}: targets have the shape {tuple(targets.shape)}, not (N, *{shapes[self.task]})")
        if self.task == "language":
            check_labels(f"{owner}, inputs", inputs, self.outputs)
        else:
            _check_finite(f"{owner}, inputs", inputs)
        if self.task == "regression":
            _check_finite(f"{owner}, targets", targets)
        else:
            check_labels(f"{owner}, targets", targets, self.outputs)


def check_labels(owner: str, labels: Tensor, classes: int) -> None:
    """Raise BadValue unless the labels are int64 numbers from 0 to classes - 1."""
    if labels.dtype != torch.int64:
        raise BadValue(f"{owner}: labels are {labels.dtype}, expected whole numbers (int64)")
    if not len(labels):
        raise BadValue(f"{owner}: there are no labels")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise BadValue(f"{owner}: labels from {low} to {high}; expected 0 to {classes - 1}")


def _check_finite(owner: str, numbers: Tensor) -> None:
    if not numbers.is_floating_point():
        raise BadValue(f"{owner} are {numbers.dtype}, expected floating-point numbers")
    if not torch.stack(numbers.aminmax()).isfinite().all():  # NaN is the least and the greatest of all
        bad = int((~numbers.isfinite()).sum())
        raise BadValue(f"{owner}: {bad} of {numbers.numel()} numbers are NaN or infinite")
