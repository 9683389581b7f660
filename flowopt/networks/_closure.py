"""The objective of a network at other parameters: the user's closure, called again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from flowopt.core._blocks import Blocks
from flowopt.core.errors import BadValue
from flowopt.core.state import Evaluation
from flowopt.networks._calls import loss_value
from flowopt.networks._layout import flat_as, shaped
from flowopt.networks._second_order import hessian
from flowopt.networks._step import Terms, measured, write


class ClosureMeasure:
    """Value, gradient and Hessian-vector products of a network, for integrators that look ahead of the trial.

    Calling it changes the parameters; whoever made it puts them right afterwards. `views` are the parameters as blocks
    ``(1, D_i)``.
    """

    def __init__(
        self,
        closure: Callable[[], Any],
        parameters: Sequence[Parameter],
        views: Sequence[Tensor],
        terms: Terms,
        decay: Tensor,
        loss: Any,
    ) -> None:
        self._loss = loss
        self._closure, self._parameters, self._views = closure, parameters, views
        self._terms, self._decay = terms, decay

    def __call__(self, q: Tensor, rows: Tensor | None = None) -> Evaluation:
        """Value and gradient at q ``(1, D)``."""
        write(self._views, q)
        with torch.enable_grad():
            self._loss = self._closure()
        value = loss_value(self._loss, q.device)
        grads = [flat_as(gradient(parameter).detach().clone(), parameter) for parameter in self._parameters]
        return measured(self._terms, cast(Blocks, q), grads, self._decay, value)[0]

    def hvp(self, q: Tensor, vector: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hessian times vector ``(1, D)`` at the last point that was measured.

        Raises BadValue unless the closure calls ``loss.backward(create_graph=True)``.
        """
        parts = cast(Blocks, vector).parts
        # a gradient that is constant, or that is none, has no share in the Hessian
        bending = [(p.grad, shaped(part, p)) for part, p in zip(parts, self._parameters, strict=True) if _bends(p.grad)]
        free = [p for p in self._parameters if p.requires_grad]  # one may have been frozen since
        if not bending and not self._is_linear(free):
            raise BadValue(
                "this method needs Hessian-vector products: call loss.backward(create_graph=True) in the closure, set "
                "the gradients to None before (optimizer.zero_grad()), and return the loss with its graph"
            )
        with torch.enable_grad():
            grads, along = zip(*bending, strict=True) if bending else ((), ())
            bent = torch.autograd.grad(grads, free, along, retain_graph=True, materialize_grads=True) if grads else ()
        found = dict(zip(free, bent or map(torch.zeros_like, free), strict=True))
        products = [flat_as(found[p].detach() if p in found else torch.zeros_like(p), p) for p in self._parameters]
        if self._terms.maximize:
            products = [-product for product in products]
        of_objective = torch.zeros_like(self._decay) if self._terms.decoupled else self._decay
        decayed = zip(products, parts, of_objective.unbind(), strict=True)
        return cast(Tensor, Blocks(product.to(part.dtype) + part * w.to(part.dtype) for product, part, w in decayed))

    def _is_linear(self, free: Sequence[Parameter]) -> bool:
        """Whether the gradients do not bend because the loss does not, and not for want of a graph.

        That graph is gone after a backward() without create_graph, or else its gradients bend.
        """
        if not isinstance(self._loss, Tensor) or not self._loss.requires_grad:
            return False
        try:
            with torch.enable_grad():
                grads = torch.autograd.grad(self._loss, list(free), create_graph=True, allow_unused=True)
        except RuntimeError:
            return False
        return not any(map(_bends, grads))

    def hessian(self, q: Tensor, rows: Tensor | None = None) -> Tensor:
        """Dense Hessian ``(1, D, D)`` at the last point that was measured, by D products."""
        return hessian(self, q)


def _bends(grad: Tensor | None) -> bool:
    return grad is not None and grad.requires_grad


def gradient(parameter: Parameter) -> Tensor:
    """The gradient of a parameter; zeros where the objective did not use it."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
