"""``flowopt epsilon``: train for an epoch, and say between which values an optimizer's eps should be looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from flowopt.cli import _completion as names
from flowopt.cli import _options as options
from flowopt.cli._endings import INTERRUPTED, leave, warn, wrote
from flowopt.cli._places import check_files, folder_for, run_name
from flowopt.core._files import write_json
from flowopt.core.errors import BadValue, check_positive

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from flowopt.diagnostics._bounds import AdaptiveShare, EpsilonBounds
    from flowopt.diagnostics._gradient_histograms import GradientHistograms
    from flowopt.training._history import History

DATA, PICTURE = "histograms.npz", "histograms.png"


def epsilon(
    dataset: options.DatasetName,
    model: options.ModelSpec = None,
    method: Annotated[
        str,
        options.method("An adaptive method's name, or torch:Adam, torch:RMSprop, ...", names.network_methods),
    ] = "adam",
    set_: options.NetworkSet = [],
    eps: Annotated[
        list[float],
        typer.Option(
            metavar="EPS", help="Show the share that adapts at this eps; may be given again. Default: powers of ten."
        ),
    ] = [],
    epochs: Annotated[int, typer.Option(metavar="N", help="Epochs of training before z_hat is looked at.")] = 1,
    batch_size: options.BatchSize = 128,
    seed: options.NetworkSeed = 0,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    download: options.Download = False,
    out: options.NetworkOut = None,
    json: options.Json = None,
) -> None:
    """Train for an epoch; print bounds for eps, which share adapts at which eps, and the values worth trying.

    Writes histograms of z_hat, the numbers that eps competes with, as a picture and as data. At the end of the first
    epoch the bounds are those of Algorithm 2 of the paper on epsilon from gradient histograms.
    """
    from torch import nn

    from flowopt.cli._networks import Learning, check, device_named, make_optimizer, settings_of
    from flowopt.diagnostics._gradient_histograms import GradientHistograms
    from flowopt.diagnostics._histogram_record import SNAPSHOTS
    from flowopt.diagnostics.z_hat import name_parameters, rules
    from flowopt.training import fit

    given = settings_of([method], set_)
    check("epsilon", dataset, model, given, seed=seed, epochs=epochs, batch_size=batch_size)
    for wanted in eps:
        check_positive("epsilon", **{"--eps": wanted})
    rules(make_optimizer(method, given.methods[method], nn.Linear(1, 1)))  # raises for one outside the family
    place = device_named(device)
    folder = folder_for(out, run_name(dataset, model, method, "epsilon"), DATA, "histograms")
    check_files(json)
    learning = Learning.read(dataset, model, given, place, data_dir, download)
    steps, trained = learning.steps(batch_size), learning.network(seed)
    optimizer = make_optimizer(method, given.methods[method], trained, seed, steps)
    print(f"{method}: {learning}, in {folder}", flush=True)
    name_parameters(optimizer, trained)
    with GradientHistograms(optimizer, every=max(1, epochs * steps // SNAPSHOTS)) as watched:
        history = fit(trained, learning.data, optimizer, epochs=epochs, batch_size=batch_size, seed=seed, progress=True)
    bad = sum(not step.finite for step in history.steps)
    if watched.steps and not watched.latest.histograms:
        raise BadValue(f"{method}: no loss and gradient was finite, so there is no z_hat; try a smaller --set lr=")
    if watched.steps:
        found = _findings(optimizer, watched, eps)
        _show(found, history)
        about = {"data": learning.data.name, "model": learning.spec, "method": method, "settings": history.settings}
        _write(found, folder, json, about)
    if bad:
        warn(f"loss or gradient was not finite in {bad} of {len(history.steps)} steps; z_hat is that of the others")
    if history.status == "interrupted":
        leave(INTERRUPTED, f"{history.message}; this is what was done")


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
    wrote(*files)
