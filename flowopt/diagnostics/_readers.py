"""How the optimizers of torch and of pytorch_optimizer keep what z_hat is made of: their memory as the state of a flow.

No formula of z_hat is written down here; it is that of the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flowopt.core.errors import BadValue
from flowopt.core.state import State
from flowopt.systems.adabelief import AdaBelief
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adam import Adam
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.amsgrad import AMSGrad
from flowopt.systems.diffgrad import DiffGrad
from flowopt.systems.madgrad import MADGRAD
from flowopt.systems.rmsprop import RMSprop

Group = Mapping[str, Any]
Memory = Mapping[str, Tensor]
"""What an optimizer keeps of a parameter, as rows: vectors ``(1, D)``, numbers ``(1, 1)``."""


class Reader:
    """Adam, AdamW, NAdam: the base of the others."""

    kind: type[Adam] = Adam

    def system(self, group: Group) -> AdaptiveFlow:
        """The flow whose z_hat a group's is."""
        kind = AMSGrad if group.get("amsgrad") or group.get("ams_bound") else self.kind
        beta1, beta2 = map(float, group["betas"][:2])
        return kind(eps=group["eps"], beta1=beta1, beta2=beta2)

    def momentum(self, group: Group) -> bool:
        """Whether the group has a momentum."""
        return True

    def state(self, group: Group, memory: Memory) -> State:
        """The leaves of the flow that its z_hat looks at."""
        v = memory["exp_avg_sq"]
        largest = {"v_max": memory["max_exp_avg_sq"]} if "max_exp_avg_sq" in memory else {}
        return {"v": v, "v_weight": self.weight(group, memory).to(v.dtype)} | largest

    def weight(self, group: Group, memory: Memory) -> Tensor:
        """What v is divided by because it started at 0, ``(1, 1)``."""
        return 1 - float(group["betas"][1]) ** memory["step"].to(torch.float64)

    def z_hat(self, group: Group, memory: Memory) -> Tensor:
        """z_hat of the coordinates in the memory."""
        return self.system(group).z_hat(self.state(group, memory))


class _Uncorrected(Reader):
    """RAdam, and DiffGrad and AdaMod as their authors wrote them: eps stands beside sqrt(v) before its correction."""

    def weight(self, group: Group, memory: Memory) -> Tensor:
        return torch.ones_like(memory["step"])


class _DiffGrad(_Uncorrected):
    kind = DiffGrad


class _AdaMod(_Uncorrected):
    kind = AdaMod


class _AdaGrad(Reader):
    def system(self, group: Group) -> AdaptiveFlow:
        return AdaGrad(eps=group["eps"])

    def momentum(self, group: Group) -> bool:
        return False

    def state(self, group: Group, memory: Memory) -> State:
        return {"v": memory["sum"]}


class _RMSprop(Reader):
    def system(self, group: Group) -> AdaptiveFlow:
        return RMSprop(eps=group["eps"], beta2=float(group["alpha"]))

    def momentum(self, group: Group) -> bool:
        return bool(group["momentum"] > 0)

    def state(self, group: Group, memory: Memory) -> State:
        v = memory["square_avg"]
        return {"v": v.addcmul(memory["grad_avg"], memory["grad_avg"], value=-1) if group["centered"] else v}


class _MADGRAD(Reader):
    def system(self, group: Group) -> AdaptiveFlow:
        return MADGRAD(eps=group["eps"], beta1=float(group["momentum"]))

    def momentum(self, group: Group) -> bool:
        return bool(group["momentum"] > 0)

    def state(self, group: Group, memory: Memory) -> State:
        return {"v": memory["grad_sum_sq"]}


class _AdaBelief(Reader):
    """s = v + eps (1 - beta2^t) / (1 - beta2) is what it keeps, so that v has the rounding errors of s.

    Of t steps with a rounding error each they are at most u s (1 - beta2^t) / (1 - beta2), u being that of s's format.
    """

    def system(self, group: Group) -> AdaptiveFlow:
        if group["ams_bound"]:
            raise BadValue("AdaBelief(ams_bound=True) keeps the largest s, of which z_hat cannot be told; leave it out")
        beta1, beta2 = map(float, group["betas"][:2])
        return AdaBelief(eps=group["eps"], beta1=beta1, beta2=beta2)

    def z_hat(self, group: Group, memory: Memory) -> Tensor:
        system, s, weight = self.system(group), memory["exp_avg_var"], self.weight(group, memory)
        steps = (weight / (1 - float(group["betas"][1]))).to(s.dtype)
        v, blurred = s - group["eps"] * steps, float(memory["unit"]) * steps * s
        lost = (v < blurred) & (group["eps"] > 0)
        z = system.z_hat({"v": torch.where(lost, blurred, v), "v_weight": weight.to(s.dtype)})
        return torch.where(lost, -z, z)


READERS: dict[tuple[str, str], Reader] = {
    ("torch", "Adagrad"): _AdaGrad(),
    ("torch", "RMSprop"): _RMSprop(),
    **{("torch", name): Reader() for name in ("Adam", "AdamW", "NAdam")},
    ("torch", "RAdam"): _Uncorrected(),
    ("pytorch_optimizer", "AdaBelief"): _AdaBelief(),
    ("pytorch_optimizer", "DiffGrad"): _DiffGrad(),
    ("pytorch_optimizer", "AdaMod"): _AdaMod(),
    ("pytorch_optimizer", "MADGRAD"): _MADGRAD(),
}
"""By library and class. Not in it: Adamax, whose eps goes into a maximum, and Adadelta, whose eps is in two roots."""


def known() -> str:
    """The optimizers whose z_hat can be read, in words."""
    libraries: dict[str, list[str]] = {}
    for library, name in READERS:
        libraries.setdefault("torch.optim" if library == "torch" else library, []).append(name)
    ours = "a FlowOptimizer with an adaptive method (adam, rmsprop, ...)"
    return "; ".join([ours, *(f"{library}'s {', '.join(names)}" for library, names in libraries.items())])


def reader_of(optimizer: Optimizer) -> Reader:
    """The reader for an optimizer. Raises BadValue for one outside the family."""
    for kind in type(optimizer).__mro__:
        found = READERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if found is not None:
            return found
    raise BadValue(
        f"{type(optimizer).__name__} has no eps that decides how adaptive it is, or none that is known here; "
        f"known: {known()}"
    )
