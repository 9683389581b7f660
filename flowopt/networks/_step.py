"""One step of a network: the kernel around parameters that are changed in place.

Two parameters at 2 with the gradient 1, a loss of 3 and the weight decay w = 1/2. The objective is the loss plus
w/2 (2^2 + 2^2), so 5, and its gradient 1 + 2w = 2 in each. The first moves by lr = 0.1 times that, to 1.8, and the
second, in a group with lr = 0.2, to 1.6. The next gradient is not a number anywhere, and nothing moves, not even where
it is one:

>>> import flowopt
>>> a, b = (torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64)) for _ in range(2))
>>> groups = [{"params": [a]}, {"params": [b], "lr": 0.2}]
>>> optimizer = flowopt.FlowOptimizer(groups, "gd", lr=0.1, weight_decay=0.5)
>>> def step(*grads):
...     a.grad, b.grad = (torch.tensor([grad], dtype=torch.float64) for grad in grads)
...     _ = optimizer.step(loss=3.0)
...     return round(a.item(), 12), round(b.item(), 12), optimizer.last_step.energy, optimizer.last_step.held
>>> step(1.0, 1.0)
(1.8, 1.6, 5.0, False)
>>> import warnings
>>> with warnings.catch_warnings(action="ignore"):
...     step(1.0, float("nan"))[:2], optimizer.last_step.held, optimizer.last_step.bad_parameter
((1.8, 1.6), True, 'parameter 0 of group 1')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from flowopt.core import endings, kernel, rows
from flowopt.core._blocks import SCALAR, Blocks
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.state import Evaluation, Measure, State
from flowopt.networks._carry_layout import CarryLayout
from flowopt.transforms.decoupled_decay import decayed


class Outcome(NamedTuple):
    """What a step reports, in rows ``(B,)``; the host has read nothing of it."""

    taken: Tensor
    """The trial was accepted."""
    held: Tensor
    """Nothing moved: measured was what is not finite, the system is at its end, it rests, or a trial is not solved."""
    ended: Tensor
    """Status code of a system that came to an end, else 0."""
    bad: Tensor
    """The first block whose gradient is not finite, -1 if there is none."""
    h: Tensor
    """The step that led to the trial."""
    error: Tensor | None
    """Maximum norm of its estimated local error."""
    energy: Tensor
    """On arrival; NaN where it would take another pass over the coordinates."""
    value: Tensor
    """The loss."""
    objective: Tensor
    """What is minimised: the loss with its sign and its weight decay."""
    square: Tensor
    """``|grad f|^2``."""


@dataclass(frozen=True)
class Terms:
    """How loss and gradients make up the objective ``+-f + sum_i w_i/2 |q_i|^2``: what a compiled step is built on."""

    decays: tuple[bool, ...]
    """Which blocks have a weight decay w_i."""
    maximize: bool
    decoupled: bool = False
    """The decays are not part of the objective: every step shrinks q_i by h w_i."""


def measured(
    terms: Terms, q: Blocks, grads: Sequence[Tensor], decay: Tensor, value: Tensor
) -> tuple[Evaluation, Tensor]:
    """The evaluation at q from loss ``(B,)`` and gradients, and the first block that is not finite.

    `decay` ``(n,)`` holds the w_i. As in torch.optim the decay pulls towards 0 whether f is maximised or not.
    """
    # Why here and not in the system: a group has its own decay, and its sign must not turn with the objective's.
    grads = [grad.to(part.dtype) for grad, part in zip(grads, q.parts, strict=True)]
    if terms.maximize:
        grads, value = [-grad for grad in grads], -value
    for index, decays in enumerate(terms.decays):
        if decays and not terms.decoupled:
            part, w = q.parts[index], decay[index]
            grads[index] = torch.addcmul(grads[index], part, w.to(part.dtype))
            value = value + 0.5 * w * torch.linalg.vecdot(part, part).to(SCALAR)
    # Why |g|^2 of every block by itself: one number says whether all of the block is finite, and which block is the
    # first that is not; the sum, which every method and every test wants, then costs nothing. It is in double
    # precision, so that a block of 1e-3 still counts beside one of 1e6.
    squares = torch.stack([torch.linalg.vecdot(grad, grad).to(SCALAR) for grad in grads])
    broken = ~torch.isfinite(squares)
    bad = torch.where(broken.any(0), broken.int().argmax(0), -1)
    return Evaluation(value, cast(Tensor, Blocks(grads)), squares.sum(0)), bad


def advance(
    method: Method,
    layout: CarryLayout,
    terms: Terms,
    q: list[Tensor],
    grads: list[Tensor],
    vectors: dict[str, list[Tensor]],
    numbers: dict[str, Tensor],
    lr_factors: tuple[Tensor, Tensor],
    decay: Tensor,
    value: Tensor,
    measure: Measure | None = None,
) -> Outcome:
    """Judge the parameters q, where loss and gradients were measured, and move them to the next trial, in place.

    q, grads and each of `vectors` have one block a parameter, ``(B, D_i)``; `numbers` are rows. `lr_factors` ``(n,)``
    are those of the pending move and of the next. What is kept changes in place as well; but for that this is a pure
    function of tensors, which torch.compile takes whole.
    """
    # Why two: the trial was reached with the learning rates of the last call, and the error of that step is judged by
    # them; a scheduler has changed them since, for the next move.
    before, after = lr_factors[0].unbind(), lr_factors[1].unbind()
    trial = Blocks(wide(q), before)
    evaluation, bad = measured(terms, trial, grads, decay, value)
    kept = {path: Blocks(wide(parts), before) for path, parts in vectors.items()}
    # Why restored: the trial is the parameters themselves, which somebody may have changed (clipped, averaged over
    # processes), and what follows from the rest is not kept: a copy of a large network is memory.
    carry = layout.restore(cast(Tensor, trial), kept, numbers)
    assessment = kernel.assess(method, carry, evaluation, measure)
    taken = assessment.acceptable
    # Why all rows where nothing is sent back: there is no point behind the trial to keep. What is not taken is held
    # below, by writing nothing: one choice instead of one in `commit` and one here.
    carry = kernel.commit(method, carry, assessment, taken if method.rejects else None, measure)
    energy = cheap_energy(method, assessment.arrived.state, evaluation)
    ended = ending(method, carry)
    carry = proposed(method, terms, rows.with_lr_factors(carry, after), decay, measure)

    # Why held and not ended: the next batch is another function, at which the same parameters may have finite numbers.
    # A method that rejects has sent a bad trial back; any other has nowhere to go back to and stays where it is.
    held = (ended != 0) | resting(method, lr_factors[1])
    if not method.rejects:
        held = held | ~taken | nowhere(method, carry)
    h, error = assessment.h.clone(), assessment.error  # its h is one of `numbers`, which are overwritten below
    result = Outcome(taken & ~held, held, ended, bad, h, error, energy, value, evaluation.value, evaluation.square)
    pick = rows.picker(~held)
    # Why in place: others hold these tensors (the model, a CUDA graph, a checkpoint being loaded), and a second set
    # would double the memory. Why this order: the old trial becomes the point, which is written before the trial.
    new_vectors, new_numbers = layout.pick(carry)
    for path, leaf in new_vectors.items():
        write(vectors[path], within(vectors[path], pick(leaf, kept[path])))
    write(q, pick(carry.trial["q"], trial))
    for path, number in new_numbers.items():
        numbers[path].copy_(pick(number, numbers[path]))
    return result


def proposed(method: Method, terms: Terms, carry: Carry, decay: Tensor, measure: Measure | None) -> Carry:
    """The next trial, after its decoupled decay with the rates `decay` ``(n,)`` if it is to have that.

    Of a method that rejects, a trial that cannot be gone to stays at its point, to be sent back from there.
    """
    carry = kernel.propose(method, carry, measure)
    if method.rejects and method.looks_ahead:
        pick = rows.picker(~nowhere(method, carry))
        carry = carry._replace(trial=carry.trial | {"q": pick(carry.trial["q"], carry.point.state["q"])})
    if not (terms.decoupled and any(terms.decays)):
        return carry
    rates = cast(Tensor, Blocks(decay.unbind()))
    return carry._replace(trial=decayed(carry.point, carry.trial, carry.h, rates))


def ending(method: Method, carry: Carry) -> Tensor:
    """Status codes ``(B,)`` of a system that came to an end at finite numbers, else 0."""
    ended = endings.of_system(method, carry.point)
    return torch.zeros_like(carry.t, dtype=torch.int64) if ended is None else ended


def cheap_energy(method: Method, state: State, evaluation: Evaluation) -> Tensor:
    """The energy, as far as it takes no pass over the coordinates of its own: a network can afford that every step."""
    if method.system.cheap_energy:
        return method.system.energy(state, evaluation)
    return torch.full_like(evaluation.value, torch.nan)


def nowhere(method: Method, carry: Carry) -> Tensor:
    """Whether the proposed trial cannot be gone to, ``(B,)`` bool: its equations were not solved, or lead too far.

    A step that solves equations with the Hessian can be of any length, and one that measures on its way may have found
    no numbers there; other steps are not looked at again.
    """
    # Why not always: |q|^2 is a pass over the coordinates, and a step along a finite gradient leads to finite numbers.
    if not method.looks_ahead:
        return torch.zeros_like(carry.alive)
    q = carry.trial["q"]
    astray = ~torch.isfinite(rows.dot(q, q))
    return astray if carry.failed is None else astray | carry.failed


def resting(method: Method, lr_factors: Tensor) -> Tensor:
    """Whether the flow rests until the learning rate is no longer 0 everywhere, 0-dim bool.

    A move of zero would tell a step-size rule that looks back nothing. Momentum that torch has too gathers meanwhile.
    """
    # Why on the device: schedules begin at 0, and asking for it would wait in every step for the sake of one.
    return (lr_factors == 0).all() & method.looks_back


def wide(parts: Sequence[Tensor]) -> list[Tensor]:
    """The blocks in the precision to compute in: at least single."""
    return [part.float() if part.dtype in (torch.float16, torch.bfloat16) else part for part in parts]


def within(parts: Sequence[Tensor], leaf: Blocks) -> Blocks:
    """A leaf brought within the range of float16 where it is kept so: squares of gradients above 256 are beyond it."""
    if all(part.dtype != torch.float16 for part in parts):
        return leaf
    largest = torch.finfo(torch.float16).max
    pairs = zip(parts, leaf.parts, strict=True)
    return Blocks([new.clamp(-largest, largest) if part.dtype == torch.float16 else new for part, new in pairs])


def write(parts: Sequence[Tensor], leaf: Tensor | Blocks) -> None:
    """Copy a leaf into the tensors of a network, block by block."""
    for part, new in zip(parts, cast(Blocks, leaf).parts, strict=True):
        part.copy_(new)
