"""Members of an ensemble that are stepped together: rows of one kernel run, which leave it when they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from flowopt import kernel, rows
from flowopt.blocks import SCALAR, Blocks
from flowopt.kernel import Carry, Method, Report
from flowopt.state import Evaluation, Measure, Status
from flowopt.training.second_order import hessian
from flowopt.training.stacked_model import StackedModel
from flowopt.training.step import Terms, measured
from flowopt.training.tasks import Loss

H_MIN = 1e-30
"""A member that is sent back until its step is below this, ends."""


class Batch(NamedTuple):
    """What a step trains on."""

    inputs: Tensor
    targets: Tensor
    samples: Tensor | None
    """Numbers of the samples of each of the B members, ``(B, N)``; None: inputs and targets are the batch of all."""

    def of(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the members with these numbers."""
        if self.samples is None:
            return self.inputs, self.targets
        theirs = self.samples[numbers]
        return self.inputs[theirs], self.targets[theirs]


class Told(NamedTuple):
    """What members ``(A,)`` tell of a step."""

    numbers: Tensor
    record: Tensor
    """Loss, step size, error, energy, and whether the trial was accepted, ``(5, A)``."""
    status: Tensor
    """Status codes, 0 of those that go on."""
    bad: Tensor
    """The first parameter whose gradient is not finite, -1 if there is none."""


@dataclass(frozen=True)
class Members:
    """A members, their numbers among the B of the ensemble, and where their run is."""

    model: StackedModel
    loss: Loss
    numbers: Tensor
    method: Method
    seeds: Tensor
    decay: Tensor | None
    """The w of w/2 |q|^2, ``(A,)``; None where there is no such term."""
    constants: dict[str, Tensor]
    q: Blocks
    """The trial to measure next, ``(A, D)``."""
    carry: Carry | None = None
    """None before the first step."""

    def select(self, index: Tensor) -> Self:
        """The members at these places only."""
        return replace(
            self,
            numbers=self.numbers[index],
            method=self.method.select(index),
            seeds=self.seeds[index],
            decay=None if self.decay is None else self.decay[index],
            constants={name: tensor[index] for name, tensor in self.constants.items()},
            q=self.q.rows(index),
            carry=rows.select(self.carry, index),
        )

    @property
    def accepted(self) -> Blocks:
        """The parameters to evaluate: the trial, or where it may be sent back the last accepted ones."""
        if self.carry is None or not self.method.controller.rejects:
            return self.q
        return self.point

    @property
    def point(self) -> Blocks:
        """The last parameters that were measured and accepted."""
        return self.q if self.carry is None else cast(Blocks, self.carry.point.state["q"])

    def judged(self, batch: Batch, steps: int) -> tuple[Self, Told]:
        """Judge the trial on a batch, after so many steps: the members at their points, and what they tell."""
        objective = self._objective(batch, steps)
        tried, bad, loss = objective.measured(self.q)
        method = self.method
        if self.carry is None:
            carry = kernel.start(method, cast(Tensor, self.q), tried, self.seeds, cast(Measure, objective))
            energy = method.system.energy(carry.point.state, tried)
            report = Report(carry.alive, torch.full_like(loss, torch.nan), None, energy)
        else:
            carry, report = kernel.judge(method, self.carry, tried, cast(Measure, objective))
        error = torch.full_like(loss, torch.nan) if report.error is None else report.error
        record = torch.stack([loss, report.h, error, report.energy, report.taken.to(SCALAR)])
        status = _status(method, carry, tried, self.q.parts[0].dtype)
        return replace(self, carry=carry), Told(self.numbers, record, status, bad)

    def moved(self, batch: Batch, steps: int) -> Self:
        """Propose the next trial."""
        assert self.carry is not None
        carry = kernel.propose(self.method, self.carry, cast(Measure, self._objective(batch, steps)))
        return replace(self, carry=carry, q=cast(Blocks, carry.trial["q"]))

    def _objective(self, batch: Batch, steps: int) -> _Objective:
        return _Objective(self, batch.of(self.numbers), batch.samples is None, steps)


def _status(method: Method, carry: Carry, tried: Evaluation, dtype: torch.dtype) -> Tensor:
    point = carry.point
    # too large to square, or beyond all numbers after a point that was on its way there
    too_large = torch.isinf(tried.square) & torch.isfinite(tried.value)
    on_its_way = point.evaluation.square > torch.finfo(dtype).max ** 0.25
    status = torch.where(too_large | on_its_way, Status.DIVERGED, Status.NONFINITE)
    ended = method.system.outcome(point.state, point.evaluation)
    status = torch.where(carry.alive, 0 if ended is None else ended, status)
    if method.controller.rejects:
        status = torch.where(carry.alive & (carry.h.abs() < H_MIN), Status.STEP_TOO_SMALL, status)
    return status


class _Objective:
    """Loss, gradient, Hessian-vector products and Hessian of members on one batch."""

    def __init__(self, members: Members, data: tuple[Tensor, Tensor], shared: bool, steps: int) -> None:
        self._members, self._data, self._shared, self._steps = members, data, shared, steps

    def measured(self, q: Blocks) -> tuple[Evaluation, Tensor, Tensor]:
        """The evaluation at q ``(A, D)``, the first block that is not finite, and the loss alone."""
        leaves, losses = self._losses(q)
        grads = _blocks(torch.autograd.grad(losses, leaves, torch.ones_like(losses), materialize_grads=True))
        value = loss = losses.detach().to(SCALAR)
        if (decay := self._members.decay) is not None:
            grads = grads + q * decay.unsqueeze(-1)
            value = loss + 0.5 * decay * q.dot(q)
        terms = Terms((False,) * len(q.parts), maximize=False)
        return *measured(terms, q, grads.parts, value, value), loss

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        return self.measured(cast(Blocks, q))[0]

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hessian at q times a vector, ``(A, D)``."""
        leaves, losses = self._losses(cast(Blocks, q))
        along, one = self._members.model.leaves(cast(Blocks, vector).parts), torch.ones_like(losses)
        with torch.enable_grad():
            grads = torch.autograd.grad(losses, leaves, one, create_graph=True, materialize_grads=True)
            bent = torch.autograd.grad(grads, leaves, along, materialize_grads=True)
        decay = self._members.decay
        return cast(Tensor, _blocks(bent) if decay is None else _blocks(bent) + vector * decay.unsqueeze(-1))

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        """Dense Hessian at q, ``(A, D, D)``."""
        return hessian(cast(Measure, self), q)

    def _losses(self, q: Blocks) -> tuple[list[Tensor], Tensor]:
        members, model = self._members, self._members.model
        leaves = [leaf.detach().requires_grad_() for leaf in model.leaves(q.parts)]
        values = model.values(leaves, members.constants, members.seeds, self._steps)
        with torch.enable_grad():  # members do not see each other: the gradient of the sum of losses is that of each
            return leaves, model.losses(values, self._data, self._shared, members.loss)


def _blocks(tensors: Sequence[Tensor]) -> Blocks:
    return Blocks(tensor.detach().reshape(len(tensor), -1) for tensor in tensors)
