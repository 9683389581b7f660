"""Heat maps: how well a network learns over a grid of two hyperparameters, all cells trained as one ensemble."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core._interruption import interruption
from flowopt.core._progress import progress_bar
from flowopt.core.errors import check_count
from flowopt.core.roles import Seed
from flowopt.networks import tasks
from flowopt.networks._batches import batches
from flowopt.networks.ensemble._ensemble import Ensemble
from flowopt.networks.ensemble._stacked_model import ModelFn
from flowopt.training._heat_map_record import Axis, HeatMap, check_once
from flowopt.training.datasets.dataset import Dataset

__all__ = ["Axis", "HeatMap", "check_once", "heat_map"]

Array = NDArray[Any]


def heat_map(
    model_fn: ModelFn,
    method: str,
    x: tuple[str, Sequence[float]],
    y: tuple[str, Sequence[float]],
    data: Dataset,
    *,
    epochs: int,
    seeds: Annotated[Sequence[int], Seed()] = (0,),
    batch_size: int = 128,
    hyperparameters: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> HeatMap:
    """Train a network for every x, y and seed, all of them as one `Ensemble`, and keep its test metric of every epoch.

        data = datasets.load("digits")
        shape = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
        build = lambda seed: models.build("mlp:64-32", **shape, seed=seed)
        powers = lambda first, last: [10.0**k for k in range(first, last + 1)]
        found = heat_map(build, "adam", ("lr", powers(-5, 0)), ("eps", powers(-8, 0)), data, epochs=10)
        print(found.summary())

    x, y             name and values of a numeric parameter of the method: ("eps", values), or ("1-beta2", values)
                     where the values are those of 1 - beta2.
    seeds            of the initial weights. The order of the samples is the same for all networks.
    hyperparameters  of the method, the same for all.
    about            plain data to keep with the record, besides what this function knows itself.

    A network of the map learns what it would learn alone, to rounding. The metric is the first of the task: accuracy,
    perplexity, root mean squared error. Ctrl-C ends it after the step under way, with the epochs that were finished.

    Raises UnknownName and BadValue for what cannot run, before any step: axes as `Axis.checked` does, parameters out of
    range, the same parameter twice, no seed, and networks that an `Ensemble` refuses.
    """
    across, up = Axis.checked(*x, method), Axis.checked(*y, method)
    fixed = dict(hyperparameters or {})
    check_once(across, up, fixed)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("number of seeds", len(seeds))):
        check_count("heat_map", name, value, 1)
    upward, sideward, seed = np.meshgrid(up.settings, across.settings, np.array(seeds), indexing="ij")
    ensemble = Ensemble(
        model_fn,
        seed.size,
        method,
        fixed | {up.parameter: upward.ravel(), across.parameter: sideward.ravel()},
        seeds=seed.ravel().tolist(),
        task=data.task,
        record_every=0,
    )
    metric = next(iter(tasks.task(data.task).metrics), "loss")
    with interruption() as asked:
        untrained, *curves = _train(ensemble, data, metric, epochs, batch_size, asked, progress)
    endings = [ensemble.endings.get(member) for member in range(len(ensemble))]
    known = {"data": data.name, "method": ensemble.method.name, "epochs": epochs, "batch_size": batch_size}
    return HeatMap(
        x=across,
        y=up,
        seeds=tuple(map(int, seeds)),
        metric=metric,
        untrained=untrained[: len(seeds)],
        curves=np.array(curves).reshape(-1, *seed.shape),
        status=np.array(ensemble.status).reshape(seed.shape),
        ended=np.array([ending.step if ending else 0 for ending in endings]).reshape(seed.shape),
        interrupted=len(curves) < epochs and None in endings,
        about=known | {"hyperparameters": fixed} | dict(about or {}),
    )


def _train(
    ensemble: Ensemble,
    data: Dataset,
    metric: str,
    epochs: int,
    batch_size: int,
    asked: Callable[[], bool],
    progress: bool,
) -> Iterator[Array]:
    """Train; at the start and after each epoch the metric of the networks that still run, ``(B,)``."""
    device = ensemble.model.device
    inputs, targets, *test = (
        tensor.to(device) for tensor in (data.train_inputs, data.train_targets, data.test_inputs, data.test_targets)
    )
    yield _running(ensemble, ensemble.evaluate(*test)[metric])
    steps = epochs * math.ceil(len(inputs) / batch_size)
    with progress_bar(progress, f"{ensemble.method.name}, {len(ensemble)} networks", steps) as bar:
        for epoch in range(epochs):
            for index in batches(len(inputs), batch_size, seed=0, epoch=epoch):
                if asked() or len(ensemble.endings) == len(ensemble):
                    return
                samples = index.to(device)
                ensemble.step(inputs[samples], targets[samples])
                bar(ensemble.steps)
            yield _running(ensemble, ensemble.evaluate(*test)[metric])


def _running(ensemble: Ensemble, values: Tensor) -> Array:
    values = values.cpu().clone()
    values[list(ensemble.endings)] = torch.nan
    return values.numpy()
