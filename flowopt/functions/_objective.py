"""The objective as a run sees it: values, gradients and Hessian-vector products of a problem, each counted."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.core.errors import BadValue
from flowopt.core.noise import normal, position_counter
from flowopt.core.rows import evaluation
from flowopt.core.state import Evaluation
from flowopt.problems._batching import TRUSTED
from flowopt.problems._derivatives import derivative, gradient, product
from flowopt.problems._problem import Problem


class Objective:
    """Measures a problem at positions ``(B, D)`` and counts what each row has paid.

    Gradients are the problem's own where it has them, and autograd's otherwise; Hessian-vector products come by
    differentiating twice. `seeds` ``(B,)`` belong to the rows and feed a problem's gradient noise.
    """

    def __init__(self, problem: Problem, seeds: Tensor) -> None:
        self.problem = problem
        self._seeds = seeds
        self._common = {"gradient": 0, "value": 0, "hvp": 0}
        self._tried = (problem.batching or TRUSTED).tried
        self._masked = {kind: torch.zeros_like(seeds) for kind in self._common}
        self._any_masked = False

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        """Value and gradient at q."""
        self._count("gradient", 1, rows)
        self._count("value", 1 + self.problem.calls_per_difference * q.shape[-1], rows)
        return self._evaluate(q, self._seeds)

    def of_row(self, index: int, q: Tensor) -> Evaluation:
        """Value and gradient of row `index` alone, at q ``(1, D)``; only that row pays."""
        payer = torch.zeros_like(self._seeds)
        payer[index] = 1
        self._count("gradient", 1, payer)
        self._count("value", 1 + self.problem.calls_per_difference * q.shape[-1], payer)
        return self._evaluate(q, self._seeds[index : index + 1])

    def value(self, q: Tensor) -> Tensor:
        """Value alone at q, ``(B,)``, for those who need no gradient."""
        self._count("value", 1, None)
        with torch.no_grad():
            return self.problem.value(q)

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hessian at q times vector, ``(B, D)``. Raises BadValue if the problem cannot be differentiated twice."""
        self._count("hvp", 1, rows)
        return product(*self._graph(q), vector)

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        """Dense Hessian ``(B, D, D)``, at the price of D Hessian-vector products."""
        dim = q.shape[-1]
        self._count("hvp", dim, rows)
        q, grad = self._graph(q)
        with torch.enable_grad():
            columns = [derivative(grad[:, i], q, keep=True) for i in range(dim)]
        return torch.stack(columns, dim=-1)

    def select(self, index: Tensor) -> None:
        """Go on with the rows `index` only."""
        self._seeds = self._seeds[index]
        self._masked = {kind: count[index] for kind, count in self._masked.items()}

    def counts(self) -> dict[str, Tensor]:
        """Evaluations so far by kind, each ``(B,)``."""
        return {kind: count + self._paid(kind) for kind, count in self._masked.items()}

    def cost(self) -> int | Tensor:
        """Calls so far: a value, with or without its gradient, or a Hessian-vector product counts one."""
        if self._any_masked:
            counts = self.counts()
            return torch.maximum(counts["value"], counts["gradient"]) + counts["hvp"]
        return max(self._paid("value"), self._paid("gradient")) + self._common["hvp"]

    def _paid(self, kind: str) -> int:
        """What every row has paid, the calls that found out how the problem takes batches among it."""
        return self._common[kind] + self._tried.get(kind, 0)

    def _count(self, kind: str, cost: int, mask: Tensor | None) -> None:
        if mask is None:
            self._common[kind] += cost
        else:
            self._any_masked = True
            self._masked[kind] = self._masked[kind] + cost * mask

    def _evaluate(self, q: Tensor, seeds: Tensor) -> Evaluation:
        value, grad = self._measure(q)
        if self.problem.noise:
            noise = normal(seeds, position_counter(q), q.shape[-1])
            grad = torch.add(grad, noise.to(grad), alpha=self.problem.noise)
        return evaluation(value, grad)

    def _measure(self, q: Tensor) -> tuple[Tensor, Tensor]:
        if self.problem.value_and_gradient is not None:
            return self.problem.value_and_gradient(q)
        _, value, grad = gradient(self.problem.value, q)
        return value, grad

    def _graph(self, q: Tensor) -> tuple[Tensor, Tensor]:
        if not self.problem.differentiable_twice:
            raise BadValue(
                f"{self.problem.name} has no Hessian-vector products (it is not a torch function); "
                "use a method that needs gradients only"
            )
        q, _, grad = gradient(self.problem.value, q, twice=True)
        return q, grad
