"""flowopt's methods as a `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from flowopt.core._blocks import SCALAR, Blocks
from flowopt.core.errors import BadValue, check_choice, check_count, check_range
from flowopt.core.method import Method
from flowopt.core.roles import Seed
from flowopt.networks._calls import (
    check_call,
    check_returned,
    checked_group,
    dense_gradient,
    drifting,
    loss_value,
    network_method,
)
from flowopt.networks._closure import ClosureMeasure
from flowopt.networks._engine import Engine, Inputs
from flowopt.networks._last_step import LastStep
from flowopt.networks._layout import check_layout, flat, flat_as, shaped
from flowopt.networks._remarks import Remarks, warn, why_it_stands
from flowopt.networks._saved import FLOW, own_state
from flowopt.networks._step import Outcome, Terms, within, write
from flowopt.networks.limiting._limiting import ActivationLimiting

COUNTS = ("steps", "retraces", "nonfinite")


class _Slot(NamedTuple):
    """A parameter that takes part in a step."""

    parameter: Parameter
    group: dict[str, Any]
    place: int
    """Its place among all parameters of the optimizer."""
    name: str


class FlowOptimizer(Optimizer):
    """Any flowopt method in the place of a torch optimizer.

    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = FlowOptimizer(model.parameters(), "ecdsep", exponent=1.0)
    >>> loss = model(torch.ones(1, 2)).square().mean()
    >>> loss.backward()
    >>> _ = optimizer.step(loss=loss)

    params      parameters, named parameters or parameter groups, as torch.optim takes them.
    method      a name, a formula or ``"module:name"`` (see `flowopt.method`), with its parameters as `overrides`, or a
                Method.
    seed        of the method's random numbers.
    maximize    go uphill.
    compile     compile the step with torch.compile; None: from a million parameters on.
    limiting    an `ActivationLimiting` of the model.

    ``step(closure)`` works for every method. ``step()`` after ``backward()`` does for those that need the gradient
    only, ``step(loss=loss)`` for those that need the loss as well. A group's ``lr`` multiplies the steps of its
    parameters: of a method whose step size is a parameter ``lr`` (gd, gdm, tlr, ...) it is that, of any other a factor,
    1 by default. A group's ``weight_decay`` w adds w/2 |q|^2 to the objective; of a method whose decay is decoupled
    (adamw) it shrinks the parameters by w times their step.

    A method that judges a step by the loss after it (elra, armijo, flow) has the step still to be judged in the
    parameters: evaluate the model, and save it for use, inside ``with optimizer.accepted():``. (To go on later, save
    model and optimizer outside of it.) A loss or gradient that is not finite moves nothing, or sends a method that can
    go back to where it was; `last_step` counts these and names the parameter.

    Raises BadValue for parameters out of range, a method that networks cannot run, sparse gradients, or a step without
    what the method needs.
    """

    def __init__(
        self,
        params: Any,
        method: str | Method,
        *,
        seed: Annotated[int, Seed()] = 0,
        maximize: bool = False,
        compile: bool | None = None,
        limiting: ActivationLimiting | None = None,
        **overrides: Any,
    ) -> None:
        check_choice("FlowOptimizer", "maximize", maximize, (True, False))
        check_choice("FlowOptimizer", "compile", compile, (None, True, False))
        check_count("FlowOptimizer", "seed", seed, 0)
        chosen = network_method(method, overrides)
        self.method, self.limiting = chosen.method, limiting
        self._unit, self._seed, self._compile = chosen.unit, seed, compile
        self._prepare()
        super().__init__(params, {"lr": chosen.lr, "weight_decay": chosen.weight_decay, "maximize": maximize})

    def _prepare(self) -> None:
        """What follows from the rest and is not worth saving."""
        self._engine = Engine(self.method, self._compile)
        self._last: LastStep | None = None
        self._remarks = Remarks()
        self._cached: dict[str, tuple[list[Any], Tensor]] = {}
        self._showing = False

    def __repr__(self) -> str:
        return (
            super()
            .__repr__()
            .replace("FlowOptimizer (", f"FlowOptimizer ({self.method.name}: {self.method.formula}", 1)
        )

    def __getstate__(self) -> dict[str, Any]:
        self._check_not_showing("a copy of the optimizer")
        own = {name: getattr(self, name) for name in ("method", "limiting", "_unit", "_seed", "_compile")}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "method" in state:  # a copy or a pickle
            super().__setstate__(state)
            self._prepare()
        else:  # what load_state_dict found, behind its hooks
            device = self._everyone()[0].parameter.device
            own = own_state(state["state"], self.method, self._engine.layout, device)
            self._compare_settings(own.get(FLOW, {}).get("settings", self.method.settings))
            super().__setstate__(state | {"state": own})
            self._last, self._cached = None, {}
        for group in self.param_groups:  # an older version saved fewer options
            for name in ("lr", "weight_decay", "maximize"):
                group.setdefault(name, self.defaults[name])

    def state_dict(self) -> dict[str, Any]:
        """What to save, with the model, to go on later. Raises BadValue inside `accepted`."""
        self._check_not_showing("state_dict()")
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state, bit for bit, with the method's parameters as they were given to this optimizer.

        Warns where these are not those of the saved run. Raises BadValue, and changes nothing, where the state is that
        of another method or model.
        """
        self._check_not_showing("load_state_dict()")
        super().load_state_dict(state_dict)

    def _compare_settings(self, saved: dict[str, Any]) -> None:
        now = self.method.settings
        known = {name: value for name, value in now.items() if name in saved}  # an older version had fewer
        changed = [f"{name} was {saved[name]!r}, is {value!r}" for name, value in known.items() if saved[name] != value]
        if changed:
            warn(f"the saved run had other parameters, and goes on with these: {'; '.join(changed)}")

    def _check_not_showing(self, what: str) -> None:
        if self._showing:
            raise BadValue(f"{what} inside accepted(): the optimizer goes on from other parameters than those there")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its parameters join the flow at their first gradient.

        Raises BadValue, and adds nothing, for an option that groups do not have and for a number out of range.
        """
        if isinstance(param_group, dict):  # else the base class says so
            param_group = checked_group(param_group, self.method, self.defaults["maximize"])
        super().add_param_group(param_group)
        try:
            for slot in self._everyone():
                if not is_lazy(slot.parameter):  # it gets its memory later
                    check_layout(slot.name, slot.parameter)
        except BadValue:
            self.param_groups.pop()
            raise

    @property
    def last_step(self) -> LastStep:
        """Step size, error, energy, acceptance and counts as of the last step. Raises BadValue before the first."""
        if self._last is None:
            raise BadValue("there is no last step yet: call step() first")
        return self._last

    @contextmanager
    def accepted(self) -> Iterator[None]:
        """Put the last accepted parameters in place inside the block, for evaluating or saving the model.

        Only methods that can send a step back have something pending; it comes back afterwards, bit for bit. Neither
        steps nor copies of the optimizer's state are made inside.
        """
        slots = [slot for slot in self._everyone() if slot.parameter in self.state]
        if not slots or not self.method.rejects or self._showing:
            yield
            return
        with torch.no_grad():
            views = [flat(slot.parameter) for slot in slots]
            pending = [view.clone() for view in views]
            vectors, numbers, lr_factors = self._kept(slots)
            write(views, self._engine.last_accepted(views, vectors, numbers, lr_factors))
        self._showing = True
        try:
            yield
        finally:
            self._showing = False
            with torch.no_grad():
                write(views, Blocks(pending))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:
        """Judge the step that led to the present parameters by their loss and gradient, and make the next one.

        Returns the loss, the closure's if there is one. Raises BadValue where the method needs more than it got.
        """
        self._check_not_showing("step()")
        check_call(self.method, self._engine.calls_closure, closure, loss)
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            check_returned(self.method, self._engine.calls_closure, loss)
        if self._last is None and (message := drifting(self.method)):
            self._remarks.say("processes", message)
        slots = self._slots()
        if not slots:
            return loss
        value = loss_value(loss, slots[0].parameter.device)
        if not self._engine.calls_closure:
            self._advance(slots, value, closure, loss)
            return loss
        before = [slot.parameter.detach().clone() for slot in slots]
        try:
            self._advance(slots, value, closure, loss)
        except BaseException:  # raised in the closure, at parameters that only the step was interested in
            for slot, start in zip(slots, before, strict=True):
                slot.parameter.copy_(start)
            raise
        return loss

    def _advance(self, slots: list[_Slot], value: Tensor, closure: Callable[[], Any] | None, loss: Any) -> None:
        views = [flat(slot.parameter) for slot in slots]
        inputs = self._inputs(slots, views, value, closure, loss)
        lr_factors = self._numbers("lr", [slot.group["lr"] for slot in slots], value.device) / self._unit
        before = [block.clone() for block in inputs.q] if self.limiting is not None else []
        self._count(value.device)
        if "h" in self._flow:
            self._join(slots, inputs)
            vectors, numbers, old = self._kept(slots)
            outcome = self._engine.run(inputs, vectors, numbers, (old, lr_factors))
            self._put_counters(slots, numbers)
        else:
            outcome, vectors, numbers = self._engine.begin(inputs, lr_factors, self._seed)
            if not bool(outcome.held):
                self._keep(slots, vectors)
                self._put_counters(slots, numbers)
                self._flow.update({path: numbers[path] for path in self._engine.layout.numbers})
        if self.limiting is not None:
            lr_factors = lr_factors * self._limit(slots, inputs.q, before)
        if inputs.measure is not None:
            write(views, Blocks(inputs.q))
        self._note(slots, outcome, lr_factors, loss is not None)

    def _inputs(
        self, slots: list[_Slot], views: list[Tensor], value: Tensor, closure: Callable[[], Any] | None, loss: Any
    ) -> Inputs:
        grads = [flat_as(dense_gradient(slot.parameter, slot.name), slot.parameter) for slot in slots]
        weights = [slot.group["weight_decay"] for slot in slots]
        decays = tuple(isinstance(weight, Tensor) or weight != 0 for weight in weights)  # a tensor's may change
        terms = Terms(decays, self.param_groups[0]["maximize"], self._engine.decoupled)
        decay = self._numbers("weight_decay", weights, value.device)
        if not self._engine.calls_closure:
            return Inputs(views, grads, terms, decay, value, None)
        assert closure is not None
        measure = ClosureMeasure(closure, [slot.parameter for slot in slots], views, terms, decay, loss)
        # it moves the parameters about and overwrites their gradients, so the step works on copies
        q, grads = [view.clone() for view in views], [grad.clone() for grad in grads]
        return Inputs(q, grads, terms, decay, value, measure)

    def _numbers(self, name: str, values: list[Any], device: torch.device) -> Tensor:
        """Numbers of the groups, one a parameter; handed to the device again only when they change."""
        if any(isinstance(value, Tensor) for value in values):
            return torch.stack([torch.as_tensor(value, dtype=SCALAR, device=device).reshape(()) for value in values])
        return self._on_device(name, values, SCALAR, device)

    def _on_device(self, name: str, values: list[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
        known, tensor = self._cached.get(name, ([], None))
        if known != values or tensor is None:
            for value in values:
                check_range("param_group", name, value)
            tensor = torch.tensor(values, dtype=dtype).to(device, non_blocking=True)  # nobody waits for the device
            self._cached[name] = values, tensor
        return tensor

    def _everyone(self) -> list[_Slot]:
        slots: list[_Slot] = []
        for number, group in enumerate(self.param_groups):
            for place, parameter in enumerate(group["params"]):
                name = group["param_names"][place] if "param_names" in group else f"parameter {place} of group {number}"
                slots.append(_Slot(parameter, group, len(slots), name))
        return slots

    def _slots(self) -> list[_Slot]:
        """The parameters that have a gradient; a method that looks back goes on with those that had one before."""
        back = self.method.looks_back
        return [
            slot
            for slot in self._everyone()
            if (slot.parameter.grad is not None or (back and slot.parameter in self.state)) and slot.parameter.numel()
        ]

    @property
    def _flow(self) -> dict[str, Any]:
        """The numbers of the whole flow, once there has been a step."""
        return cast(dict[Any, dict[str, Any]], self.state)[FLOW]

    def _count(self, device: torch.device) -> None:
        """Counts at the first step; lr_factors and the method's counters for every parameter there is by now."""
        if not self._flow:
            self._flow.update(method=self.method.formula, settings=self.method.settings)
        for name in COUNTS:
            if name not in self._flow:
                self._flow[name] = torch.zeros(1, dtype=torch.int64, device=device)
        total = sum(len(group["params"]) for group in self.param_groups)
        none = torch.empty(0, dtype=SCALAR, device=device)
        for name, first in {"lr_factors": 1.0, **dict.fromkeys(self._engine.layout.counters, 0.0)}.items():
            known = self._flow.get(name, none)
            if len(known) < total:
                self._flow[name] = torch.cat([known, known.new_full((total - len(known),), first)])

    def _keep(self, slots: list[_Slot], vectors: dict[str, list[Tensor]]) -> None:
        for place, slot in enumerate(slots):
            like = [slot.parameter]
            kept = {path: within(like, Blocks([parts[place]])).parts[0] for path, parts in vectors.items()}
            blocks = {path: shaped(part, slot.parameter) for path, part in kept.items()}
            self.state[slot.parameter] = blocks

    def _join(self, slots: list[_Slot], inputs: Inputs) -> None:
        """Parameters whose first gradient has come only now join the flow."""
        late = [place for place, slot in enumerate(slots) if slot.parameter not in self.state]
        if late:
            self._keep([slots[place] for place in late], self._engine.join([inputs.q[place] for place in late]))

    def _kept(self, slots: list[_Slot]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor], Tensor]:
        """Vectors, numbers and lr_factors kept for these parameters; the tensors themselves, not copies."""
        layout, flow = self._engine.layout, self._flow
        for slot in slots:
            _lay_out(self.state[slot.parameter], slot.parameter)
        vectors = {path: [flat(self.state[slot.parameter][path]) for slot in slots] for path in layout.vectors}
        numbers = {path: flow[path] for path in layout.numbers}
        counters = {path: self._of(slots, path) for path in layout.counters}
        return vectors, numbers | counters, self._of(slots, "lr_factors")

    def _of(self, slots: list[_Slot], name: str) -> Tensor:
        """One of the flow's numbers of parameters, ``(n,)``: those of these."""
        known = cast(Tensor, self._flow[name])
        return known if len(slots) == len(known) else known[self._places(slots)]

    def _put(self, slots: list[_Slot], name: str, numbers: Tensor) -> None:
        known = cast(Tensor, self._flow[name])
        if len(slots) == len(known):
            known.copy_(numbers)
        else:
            known[self._places(slots)] = numbers.to(known.dtype)

    def _put_counters(self, slots: list[_Slot], numbers: dict[str, Tensor]) -> None:
        for path in self._engine.layout.counters:
            self._put(slots, path, numbers[path])

    def _places(self, slots: list[_Slot]) -> Tensor:
        return self._on_device("place", [slot.place for slot in slots], torch.int64, self._flow["lr_factors"].device)

    def _limit(self, slots: list[_Slot], q: list[Tensor], before: list[Tensor]) -> Tensor:
        """Shorten the moves as activation limiting says, and return the factors ``(n,)``."""
        assert self.limiting is not None
        moves = {slot.parameter: shaped(q[i] - before[i], slot.parameter) for i, slot in enumerate(slots)}
        at = {slot.parameter: shaped(before[i], slot.parameter) for i, slot in enumerate(slots)}
        found = self.limiting.factors(moves, at=at)
        one = torch.ones((), dtype=SCALAR, device=before[0].device)
        factors = torch.stack([found.get(slot.parameter, one).to(SCALAR) for slot in slots])
        for block, start, factor in zip(q, before, factors.unbind(), strict=True):
            block.copy_(torch.lerp(start, block, factor.to(block.dtype)))
        return factors

    def _note(self, slots: list[_Slot], outcome: Outcome, lr_factors: Tensor, with_loss: bool) -> None:
        """Count what happened and remember the factors of the moves that are now pending."""
        flow, known = self._flow, self._of(slots, "lr_factors")
        first = known[0].clone()
        self._put(slots, "lr_factors", torch.where(outcome.held, known, lr_factors))
        flow["steps"] += 1
        flow["retraces"] += ~outcome.taken & ~outcome.held
        flow["nonfinite"] += ~torch.isfinite(outcome.value + outcome.square)
        counts = {name: flow[name].clone() for name in COUNTS}
        self._last = LastStep(outcome, with_loss, [slot.name for slot in slots], first, counts)
        if outcome.held.is_cpu:  # elsewhere asking would wait for the device
            if bool(outcome.held):
                self._remarks.nothing_moved(self.method.name, self.param_groups, self._last)
            elif reason := why_it_stands(self.method, float(flow["h"]), outcome, self.param_groups[0]["maximize"]):
                self._remarks.say("step", f"{reason.what}; nothing moves. {reason.cure}")


def _lay_out(leaves: dict[str, Any], like: Tensor) -> None:
    """Bring what is kept of a parameter into its memory format, which may have changed since."""
    for path, leaf in leaves.items():
        if leaf.stride() != like.stride():
            leaves[path] = torch.empty_like(like).copy_(leaf)
