"""Many copies of a network as one: their parameters stacked, and what they compute side by side through torch.func."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from flowopt.core import noise
from flowopt.core.errors import BadValue
from flowopt.networks.tasks import Loss

ModelFn = Callable[[int], nn.Module]
PRECISIONS = (torch.float32, torch.float64)


class OutputsFirst(nn.Linear):
    """nn.Linear with its products written as W x^T, outputs first.

    The same numbers, but of a batch of small matrices this product and those of its gradients are up to five times
    faster than the ones of x W^T, and the gradients come out in the layout of the parameters.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2:
            return super().forward(x)
        outputs = self.weight @ x.mT
        return (outputs if self.bias is None else outputs + self.bias.unsqueeze(-1)).mT


class SeededDropout(nn.Dropout):
    """nn.Dropout whose mask is a hash of a key and the layer's place: a member drops the same alone and in a crowd."""

    key: Tensor
    place: int

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        u = noise.uniform(self.key.unsqueeze(0), torch.full_like(self.key, self.place).unsqueeze(0), x.numel())
        return torch.where(u.view(x.shape) >= self.p, x / (1 - self.p), 0.0)


class StackedModel:
    """B copies of a network, in each of which the parameters are its own.

    `model_fn(seed)` builds a member, with torch's random numbers seeded by `seed` while it does. Parameters that need
    no gradient and buffers are its own as well, but are not trained.
    Raises BadValue for a network that cannot run under `torch.vmap` or whose members are not alike.
    """

    def __init__(self, model_fn: ModelFn, seeds: Sequence[int], dtype: torch.dtype | None) -> None:
        self.template = _built(model_fn, seeds[0], dtype)
        _check_modules(self.template)
        self._train = _as_member(self.template)
        self._eval = copy.deepcopy(self._train).eval()
        named = self._train.named_modules()
        self._dropouts = [f"{name}.key" for name, module in named if isinstance(module, SeededDropout)]
        first = _tensors(self.template)
        stacked = {name: tensor.new_empty((len(seeds), *tensor.shape)) for name, tensor in first.items()}
        for row, seed in enumerate(seeds):
            theirs = _tensors(_built(model_fn, seed, dtype)) if row else first
            _check_alike(row, first, theirs)
            for name, tensor in theirs.items():
                stacked[name][row] = tensor
        self.names = [name for name, parameter in self.template.named_parameters() if parameter.requires_grad]
        self.shapes = [first[name].shape for name in self.names]
        self.parameters = [stacked.pop(name).view(len(seeds), -1) for name in self.names]
        """What is trained, one block ``(B, D_i)`` a parameter, in the order of ``named_parameters``."""
        self.constants = stacked
        """All else, ``(B, *shape)``."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters, and of the inputs."""
        return self.parameters[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters[0].device

    def values(
        self, leaves: Sequence[Tensor], constants: Mapping[str, Tensor], seeds: Tensor, steps: int
    ) -> dict[str, Tensor]:
        """All tensors of A members by name, for parameters ``(A, *shape)`` and the dropout that seeds ``(A,)`` give."""
        keys = dict.fromkeys(self._dropouts, noise.scramble(noise.scramble(seeds) + steps)) if self._dropouts else {}
        return dict(zip(self.names, leaves, strict=True)) | dict(constants) | keys

    def losses(self, values: dict[str, Tensor], data: tuple[Tensor, Tensor], shared: bool, loss: Loss) -> Tensor:
        """Losses ``(A,)`` in training on (inputs, targets): one batch if `shared`, else A of them, ``(A, N, ...)``."""
        return _side_by_side(self._train, values, data, shared, loss)

    def means(self, rows: Tensor, data: tuple[Tensor, Tensor], means: Sequence[Loss]) -> Tensor:
        """Means over shared data, ``(A, number of means)``, of the members `rows` ``(A,)`` in evaluation mode."""
        values = {name: tensor[rows] for name, tensor in self._values().items()}
        return _side_by_side(self._eval, values, data, True, lambda y, t: torch.stack([mean(y, t) for mean in means]))

    def _values(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.leaves(self.parameters), strict=True)) | self.constants

    def leaves(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Blocks ``(A, D_i)`` as parameters ``(A, *shape)``."""
        return [part.view(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def member(self, row: int) -> nn.Module:
        """A network of its own with the parameters of one member."""
        model = copy.deepcopy(self.template)
        values = self._values()
        with torch.no_grad():
            for name, tensor in _tensors(model).items():
                tensor.copy_(values[name][row])
        return model


def _side_by_side(
    base: nn.Module, values: dict[str, Tensor], data: tuple[Tensor, Tensor], shared: bool, finish: Loss
) -> Tensor:
    def one(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return finish(functional_call(base, values, (inputs,)), targets)

    along = None if shared else 0
    try:
        return torch.vmap(one, in_dims=(0, along, along))(values, *data)
    except RuntimeError as error:
        if "vmap" not in str(error) and "Batching rule" not in str(error):
            raise
        hint = "; of random operations only the module nn.Dropout can" if "random" in str(error) else ""
        raise BadValue(f"the network has an operation that many members cannot run at once{hint}: {error}") from error


def _built(model_fn: ModelFn, seed: int, dtype: torch.dtype | None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = model_fn(seed)
    if not isinstance(model, nn.Module):
        raise BadValue(f"model_fn(seed) must return a torch.nn.Module, not {model!r}")
    return model if dtype is None else model.to(dtype)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those that are tied once."""
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _as_member(template: nn.Module) -> nn.Module:
    """A copy that computes the same with modules fit for a member."""
    base = copy.deepcopy(template)
    for place, module in enumerate(base.modules()):
        if type(module) is nn.Linear:
            module.__class__ = OutputsFirst
        elif type(module) is nn.Dropout:
            module.__class__ = SeededDropout
            cast(SeededDropout, module).place = place
            module.register_buffer("key", torch.zeros((), dtype=torch.int64))
    return base


def _check_modules(model: nn.Module) -> None:
    for name, module in model.named_modules():
        kind = type(module).__name__
        where = f"{name or 'the model'} is {kind}"
        if isinstance(module, _NormBase) and module.training and module.track_running_stats:
            raise BadValue(
                f"{where} with running statistics, which many members cannot update at once: build it with "
                "track_running_stats=False (torch.func.replace_all_batch_norm_modules_ does that to a model), or take "
                "GroupNorm"
            )
        if isinstance(module, nn.RNNBase):
            raise BadValue(
                f"{where}, which torch.vmap cannot run: write its steps out with nn.{kind}Cell, or take "
                'models.build("lstm:...", fused=False)'
            )
        if isinstance(module, _DropoutNd) and type(module) is not nn.Dropout and module.training and module.p:
            raise BadValue(f"{where}; of the dropouts only nn.Dropout can be seeded for each member: take that, or p=0")
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
            raise BadValue(f"{where} with sparse gradients, but a flow moves all coordinates together: sparse=False")
    if any(nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
        raise BadValue("the model has lazy parameters: run a batch through it in model_fn, so that they take shape")
    wrong = {name: p.dtype for name, p in model.named_parameters() if p.requires_grad and p.dtype not in PRECISIONS}
    if wrong:
        raise BadValue(f"parameters must be float32 or float64 (dtype=... converts them), but there are {wrong}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadValue("the model has no parameter to train")


def _check_alike(row: int, first: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (first, other)]
    if shapes[0] != shapes[1]:
        name, shape = next(iter(set(shapes[1].items()) ^ set(shapes[0].items())))
        raise BadValue(
            f"all members must have the same tensors, but {name} of shape {shape} is not in both member 0 and member "
            f"{row}; make an ensemble of each architecture"
        )
