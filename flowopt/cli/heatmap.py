"""``flowopt heatmap``: train a network for every pair of two hyperparameters, all at once, and draw what came of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowopt.cli._options import INTERRUPTED, Json
from flowopt.core._files import check_writable, write_json
from flowopt.core.errors import BadValue, check_count

if TYPE_CHECKING:
    from torch import nn

    from flowopt.networks.ensemble._stacked_model import ModelFn
    from flowopt.training._heat_map import Axis, HeatMap
    from flowopt.training.datasets import Dataset

DATA, PICTURE = "heatmap.npz", "heatmap.png"


def heatmap(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="digits, mnist, fashion-mnist, cifar10, cifar100, power or text:FILE."),
    ],
    model: Annotated[str | None, typer.Option(help="A model with its sizes: mlp:64-32, cnn:8-16, lstm:32, ...")] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="A method's name (flowopt list methods).")] = "adam",
    x: Annotated[
        str,
        typer.Option(
            metavar="AXIS",
            help="A parameter and its values: lr=1e-5:1:6 (first, last, how many: evenly spaced powers), lr=0.1,0.3,1, "
            "or 1-beta2=1e-4:1:5 for those of 1 - beta2.",
        ),
    ] = "lr=1e-5:1:6",
    y: Annotated[str, typer.Option(metavar="AXIS", help="The other one.")] = "eps=1e-8:1:9",
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter of the method for all cells, model.KEY=VALUE or data.KEY=VALUE; may be given again.",
        ),
    ] = [],
    seeds: Annotated[int, typer.Option(help="Networks a cell, with the seeds 0, 1, 2, ...")] = 1,
    epochs: Annotated[
        int, typer.Option(help="Epochs; a cell shows the best of them, chosen on the test samples.")
    ] = 10,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    bounds: Annotated[
        str | None,
        typer.Option(metavar="LOWER,UPPER", help="Mark an estimate of eps (flowopt epsilon) in the picture."),
    ] = None,
    ridge: Annotated[
        bool, typer.Option("--ridge", help="Draw a line along which lr / eps is the best at the largest eps.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: a CUDA GPU if there is one.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset's files.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch files that are missing there.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for picture and data. Default: a new one each time, in flowopt-out.")
    ] = None,
    json: Json = None,
) -> None:
    """Train a network for every pair of two hyperparameters, all as one ensemble; write a picture and the numbers.

    A cell shows the best accuracy (perplexity, error) on the test samples over the epochs, mean over the seeds: the
    test samples choose the epoch, as in the paper's figures, so it flatters. What the last epoch left is said too.
    Ctrl-C ends it after the running step and keeps the epochs that were finished.
    """
    from flowopt.cli._heatmap_axes import parse_axis, parse_bounds
    from flowopt.cli._network_options import (
        DEFAULT_MODELS,
        check_names,
        device_named,
        folder_name,
        network,
        with_epoch_length,
    )
    from flowopt.cli._train_settings import sort_out
    from flowopt.show._heat_map_picture import check_marks
    from flowopt.training import datasets
    from flowopt.training._heat_map import check_once, heat_map

    given = sort_out(set_, [method])
    for option, value in (("--seeds", seeds), ("--epochs", epochs), ("--batch-size", batch_size)):
        check_count("heatmap", option, value, 1)
    check_names(dataset, model, given.model, given.data)
    fixed = given.methods[method]
    axes = (parse_axis(x, method, fixed), parse_axis(y, method, fixed))
    check_once(*axes, fixed)
    estimate = parse_bounds(bounds)
    check_marks(*axes, method, estimate, ridge)
    place, folder = device_named(device), _folder(out, folder_name(dataset, model, method, "heatmap"))
    if json is not None:
        check_writable(json)
    data = datasets.load(dataset, **{"data_dir": data_dir, "download": download} | given.data)
    spec = DEFAULT_MODELS[data.task] if model is None else model
    options = _for_ensembles(spec, given.model)

    def build(seed: int) -> nn.Module:
        return network(spec, data, seed, options).to(place)

    hyperparameters = with_epoch_length(method, fixed, math.ceil(len(data.train_inputs) / batch_size))
    _check_network(build, data)
    print(_plan(axes, seeds, method, f"{spec} on {data.name}, {place}, in {folder}"), flush=True)
    found = heat_map(
        build,
        method,
        *axes,
        data,
        epochs=epochs,
        seeds=range(seeds),
        batch_size=batch_size,
        hyperparameters=hyperparameters,
        about={"model": spec, "model options": options, "data options": given.data},
        progress=True,
    )
    _finish(found, folder, estimate, ridge, json)


def _folder(out: Path | None, name: str) -> Path:
    """Where picture and data go, made. Raises BadValue where there is a heat map already, or no folder can be."""
    from flowopt.cli._network_options import free_number, numbered

    folder = numbered(name, free_number(name)) if out is None else out
    if (folder / DATA).exists():
        raise BadValue(f"{folder} holds a heat map already; give another folder")
    check_writable(folder / DATA)
    return folder


def _for_ensembles(spec: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A model's options; a recurrence is written out step by step where nothing else is asked for: see `Ensemble`."""
    from flowopt.training.models import MODELS

    fused = "fused" in MODELS[spec.partition(":")[0]].options
    return ({"fused": False} if fused else {}) | dict(options)


def _check_network(build: ModelFn, data: Dataset) -> None:
    """Raise BadValue, before anything is announced, for a network that an ensemble cannot hold or run."""
    from flowopt.networks.ensemble._ensemble import Ensemble

    one = Ensemble(build, 1, "gd", task=data.task)
    one.evaluate(data.test_inputs[:1].to(one.model.device), data.test_targets[:1].to(one.model.device))


def _plan(axes: tuple[Axis, Axis], seeds: int, method: str, what: str) -> str:
    x, y = (len(axis.values) for axis in axes)
    return f"{method}: {x} x {y} cells" + (f" x {seeds} seeds" if seeds > 1 else "") + f" of {what}"


def _finish(found: HeatMap, folder: Path, bounds: tuple[float, float] | None, ridge: bool, json: Path | None) -> None:
    """Print the map, write it, and say where it is."""
    import numpy as np

    from flowopt.show.tables import show

    done = len(found.curves)
    if done:
        show(found.table())
    print(found.summary())
    files = [found.save(folder / DATA)]
    if not np.isnan(found.cells).all():
        found.plot(folder / PICTURE, bounds=bounds, ridge=ridge)
        files.append(folder / PICTURE)
    if json is not None:
        files.append(write_json(json, found.to_dict()))
    for file in files:
        print(f"wrote {file}")
    if found.interrupted:
        print(f"flowopt: interrupted; {done} of {found.about['epochs']} epochs were finished", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
