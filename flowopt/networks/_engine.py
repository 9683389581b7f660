"""The steps of a network on plain lists of tensors: how its flow starts, how parameters join it, how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from flowopt.core import kernel, rows
from flowopt.core._blocks import Blocks
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.state import Measure
from flowopt.networks._carry_layout import CarryLayout
from flowopt.networks._step import (
    Outcome,
    Terms,
    advance,
    cheap_energy,
    ending,
    measured,
    nowhere,
    proposed,
    resting,
    wide,
    write,
)
from flowopt.networks.compiling import Compiled
from flowopt.transforms.decoupled_decay import DecoupledDecay

WORTH_COMPILING = 1_000_000
"""Parameters from which on a step is compiled unless told otherwise: on fewer it would save less than it costs."""


@dataclass(frozen=True)
class Inputs:
    """What a step works on, one block ``(1, D_i)`` a parameter."""

    q: list[Tensor]
    grads: list[Tensor]
    terms: Terms
    decay: Tensor
    """Weight decays, ``(n,)``."""
    value: Tensor
    """Loss, ``(1,)``."""
    measure: Measure | None
    """The objective at other parameters, for integrators that need it."""


class Engine:
    """The method of one network. It holds no state: what is kept between steps is the caller's."""

    def __init__(self, method: Method, compile: bool | None) -> None:
        # its rates are those of the parameter groups, so the decay is not part of the method here
        others = tuple(part for part in method.transforms if not isinstance(part, DecoupledDecay))
        self.decoupled = others != method.transforms
        self.method = replace(method, transforms=others) if self.decoupled else method
        self.layout = CarryLayout(self.method, perturbed=self.decoupled)
        self._compile = compile
        self._runs: dict[Terms, Callable[..., Outcome]] = {}

    @property
    def calls_closure(self) -> bool:
        """Whether a step measures elsewhere than at its trial."""
        return self.method.looks_ahead

    def begin(
        self, inputs: Inputs, lr_factors: Tensor, seed: int
    ) -> tuple[Outcome, dict[str, list[Tensor]], dict[str, Tensor]]:
        """The first step: the outcome, and the vectors and numbers to keep. Nothing moves if it is held."""
        carry, outcome = self._start(inputs, lr_factors, seed)
        picked, named = self.layout.pick(carry)
        numbers = {path: number.clone() for path, number in named.items()}  # changed in place from now on
        vectors = {path: [part.clone() for part in leaf.parts] for path, leaf in picked.items()}  # of what moves now
        if not bool(outcome.held):
            write(inputs.q, carry.trial["q"])
        return outcome, vectors, numbers

    def join(self, q: list[Tensor]) -> dict[str, list[Tensor]]:
        """Vectors to keep for parameters that come late: as if they had been there with a gradient of zero."""
        return {path: list(leaf.parts) for path, leaf in self.layout.still(Blocks(wide(q))).items()}

    def run(
        self,
        inputs: Inputs,
        vectors: dict[str, list[Tensor]],
        numbers: dict[str, Tensor],
        lr_factors: tuple[Tensor, Tensor],
    ) -> Outcome:
        """A step, in place: see `advance`."""
        terms = inputs.terms
        if terms not in self._runs:
            step = partial(advance, self.method, self.layout, terms)
            self._runs[terms] = Compiled(step) if self._pays(inputs) else step
        return self._runs[terms](
            inputs.q, inputs.grads, vectors, numbers, lr_factors, inputs.decay, inputs.value, inputs.measure
        )

    def last_accepted(
        self, q: list[Tensor], vectors: dict[str, list[Tensor]], numbers: dict[str, Tensor], lr_factors: Tensor
    ) -> Blocks:
        """The position of the point behind the pending trial q."""
        factors = lr_factors.unbind()
        kept = {path: Blocks(wide(parts), factors) for path, parts in vectors.items()}
        carry = self.layout.restore(cast(Tensor, Blocks(wide(q), factors)), kept, numbers)
        return cast(Blocks, carry.point.state["q"])

    def _pays(self, inputs: Inputs) -> bool:
        if self.calls_closure:  # the closure is the user's; a compiled step could not call it
            return False
        return sum(block.numel() for block in inputs.q) >= WORTH_COMPILING if self._compile is None else self._compile

    def _start(self, inputs: Inputs, lr_factors: Tensor, seed: int) -> tuple[Carry, Outcome]:
        method, q = self.method, Blocks(wide(inputs.q), lr_factors.unbind())
        evaluation, bad = measured(inputs.terms, q, inputs.grads, inputs.decay, inputs.value)
        seeds = torch.full_like(bad, seed)
        undecayed = replace(inputs.terms, decays=(False,) * len(inputs.grads))
        bare = measured(undecayed, q, inputs.grads, inputs.decay, inputs.value)[0].grad
        carry = kernel.start(method, cast(Tensor, q), evaluation, seeds, inputs.measure, bare)
        energy = cheap_energy(method, carry.point.state, evaluation)
        ended = ending(method, carry)
        taken = rows.finite(evaluation) & (ended == 0)
        # a momentum that starts along the gradient has no lr_factors of its own yet
        carry = proposed(
            method, inputs.terms, rows.with_lr_factors(carry, lr_factors.unbind()), inputs.decay, inputs.measure
        )
        held = ~taken | resting(method, lr_factors)
        if not method.rejects:
            held = held | nowhere(method, carry)
        blank = torch.full_like(inputs.value, torch.nan)
        outcome = Outcome(
            taken & ~held, held, ended, bad, blank, None, energy, inputs.value, evaluation.value, evaluation.square
        )
        return carry, outcome
