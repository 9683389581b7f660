"""``flowopt epsilon``: train for an epoch, and say between which values an optimizer's eps should be looked for."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from flowopt.cli._options import INTERRUPTED, Json
from flowopt.core._files import check_writable, write_json
from flowopt.core.errors import BadValue, check_count, check_positive

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from flowopt.diagnostics._bounds import AdaptiveShare, EpsilonBounds
    from flowopt.diagnostics._gradient_histograms import GradientHistograms
    from flowopt.training._history import History

DATA, PICTURE = "histograms.npz", "histograms.png"


def epsilon(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="digits, mnist, fashion-mnist, cifar10, cifar100, power or text:FILE."),
    ],
    model: Annotated[
        str | None, typer.Option(help="A model with its sizes: mlp:64-32, cnn:16-32, resnet18, lstm:128x2, ...")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", "-m", help="An adaptive method's name, or torch:Adam, torch:RMSprop, ...")
    ] = "adam",
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter of the method, model.KEY=VALUE or data.KEY=VALUE; may be given again.",
        ),
    ] = [],
    eps: Annotated[
        list[float],
        typer.Option(help="Show the share that adapts at this eps; may be given again. Default: powers of ten."),
    ] = [],
    epochs: Annotated[int, typer.Option(help="Epochs of training before z_hat is looked at.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the weights, of the order of the samples and of all noise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: a CUDA GPU if there is one.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset's files.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch files that are missing there.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for picture and data. Default: a new one each time, in flowopt-out.")
    ] = None,
    json: Json = None,
) -> None:
    """Train for an epoch; print bounds for eps, which share adapts at which eps, and the values worth trying.

    Writes histograms of z_hat, the numbers that eps competes with, as a picture and as data. At the end of the first
    epoch the bounds are those of Algorithm 2 of the paper on epsilon from gradient histograms.
    """
    from torch import nn

    from flowopt.cli._network_options import (
        DEFAULT_MODELS,
        check_names,
        device_named,
        folder_name,
        free_number,
        network,
        numbered,
    )
    from flowopt.cli._train_settings import make_optimizer, sort_out
    from flowopt.diagnostics._gradient_histograms import GradientHistograms
    from flowopt.diagnostics._histogram_record import SNAPSHOTS
    from flowopt.diagnostics.z_hat import name_parameters, rules
    from flowopt.training import datasets
    from flowopt.training._fit import fit

    given = sort_out(set_, [method])
    for option, value, least in (("--epochs", epochs, 1), ("--batch-size", batch_size, 1), ("--seed", seed, 0)):
        check_count("epsilon", option, value, least)
    for wanted in eps:
        check_positive("epsilon", **{"--eps": wanted})
    check_names(dataset, model, given.model, given.data)
    rules(make_optimizer(method, given.methods[method], nn.Linear(1, 1)))  # raises for one outside the family
    place, name = device_named(device), folder_name(dataset, model, method, "epsilon")
    folder = numbered(name, free_number(name)) if out is None else out
    if (folder / DATA).exists():
        raise BadValue(f"{folder} holds histograms already; give another folder")
    for file in (folder / DATA, *([json] if json is not None else [])):
        check_writable(file)
    data = datasets.load(dataset, **{"data_dir": data_dir, "download": download} | given.data)
    spec = DEFAULT_MODELS[data.task] if model is None else model
    steps = math.ceil(len(data.train_inputs) / batch_size)
    trained = network(spec, data, seed, given.model).to(place)
    optimizer = make_optimizer(method, given.methods[method], trained, seed, steps)
    print(f"{method}: {spec} on {data.name}, {place}, in {folder}", flush=True)
    name_parameters(optimizer, trained)
    with GradientHistograms(optimizer, every=max(1, epochs * steps // SNAPSHOTS)) as watched:
        history = fit(trained, data, optimizer, epochs=epochs, batch_size=batch_size, seed=seed, progress=True)
    bad = sum(not step.finite for step in history.steps)
    if watched.steps and not watched.latest.histograms:
        raise BadValue(f"{method}: no loss and gradient was finite, so there is no z_hat; try a smaller --set lr=")
    if watched.steps:
        found = _findings(optimizer, watched, eps)
        _show(found, history)
        _write(found, folder, json, {"data": data.name, "model": spec, "method": method, "settings": history.settings})
    if bad:
        which = f"{bad} of {len(history.steps)} steps"
        print(f"flowopt: loss or gradient was not finite in {which}; z_hat is that of the others", file=sys.stderr)
    if history.status == "interrupted":
        print(f"flowopt: {history.message}; this is what was done", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


class _Findings(NamedTuple):
    watched: GradientHistograms
    bounds: EpsilonBounds
    listed: list[AdaptiveShare]
    """At the values of eps that the table shows."""
    judged: list[AdaptiveShare]
    """At those that there is a sentence for: the optimizer's own, and those worth trying."""

    def to_dict(self) -> dict[str, Any]:
        """For a file."""
        from flowopt.diagnostics._verdicts import verdict

        return {
            "optimizer": [rule.to_dict() for rule in self.watched.rules],
            "bounds": self.bounds.to_dict(),
            "shares": [share.to_dict() for share in self.listed],
            "verdicts": {share.eps: verdict(share, self.watched.rules) for share in self.judged},
        }


def _findings(optimizer: Optimizer, watched: GradientHistograms, asked: Sequence[float]) -> _Findings:
    from flowopt.diagnostics._bounds import adaptive_share, epsilon_bounds
    from flowopt.diagnostics.z_hat import z_hats

    if watched.latest.step < watched.steps:
        watched.measure()
    numbers = z_hats(optimizer)
    bounds = epsilon_bounds(numbers)
    own = [watched.eps] if watched.eps else []
    listed, judged = sorted({*own, *(asked or bounds.powers)}), dict.fromkeys([*own, *bounds.candidates])
    return _Findings(watched, bounds, *([adaptive_share(numbers, eps) for eps in some] for some in (listed, judged)))


def _show(found: _Findings, history: History) -> None:
    """Print how the training went, and all that was found."""
    from flowopt.diagnostics._verdicts import judgement, left_out, share_table
    from flowopt.show.tables import show

    lines = [history.header(), *map(history.line, history.epochs)] if history.epochs else [history.message]
    print("\n".join(lines), end="\n\n")
    show(found.bounds.table())
    show(share_table(found.listed, found.watched.rules))
    for share in found.judged:
        role = "worth trying" if share.eps in found.bounds.candidates else "as it is"
        print(f"{role}: {judgement(share, found.watched.rules)}")
    print(left_out(found.judged[0]), end="\n\n")


def _write(found: _Findings, folder: Path, json: Path | None, about: dict[str, Any]) -> None:
    """Write data and picture, and say where they are."""
    from flowopt.show._histogram_picture import chosen

    files = [found.watched.save(folder / DATA), folder / PICTURE]
    found.watched.plot(folder / PICTURE)
    if others := chosen(found.watched.latest.histograms)[1]:
        print(f"not in the picture: {', '.join(others)}")
    if json is not None:
        files.append(write_json(json, about | found.to_dict()))
    for file in files:
        print(f"wrote {file}")
