"""Members of an ensemble that are stepped together, as the rows of one kernel run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from flowopt.core import kernel, rows
from flowopt.core._blocks import SCALAR, Blocks
from flowopt.core.endings import Attempt, Endings, alive
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.state import Evaluation
from flowopt.networks._second_order import hessian
from flowopt.networks._step import Terms, measured
from flowopt.networks.ensemble._stacked_model import StackedModel
from flowopt.networks.tasks import Loss

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


class MemberReport(NamedTuple):
    """What came of a step of members ``(A,)``."""

    record: Tensor
    """Loss, step size, error, energy, and whether the trial was accepted, ``(5, A)``; NaN of those that had ended."""
    status: Tensor
    """Status codes of those that end with this step, else 0."""
    bad: Tensor
    """The first parameter whose gradient is not finite, -1 if there is none."""
    again: Tensor
    """Bool: the step was rejected, and the rule would try the same one again."""


@dataclass(frozen=True)
class Members:
    """A members, their numbers among the B of the ensemble, and where their run is.

    A member that has ended stays as it is, and stays in the batch: without it the products of the others would round
    otherwise.
    """

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
        """The members at these places only, before the first step."""
        return replace(
            self,
            numbers=self.numbers[index],
            method=self.method.select(index),
            seeds=self.seeds[index],
            decay=None if self.decay is None else self.decay[index],
            constants={name: tensor[index] for name, tensor in self.constants.items()},
            q=self.q.rows(index),
        )

    @property
    def alive(self) -> Tensor:
        """Members that have not ended, ``(A,)`` bool."""
        return torch.ones_like(self.numbers, dtype=torch.bool) if self.carry is None else self.carry.alive

    @property
    def accepted(self) -> Blocks:
        """Parameters to evaluate: the trial, or the last accepted ones where it may be sent back or a member ended."""
        if self.carry is None:
            return self.q
        point = cast(Blocks, self.carry.point.state["q"])
        return point if self.method.rejects else cast(Blocks, rows.picker(self.carry.alive)(self.q, point))

    def step(self, batch: Batch, steps: int, recorded: bool) -> tuple[Self, MemberReport]:
        """Judge the trial on a batch, after so many steps, and propose the next one; the energy is for the record."""
        method, objective = self.method, _Objective(self, batch, steps)
        tried, bad, loss = objective.measured(self.q)
        nothing = torch.full_like(loss, torch.nan)
        if self.carry is None:
            bare = None if self.decay is None else objective.gradient(self.q)[0]
            carry = kernel.start(method, cast(Tensor, self.q), tried, self.seeds, objective, cast(Tensor, bare))
            last = Attempt.start(carry)
        else:
            assessment = kernel.assess(method, self.carry, tried, objective)
            take = self.carry.alive & assessment.acceptable
            carry = kernel.commit(method, self.carry, assessment, take, objective)
            carry = carry._replace(alive=alive(method, carry, take))
            last = Attempt.of(assessment, take)
        error = nothing if last.error is None else last.error
        energy = method.system.energy(last.state, tried) if recorded else nothing
        record = torch.stack([loss, last.h, error, energy, last.taken.to(loss.dtype)])
        # the next batch is another function, and so neither its slope nor its value is anything to stop for
        endings = Endings(h_min=H_MIN if method.rejects else 0.0)
        status = torch.where(self.alive, endings.codes(method, carry, last, steps), 0)
        again = self.alive & endings.same_again(carry, last) & method.rejects
        carry = kernel.propose(method, carry._replace(alive=carry.alive & (status == 0)), objective)
        report = MemberReport(torch.where(self.alive, record, torch.nan), status, bad, again)
        return replace(self, carry=carry, q=cast(Blocks, carry.trial["q"])), report


class _Objective:
    """Loss, gradient, Hessian-vector products and Hessian of members on one batch."""

    def __init__(self, members: Members, batch: Batch, steps: int) -> None:
        self._members, self._steps = members, steps
        self._data, self._shared = batch.of(members.numbers), batch.samples is None
        self._graph: tuple[Tensor, list[Tensor], tuple[Tensor, ...]] | None = None

    def measured(self, q: Blocks) -> tuple[Evaluation, Tensor, Tensor]:
        """The evaluation at q ``(A, D)``, the first block that is not finite, and the loss alone."""
        grads, loss = self.gradient(q)
        value = loss
        if (decay := self._members.decay) is not None:
            grads = grads + q * decay.unsqueeze(-1)
            value = loss + 0.5 * decay * q.dot(q)
        terms = Terms((False,) * len(q.parts), maximize=False)
        return *measured(terms, q, grads.parts, value, value), loss

    def gradient(self, q: Blocks) -> tuple[Blocks, Tensor]:
        """Gradient of the loss alone, ``(A, D)``, and the loss ``(A,)``."""
        leaves, losses = self._losses(q)
        grads = _blocks(torch.autograd.grad(losses, leaves, torch.ones_like(losses), materialize_grads=True))
        return grads, losses.detach().to(SCALAR)

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        return self.measured(cast(Blocks, q))[0]

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hessian at q times a vector, ``(A, D)``."""
        if self._graph is None or self._graph[0] is not q:  # products mostly come in numbers at one point
            leaves, losses = self._losses(cast(Blocks, q))
            with torch.enable_grad():
                one = torch.ones_like(losses)
                grads = torch.autograd.grad(losses, leaves, one, create_graph=True, materialize_grads=True)
            self._graph = q, leaves, grads
        _, leaves, grads = self._graph
        along = self._members.model.leaves(cast(Blocks, vector).parts)
        bent = _blocks(torch.autograd.grad(grads, leaves, along, retain_graph=True, materialize_grads=True))
        decay = self._members.decay
        return cast(Tensor, bent if decay is None else bent + vector * decay.unsqueeze(-1))

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        """Dense Hessian at q, ``(A, D, D)``."""
        return hessian(self, q)

    def _losses(self, q: Blocks) -> tuple[list[Tensor], Tensor]:
        members, model = self._members, self._members.model
        leaves = [leaf.detach().requires_grad_() for leaf in model.leaves(q.parts)]
        values = model.values(leaves, members.constants, members.seeds, self._steps)
        with torch.enable_grad():  # members do not see each other: the gradient of the sum of losses is that of each
            return leaves, model.losses(values, self._data, self._shared, members.loss)


def _blocks(tensors: Sequence[Tensor]) -> Blocks:
    return Blocks(tensor.detach().reshape(len(tensor), -1) for tensor in tensors)
