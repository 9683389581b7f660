"""TLR over any torch optimizer: the learning rate makes a damped Newton step of its own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from flowopt.controllers.newton_step import NewtonStep
from flowopt.core import rows
from flowopt.core.errors import BadValue


def _of_base(name: str) -> Any:
    return property(lambda self: getattr(self.base, name), lambda self, value: setattr(self.base, name, value))


class TrainableLR(Optimizer):
    """Multiply the learning rates of a torch optimizer by TLR's factor, every K steps.

        optimizer = TrainableLR(torch.optim.SGD(model.parameters(), lr=1e-3), batches_per_epoch=len(loader))

    and the loop stays as it is. The rule, its readings and the parameters are those of
    :class:`flowopt.controllers.newton_step.NewtonStep` (TLR, eq 8); over SGD both give the same rates. K is
    ``max(1, int(p * batches_per_epoch))`` unless given; count optimizer steps, where gradients are accumulated. Between
    mini-batches noise drowns the rule with K = 1, in step, which compares the gradients of successive steps.

    The rule runs over the parameters of all groups together and multiplies the rate of each group by the same factor,
    so that the rates keep their ratios, which are part of the direction u; alpha is the largest rate. The authors' code
    is ``gamma=0.2, p=1/3, schedule="lagged", guard=False, max_factor=math.inf``, and runs in each group on its own: for
    that, wrap one optimizer per group. A learning rate scheduler that multiplies (StepLR, ExponentialLR) goes with it;
    one that sets the rate from a formula of its own (OneCycleLR) overrides it.

    It is an optimizer to torch and to training loops, a GradScaler and schedulers included: `step`, its hooks and the
    state dict are its own, all else is that of the optimizer inside, `base`: hooks on the state dict are called with
    `base`. It keeps two more vectors of the parameters' size, and waits for the device once in K steps. Where a
    parameter or a gradient is NaN or infinite the rate stays, with a RuntimeWarning. Parameters must be whole, not
    sharded over processes.

    Raises BadValue for parameters out of range, neither K nor `batches_per_epoch`, a base without learning rates, or a
    sparse gradient where gradients are compared.
    """

    param_groups = _of_base("param_groups")
    state = _of_base("state")
    defaults = _of_base("defaults")
    zero_grad = _of_base("zero_grad")
    add_param_group = _of_base("add_param_group")
    register_state_dict_pre_hook = _of_base("register_state_dict_pre_hook")
    register_state_dict_post_hook = _of_base("register_state_dict_post_hook")
    register_load_state_dict_pre_hook = _of_base("register_load_state_dict_pre_hook")
    register_load_state_dict_post_hook = _of_base("register_load_state_dict_post_hook")

    def __init__(
        self,
        optimizer: Optimizer,
        gamma: float = 0.33,
        p: float = 0.20,
        batches_per_epoch: int | None = None,
        K: int | None = None,
        schedule: Literal["in_step", "lagged"] = "in_step",
        guard: bool = True,
        max_factor: float = 100.0,
    ) -> None:
        if K is None and batches_per_epoch is None:
            raise BadValue("TrainableLR: give batches_per_epoch, the optimizer steps an epoch, or K")
        if not isinstance(optimizer, Optimizer) or not all("lr" in group for group in optimizer.param_groups):
            raise BadValue(f"TrainableLR: wraps a torch optimizer whose groups have an 'lr', not {optimizer!r}")
        self.base = optimizer
        self.rule = NewtonStep(self.rate, gamma, K, p, batches_per_epoch, schedule, guard, max_factor)
        self._steps = 0
        self._memory: dict[Tensor, dict[str, Tensor]] = {}
        super().__setstate__({})  # hooks and profiler; __init__ would make parameter groups beside those of the base

    @property
    def rate(self) -> float:
        """alpha: the learning rate, the largest where groups have several."""
        return max((float(group["lr"]) for group in self.param_groups), key=abs)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the base, and the change of its rates that is due; returns what the base returns."""
        self._steps += 1
        if self.rule.at_once:
            return self._step_at_once(closure)
        if self._steps == 1 and self.rule.schedule == "in_step":
            self._compare_directions()  # nothing to compare: this opens the first K steps
        loss = self.base.step(closure)
        steps, K = self._steps - (self.rule.schedule == "lagged"), self.rule.period
        if steps >= K and steps % K == 0:
            self._compare_directions()
        return loss

    def _step_at_once(self, closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            self._compare_gradients()
            return self.base.step()
        fresh = True

        def measure() -> Any:
            nonlocal fresh
            loss = closure()
            if fresh:  # the gradient is there only now, and the base has not read its rate yet
                self._compare_gradients()
                fresh = False
            return loss

        return self.base.step(measure)

    @torch.no_grad()
    def _compare_gradients(self) -> None:
        slopes = []
        for p in self._parameters():
            if p.grad is None or not p.requires_grad:
                continue
            if p.grad.is_sparse:
                raise BadValue("TrainableLR: K = 1 compares gradients, and one is sparse; take K >= 2")
            kept = self._memory.get(p)
            if kept:
                u = _wide(kept["q"]) - _wide(p)  # times alpha: the factor cancels
                slopes.append((_dot(u, _wide(kept["grad"])), _dot(u, _wide(p.grad))))
            self._memory[p] = {"q": p.detach().clone(), "grad": p.grad.clone()}
        self._multiply_rates(slopes)

    @torch.no_grad()
    def _compare_directions(self) -> None:
        alpha = self.rate
        slopes = []
        for p in self._parameters():
            if not p.requires_grad:
                continue
            kept = self._memory.setdefault(p, {})
            if "q" in kept:
                u = (_wide(kept["q"]) - _wide(p)) / alpha
                if "u" in kept:
                    slopes.append((_dot(kept["u"], kept["u"]), _dot(kept["u"], u)))
                kept["u"] = u
            kept["q"] = p.detach().clone()
        self._multiply_rates(slopes)

    def _multiply_rates(self, slopes: list[tuple[Tensor, Tensor]]) -> None:
        if not slopes:
            return
        device = slopes[0][0].device
        before, after = (torch.stack([slope.to(device) for slope in side]).sum() for side in zip(*slopes, strict=True))
        factor = self.rule.factor(before, after).item()
        if not (math.isfinite(before) and math.isfinite(after) and math.isfinite(factor)):
            warnings.warn(
                "TrainableLR: a slope of eq 8 is NaN or infinite, so the rate stays as it is; look for parameters or "
                "gradients that are NaN, infinite or huge, and start again from a lower rate if training has diverged",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        rates = [group["lr"] * factor for group in self.param_groups]  # first all of them: groups may share a tensor
        for group, rate in zip(self.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].copy_(rate)  # in place: a captured or compiled step reads this tensor
            else:
                group["lr"] = rate

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    def state_dict(self) -> dict[str, Any]:
        """The state dict of the base, and under ``"tlr"`` what the rule remembers."""
        memory = {i: dict(self._memory[p]) for i, p in enumerate(self._parameters()) if p in self._memory}
        return {**self.base.state_dict(), "tlr": {"steps": self._steps, "memory": memory}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on, bit for bit, from a state dict. Raises BadValue for one that is not of this class or model."""
        if "tlr" not in state_dict:
            raise BadValue(
                "TrainableLR: this state dict has no 'tlr'; one that was saved by the optimizer itself is for `base`"
            )
        parameters = dict(enumerate(self._parameters()))
        memory = {}
        for i, kept in state_dict["tlr"]["memory"].items():
            if i not in parameters or any(_wide(parameters[i]).shape != _wide(one).shape for one in kept.values()):
                raise BadValue(f"TrainableLR: this state dict is of another model: parameter {i} has another shape")
            memory[parameters[i]] = {name: one.to(parameters[i].device) for name, one in kept.items()}
        self.base.load_state_dict({name: part for name, part in state_dict.items() if name != "tlr"})
        self._steps, self._memory = state_dict["tlr"]["steps"], memory

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("base", "rule", "_steps", "_memory")}


def _wide(vector: Tensor) -> Tensor:
    """Its real numbers, in single precision at least."""
    real = torch.view_as_real(vector.detach()) if vector.is_complex() else vector.detach()
    return real.to(torch.promote_types(real.dtype, torch.float32))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return rows.dot(a.reshape(1, -1), b.reshape(1, -1))  # one row, as in our own runs: equal to the last bit
