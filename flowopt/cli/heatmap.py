"""``flowopt heatmap``: train a network for every pair of two hyperparameters, all at once, and draw what came of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowopt.cli import _completion as names
from flowopt.cli import _options as options
from flowopt.cli._endings import INTERRUPTED, leave, wrote
from flowopt.cli._places import check_files, folder_for, run_name
from flowopt.core._files import write_json

if TYPE_CHECKING:
    from flowopt.cli._networks import Learning
    from flowopt.training._heat_map import Axis, HeatMap

DATA, PICTURE = "heatmap.npz", "heatmap.png"


def heatmap(
    dataset: options.DatasetName,
    model: options.ModelSpec = None,
    method: Annotated[
        str,
        options.method("A method's name (flowopt list methods), a formula, or module:function.", names.methods),
    ] = "adam",
    x: Annotated[
        str,
        typer.Option(
            metavar="AXIS",
            help="A parameter and its values: lr=1e-5:1:6 (first, last, how many: evenly spaced powers), lr=0.1,0.3,1, "
            "or 1-beta2=1e-4:1:5 for those of 1 - beta2.",
        ),
    ] = "lr=1e-5:1:6",
    y: Annotated[str, typer.Option(metavar="AXIS", help="The other one.")] = "eps=1e-8:1:9",
    set_: options.NetworkSet = [],
    seeds: Annotated[int, typer.Option(metavar="N", help="Networks a cell, with the seeds 0, 1, 2, ...")] = 1,
    epochs: Annotated[
        int, typer.Option(metavar="N", help="Epochs; a cell shows the best of them, chosen on the test samples.")
    ] = 10,
    batch_size: options.BatchSize = 128,
    bounds: Annotated[
        str | None,
        typer.Option(metavar="LOWER,UPPER", help="Mark an estimate of eps (flowopt epsilon) in the picture."),
    ] = None,
    ridge: Annotated[
        bool, typer.Option("--ridge", help="Draw a line along which lr / eps is the best at the largest eps.")
    ] = False,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    download: options.Download = False,
    out: options.NetworkOut = None,
    json: options.Json = None,
) -> None:
    """Train a network for every pair of two hyperparameters, all as one ensemble; write a picture and the numbers.

    A cell shows the best accuracy (perplexity, error) on the test samples over the epochs, mean over the seeds: the
    test samples choose the epoch, as in the paper's figures, so it flatters. What the last epoch left is said too.
    Ctrl-C ends it after the running step and keeps the epochs that were finished.
    """
    from flowopt.cli._heatmap_axes import parse_axes, parse_bounds
    from flowopt.cli._networks import Learning, check, device_named, settings_of, with_epoch_length
    from flowopt.show._heat_map_picture import check_marks
    from flowopt.training._heat_map import heat_map

    given = settings_of([method], set_)
    check("heatmap", dataset, model, given, seeds=seeds, epochs=epochs, batch_size=batch_size)
    fixed = given.methods[method]
    axes = parse_axes(x, y, method, fixed)
    estimate = parse_bounds(bounds)
    check_marks(*axes, method, estimate, ridge)
    place = device_named(device)
    folder = folder_for(out, run_name(dataset, model, method, "heatmap"), DATA, "a heat map")
    check_files(json)
    learning = _for_ensembles(Learning.read(dataset, model, given, place, data_dir, download))
    _check_network(learning)
    print(_plan(axes, seeds, method, f"{learning}, in {folder}"), flush=True)
    found = heat_map(
        learning.network,
        method,
        *axes,
        learning.data,
        epochs=epochs,
        seeds=range(seeds),
        batch_size=batch_size,
        hyperparameters=with_epoch_length(method, fixed, learning.steps(batch_size)),
        about={"model": learning.spec, "model options": learning.options, "data options": given.sections["data"]},
        progress=True,
    )
    _finish(found, folder, estimate, ridge, json)


def _for_ensembles(learning: Learning) -> Learning:
    """The same; a recurrence is written out step by step where nothing else is asked for: see `Ensemble`."""
    from flowopt.training.models import MODELS

    fused = "fused" in MODELS[learning.spec.partition(":")[0]].options
    return replace(learning, options={"fused": False} | dict(learning.options)) if fused else learning


def _check_network(learning: Learning) -> None:
    """Raise BadValue, before anything is announced, for a network that an ensemble cannot hold or run."""
    from flowopt.networks import Ensemble

    data = learning.data
    one = Ensemble(learning.network, 1, "gd", task=data.task)
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
    wrote(*files)
    if found.interrupted:
        leave(INTERRUPTED, f"interrupted; {done} of {found.about['epochs']} epochs were finished")
