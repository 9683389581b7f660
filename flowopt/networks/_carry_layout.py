"""What a network keeps between two steps: as little of the kernel's carry as its method can do with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from flowopt.core import kernel, rows
from flowopt.core._blocks import SCALAR, Blocks
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.rows import dot
from flowopt.core.state import Evaluation, Point, State

FORGOTTEN = Point({}, cast(Evaluation, None), None)
"""The point before the step, where no part of the method looks at it."""
FAR_ABOVE = 1e100
"""A loss above every F0, where nothing is undefined that has to do with it."""


class CarryLayout:
    """Which leaves of a carry a method needs between two steps of a network, and how the others come back.

    - The position of the trial is the parameters themselves.
    - A method that does not look back needs nothing of the point before the step.
    - For one that does, the old position is the parameters less the displacement, where the integrator knows that, and
      the old field follows from the old gradient. So ELRA needs one vector beside the parameters, as its paper says,
      and ECCO two.
    - A leaf that the scheme does not move is the same in the point and in the trial, and is kept once.

    `vectors`, `counters` and `numbers` are the names of what is kept: in blocks, as one number a block, and in rows
    ``(B,)`` or ``(B, 1)``. `perturbed` says that the driver, too, puts trials elsewhere than the integrator does.
    """

    def __init__(self, method: Method, perturbed: bool = False) -> None:
        self.method = method
        carry = _sample(method)
        named: dict[str, Any] = {}
        rows.mapped(carry, named.setdefault)
        self._template = rows.mapped(carry, lambda path, leaf: path)
        self._rebuilds = not perturbed and self._can_rebuild(carry)
        shared = {id(leaf): path for path, leaf in named.items() if path.startswith("trial.")}
        self._same_as = {
            path: shared.get(id(leaf), path) if path.startswith("point.") else path for path, leaf in named.items()
        }
        wanted = {self._same_as[path]: named[path] for path in named if self._wants(path)}
        blocks = [path for path, leaf in wanted.items() if isinstance(leaf, Blocks)]
        self.counters = [path for path in blocks if named[path].shape[1] == 1]
        self.vectors = [path for path in blocks if path not in self.counters]
        self.numbers = [path for path, leaf in wanted.items() if not isinstance(leaf, Blocks)]

    def _can_rebuild(self, carry: Carry) -> bool:
        method = self.method
        if method.needs_hvp or any(transform.perturbs for transform in method.transforms):
            return False
        made = carry.trial["q"] - carry.point.state["q"]
        unknown = carry.point.state | {"q": made * torch.nan}  # a field that needs it is not had again
        point = carry.point._replace(state=unknown)
        if method.integrator.uses_rate:
            point = point._replace(rate=method.system.rate(unknown, point.evaluation, None))
        found = method.integrator.displacement(method.system, point, carry.trial, carry.h)
        if found is None:
            return False
        return bool((rows.max_norm({"q": found - made}) <= 1e-9 * rows.max_norm({"q": made})).all())

    @property
    def _goes_back_in_full(self) -> bool:
        """Whether the old momentum counts: for going back to it, or for the old field."""
        return self.method.rejects or self.method.integrator.uses_rate

    def _wants(self, path: str) -> bool:
        if path == "trial.q":
            return False
        if path.startswith("point.state.") and path != "point.state.q" and not self._goes_back_in_full:
            return False
        if path.startswith("point."):
            rebuilt = self._rebuilds and (path == "point.state.q" or path.startswith("point.rate."))
            return self.method.looks_back and not rebuilt
        return True

    def pick(self, carry: Carry) -> tuple[dict[str, Blocks], dict[str, Tensor]]:
        """The vectors and the numbers to keep of a carry whose trial has been proposed; of counters ``(n,)``."""
        named: dict[str, Any] = {}
        rows.mapped(carry, named.setdefault)
        counted = {path: torch.cat(named[path].parts).squeeze(-1) for path in self.counters}
        return {path: named[path] for path in self.vectors}, {path: named[path] for path in self.numbers} | counted

    def still(self, q: Blocks) -> dict[str, Blocks]:
        """The vectors to keep of parameters q that have had a gradient of zero and have not moved."""
        zero = cast(Blocks, torch.zeros_like(cast(Tensor, q)))
        far = torch.full((q.shape[0],), FAR_ABOVE, dtype=SCALAR, device=q.device)
        none = Evaluation(far, cast(Tensor, zero), torch.zeros_like(far))
        seeds = torch.zeros_like(far, dtype=torch.int64)
        carry = kernel.start(self.method, cast(Tensor, q), none, seeds, _Bowl())
        named: dict[str, Any] = {}
        rows.mapped(carry, named.setdefault)
        return {path: named.get(path, zero) for path in self.vectors}

    def restore(self, q: Tensor, vectors: dict[str, Blocks], numbers: dict[str, Tensor]) -> Carry:
        """The carry again, from the parameters q ``(B, D)`` and from what was kept."""
        kept: dict[str, Any] = {**vectors, **numbers, "trial.q": q}
        for path in self.counters:
            kept[path] = _counter(numbers[path], cast(Blocks, q))
        found = rows.mapped(self._template, lambda path, _: kept.get(self._same_as[path]))
        carry = cast(Carry, found)
        if not self.method.looks_back:
            return carry._replace(point=FORGOTTEN)
        return self._rebuild(carry) if self._rebuilds else carry

    def _rebuild(self, carry: Carry) -> Carry:
        method, point = self.method, carry.point
        if method.integrator.uses_rate:
            rate = method.system.rate(point.state, point.evaluation, None)
            point = point._replace(rate=rate)

        def moved() -> Tensor:
            displacement = method.integrator.displacement(method.system, point, carry.trial, carry.h)
            assert displacement is not None
            return displacement

        state: State = _Remembered(point.state, lambda: carry.trial["q"] - moved())
        if torch.compiler.is_compiling():  # a compiler leaves out what nobody uses
            state = {**point.state, "q": state["q"]}
        return carry._replace(point=point._replace(state=state), moved=moved)


def _counter(numbers: Tensor, like: Blocks) -> Blocks:
    """Numbers ``(n,)``, one a block, as a leaf that goes with blocks like these."""
    pairs = zip(numbers.unbind(), like.parts, strict=True)
    return Blocks([number.to(part.dtype).reshape(1, 1) for number, part in pairs], like.lr_factors)


class _Remembered(dict[str, Tensor]):
    """A state whose position is worked out when it is asked for: most steps do not."""

    def __init__(self, state: State, position: Callable[[], Tensor]) -> None:
        super().__init__({name: leaf for name, leaf in state.items() if name != "q"})
        self._position = position

    def __missing__(self, name: str) -> Tensor:
        if name != "q":
            raise KeyError(name)
        self["q"] = self._position()
        return self["q"]


def _sample(method: Method) -> Carry:
    """A carry of the method, to see which leaves it has: one step on |q|^2 / 2 from (1, 1)."""
    q = cast(Tensor, Blocks([torch.ones(1, 2, dtype=SCALAR)]))
    bowl = _Bowl()
    carry = kernel.start(method, q, bowl(q), torch.zeros(1, dtype=torch.int64), bowl)
    return kernel.propose(method, carry, bowl)


class _Bowl:
    """|q|^2 / 2."""

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        square = dot(q, q)
        return Evaluation(0.5 * square, q * 1.0, square)

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        return torch.eye(q.shape[1], dtype=SCALAR, device=q.device).expand(q.shape[0], -1, -1)

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        return vector
