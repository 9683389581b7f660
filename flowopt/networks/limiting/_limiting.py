"""Activation limiting: no step of a layer's parameters carries its pre-activations past zero."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import Parameter

from flowopt.core.errors import BadValue, UnknownName, check_choice
from flowopt.networks.limiting._crossings import READINGS, crossings
from flowopt.networks.limiting._preactivations import Affine, Inputs, obstacle, preactivations

ACTIVATIONS = (nn.ReLU, nn.Sigmoid, nn.Tanh)

_MARK = "_flowopt_preactivation"
"""Attribute of a layer's output by which the activation behind it recognises it: the layer's name and its use."""


class ActivationLimiting:
    """Per-layer factors that keep proposed moves from carrying pre-activations across zero (ECCO-DNN, 3.2.2).

    ::

        limiting = ActivationLimiting(model)
        optimizer = FlowOptimizer(model.parameters(), "ecco", limiting=limiting)

    For a pre-activation a of a layer followed by sigmoid, ReLU or tanh and its change da = dW x + db under the proposed
    move: delta_i = -a_i/da_i where a and a + da have opposite signs, else 1 (dimensionless). The layer's parameters
    are to move by delta times the move, delta in (0, 1]. No forward pass is added: x is what the layer saw last.

    reading: over what delta is taken (3.2.2, section 5 and Algorithm 1 of the paper contradict each other):

    - ``"batch_mean"``: the smallest delta_i over the units, of a and da averaged over the batch. Ours; it keeps only
      the mean input of each layer.
    - ``"every_sample"``: the smallest over units and samples, 3.2.2 to the letter. Large batches nearly freeze.
    - ``"median"``: the median over the units and samples that would cross. Ours.
    - ``"max"``: the largest of them, the update rule of section 5. Close to 1.

    Algorithm 1 leaves out the test for a crossing, which gives steps backwards; it is not offered.

    activations: layers that hooks cannot see, by name: ``{"fc1": "relu"}`` ("sigmoid", "relu", "tanh"; None leaves a
    layer unlimited). Seen without it are one-layer RNN, LSTM and GRU modules, and Linear and Conv layers whose output
    goes straight into an ``nn.ReLU``, ``nn.Sigmoid`` or ``nn.Tanh``. Name those with a function behind them
    (``F.relu``), or pooling, dropout or a reshape between; not those with a normalisation between: it moves the zero.
    `limited` tells which layers were found. All others move freely.

    A unit is an output feature (Linear: all leading dimensions are samples), a channel at a position (Conv: averaged
    over the batch, not over positions), or a gate of a hidden unit (recurrent: averaged over time and batch).

    Only passes in training mode with gradients enabled count. Several before one step (gradient accumulation) are one
    batch; several uses of a layer within a pass are layers of their own, the smallest delta wins. The first pass after
    `factors` begins a new record; until then the readings other than the mean hold on to all inputs, so `remove` the
    limiting when training goes on without it. A copy of the model (deepcopy, pickle) takes a limiting of its own
    along; copy both together to keep hold of it. Not for use under ``torch.func`` transforms.

    Raises UnknownName for a module that does not exist, BadValue for a layer that cannot be limited.
    """

    def __init__(
        self, model: nn.Module, reading: str = "batch_mean", activations: Mapping[str, str | None] | None = None
    ) -> None:
        check_choice("ActivationLimiting", "reading", reading, READINGS)
        self.model = model
        self.reading = reading
        self._places: dict[str, tuple[Affine, ...]] = {}
        self._records: dict[tuple[Any, ...], list[tuple[Inputs, int]]] = {}
        self._pending: dict[tuple[str, int], list[Inputs]] = {}
        self._uses: dict[str, int] = {}
        self._spent = False
        self._handles: list[Any] = []
        self._hook(self._find(dict(activations or {})))

    @property
    def limited(self) -> tuple[str, ...]:
        """Names of the layers that were found to feed an activation in the last training passes."""
        return tuple(dict.fromkeys(key[0] for key in self._records))

    @torch.no_grad()
    def factors(
        self, moves: Mapping[Parameter, Tensor], at: Mapping[Parameter, Tensor] | None = None
    ) -> dict[Parameter, Tensor]:
        """The factor by which to shorten each parameter's move, 0-dim in (0, 1]; a parameter not in it moves freely.

        moves: the proposed displacements, each of its parameter's shape; a parameter that is absent stays.
        at: where the moves start; needed if the parameters no longer have the values of the forward pass.
        Parameters of one layer share one factor, and so do layers that share a parameter: the smallest. Does not
        synchronise with the device. May be called again, for other moves, before the next forward pass.

        Raises BadValue if no layer was seen to feed an activation since the last step.
        """
        self._check_recorded()
        self._spent = True
        limits = []
        for (name, index, *_), chunks in self._records.items():
            layer, place = self.model.get_submodule(name), self._places[name][index]
            own = {n: p for n in place.names if (p := layer._parameters.get(n)) is not None}
            if any(p in moves for p in own.values()):
                found = [_crossings(layer, place, own, inputs, moves, at or {}) for inputs, _ in chunks]
                deltas, crossing = (torch.cat(parts) for parts in zip(*found, strict=True))
                limits.append((frozenset(own.values()), READINGS[self.reading](deltas, crossing)))
        return {p: delta for p, delta in _shared(limits).items() if p in moves}

    def remove(self) -> None:
        """Take the hooks off the model and forget what they noted."""
        for handle in self._handles:
            handle.remove()
        self._forget()

    def _find(self, named: dict[str, str | None]) -> set[str]:
        """Note the pre-activations of all layers; names of those that are sure to feed an activation."""
        modules = dict(self.model.named_modules())
        for name, activation in named.items():
            if name not in modules:
                raise UnknownName("module", name, modules)
            check_choice("ActivationLimiting", f"activations[{name!r}]", activation, ("relu", "sigmoid", "tanh", None))
        sure = {name for name in modules if name in named or isinstance(modules[name], nn.RNNBase)}
        for name, module in modules.items():
            problem = obstacle(module)
            if named.get(name, "") is None:
                continue
            if problem and name in sure:
                raise BadValue(f"activation limiting: {name!r} {problem}, or leave it unlimited: {{{name!r}: None}}")
            if not problem:
                self._places[name] = preactivations(module)
        return sure

    def _hook(self, sure: set[str]) -> None:
        self._handles.append(self.model.register_forward_pre_hook(self._between_passes))
        self._handles.append(self.model.register_forward_hook(self._between_passes))
        for name, module in self.model.named_modules():
            if name in self._places:
                hook = partial(self._layer_ran, name, name in sure)
                self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
            elif isinstance(module, ACTIVATIONS):
                self._handles.append(module.register_forward_pre_hook(self._activation_runs, with_kwargs=True))

    def _between_passes(self, *_: Any) -> None:
        self._uses.clear()
        self._pending.clear()  # holds the inputs of layers that no activation followed

    def _layer_ran(self, name: str, sure: bool, layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not (torch.is_grad_enabled() and layer.training):
            return
        if self._spent:
            self._forget()
        use = self._uses[name] = self._uses.get(name, -1) + 1
        given = {**dict(zip(("input", "hx"), args, strict=False)), **kwargs}
        inputs = [place.inputs(layer, given, output) for place in self._places[name]]
        if sure:
            self._record(name, use, inputs)
        else:
            self._pending[name, use] = inputs
            setattr(output, _MARK, (name, use))

    def _activation_runs(self, activation: nn.Module, args: Any, kwargs: Any) -> None:
        name, use = getattr(args[0] if args else kwargs["input"], _MARK, ("", -1))
        if (name, use) in self._pending:
            self._record(name, use, self._pending.pop((name, use)))

    def _record(self, name: str, use: int, inputs_of_places: list[Inputs]) -> None:
        for index, inputs in enumerate(inputs_of_places):
            samples = len(inputs[0])
            if self.reading != "batch_mean":
                self._records.setdefault((name, index, use), []).append((inputs, samples))
                continue
            key = (name, index, use, *(x.shape[1:] for x in inputs))  # larger images are other units
            means = tuple(x.mean(0, keepdim=True, dtype=_working(x.dtype)) for x in inputs)
            for earlier, count in self._records.get(key, ()):
                samples += count
                means = tuple(torch.lerp(new, old, count / samples) for new, old in zip(means, earlier, strict=True))
            self._records[key] = [(means, samples)]

    def _forget(self) -> None:
        self._spent = False
        self._records.clear()
        self._between_passes()

    def _check_recorded(self) -> None:
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # Each process would limit by its own part of the batch, and the copies of the model would drift apart.
            raise BadValue("activation limiting works in one process only; this run has several")
        if not self._records:
            raise BadValue(
                "activation limiting: since the last step no activation was seen behind any of "
                f"{', '.join(map(repr, self._places)) or 'the layers'}. The model must run in training mode with "
                "gradients enabled, and layers that are followed by a function must be named, e.g. "
                'activations={"fc1": "relu"}'
            )


def _working(dtype: torch.dtype) -> torch.dtype:
    """Signs and ratios are taken in at least single precision."""
    return torch.promote_types(dtype, torch.float32)


def _crossings(
    layer: nn.Module,
    place: Affine,
    own: Mapping[str, Parameter],
    inputs: Inputs,
    moves: Mapping[Parameter, Tensor],
    at: Mapping[Parameter, Tensor],
) -> tuple[Tensor, Tensor]:
    """delta_i and crossing for one batch of inputs."""
    dtype = _working(next(iter(own.values())).dtype)
    inputs = tuple(x.to(dtype) for x in inputs)
    values = {name: at.get(p, p).to(dtype) for name, p in own.items()}
    changes = {name: moves[p].to(dtype) if p in moves else torch.zeros_like(values[name]) for name, p in own.items()}
    sizes = {name: value.abs() for name, value in values.items()}
    magnitude = place.apply(layer, tuple(x.abs() for x in inputs), sizes)
    return crossings(place.apply(layer, inputs, values), place.apply(layer, inputs, changes), magnitude)


def _shared(limits: list[tuple[frozenset[Parameter], Tensor]]) -> dict[Parameter, Tensor]:
    """One delta for all parameters of a layer and of layers that have one in common: else da would not scale by it."""
    group: dict[Parameter, frozenset[Parameter]] = {}
    for parameters, _ in limits:
        joined = parameters.union(*(group[p] for p in parameters if p in group))
        group.update(dict.fromkeys(joined, joined))
    smallest: dict[frozenset[Parameter], Tensor] = {}
    for parameters, delta in limits:
        key = group[next(iter(parameters))]
        smallest[key] = torch.minimum(smallest.get(key, delta), delta)
    return {p: smallest[key] for p, key in group.items()}
