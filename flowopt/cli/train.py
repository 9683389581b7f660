"""``flowopt train``: train a network, show how it goes, keep the run."""

from __future__ import annotations

import math
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowopt.cli._options import INTERRUPTED, TERMINATED, Json
from flowopt.core._files import check_writable, write_json
from flowopt.core.errors import BadValue, UnknownName, check_count

if TYPE_CHECKING:
    from flowopt.cli._train_settings import TrainSettings
    from flowopt.training._history import History


def train(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="digits, mnist, fashion-mnist, cifar10, cifar100, power or text:FILE."),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="A model with its sizes: mlp:64-32, cnn:16-32, lenet5, resnet18, lstm:128x2, ..."),
    ] = None,
    method: Annotated[
        list[str],
        typer.Option("--method", "-m", help="A method's name or torch:OPTIMIZER; may be given again: one run each."),
    ] = ["elra"],
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter; may be given again. KEY=VALUE goes to every method that has it, METHOD.KEY=VALUE to "
            "one, model.KEY=VALUE to the model, data.KEY=VALUE to the dataset. Values are Python literals, else text.",
        ),
    ] = [],
    epochs: Annotated[int, typer.Option(help="Epochs in total, those before --resume included.")] = 30,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the weights, of the order of the samples and of all noise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: a CUDA GPU if there is one.")] = "auto",
    limiting: Annotated[
        str | None, typer.Option(metavar="READING", help="ECCO's activation limiting: batch_mean, median, ...")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset's files.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch files that are missing there.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: a new one for each run, in flowopt-out.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out (default: the last one with that name).")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write events for TensorBoard.")] = False,
    json: Json = None,
) -> None:
    """Train a network; print a line an epoch; write checkpoints, metrics (CSV, JSON) and curves.

    Ctrl-C and SIGTERM end it after the running step; --resume goes on from there, bit for bit.
    """
    from flowopt.cli._network_options import DEFAULT_MODELS, check_names, device_named, network, plain
    from flowopt.cli._train_settings import check_optimizer, make_optimizer, sort_out
    from flowopt.training import checkpoint, datasets
    from flowopt.training._fit import fit

    chosen = list(dict.fromkeys(method))
    given = sort_out(set_, chosen)
    for option, value, least in (("--epochs", epochs, 1), ("--batch-size", batch_size, 1), ("--seed", seed, 0)):
        check_count("train", option, value, least)
    check_names(dataset, model, given.model, given.data)
    for name, parameters in given.methods.items():
        check_optimizer(name, parameters, limiting)
    place = device_named(device)
    root = _default_folder(dataset, model, chosen, resume) if out is None else out
    folders = {name: root / plain(name) if len(chosen) > 1 else root for name in chosen}
    if resume:
        _check_resumable(root, folders.values())
    for folder in folders.values():
        checkpoint.claim(folder, resume)
    if json is not None:
        check_writable(json)
    runs: dict[str, History] = {}
    with _termination() as exit_code:
        data = datasets.load(dataset, **{"data_dir": data_dir, "download": download} | given.data)
        spec = DEFAULT_MODELS[data.task] if model is None else model
        steps = math.ceil(len(data.train_inputs) / batch_size)
        for name, folder in folders.items():
            trained = network(spec, data, seed, given.model).to(place)
            optimizer = make_optimizer(name, given.methods[name], trained, seed, steps, limiting)
            print(f"{name}: {spec} on {data.name}, {place}, in {folder}", flush=True)
            runs[name] = fit(
                trained,
                data,
                optimizer,
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                out=folder,
                resume=resume,
                settings=_described(given, method=name, model=spec, limiting=limiting),
                callbacks=[_Lines(), *_events(folder, tensorboard)],
                progress=True,
            )
            print(f"{name}: {_ending(runs[name])}", flush=True)
            if runs[name].status == "interrupted":
                break
        _finish(runs, folders, root / "curves.png", json)
        if runs[name].status == "interrupted":
            print(f"flowopt: interrupted; --resume --out {shlex.quote(str(root))} goes on from there", file=sys.stderr)
            raise typer.Exit(exit_code())


def _described(given: TrainSettings, **settings: Any) -> dict[str, Any]:
    """What the record and the checkpoint shall say of the settings."""
    for section, options in (("model", given.model), ("data", given.data)):
        settings |= {f"{section}.{key}": value for key, value in options.items()}
    return settings


class _Lines:
    """Prints each epoch as it ends."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, history: History) -> None:
        if not self._begun:
            print(history.header())
        self._begun = True
        print(history.line(history.epochs[-1]), flush=True)


def _ending(history: History) -> str:
    """The numbers of the last epoch and how the run ended, in a sentence."""
    parts = [history.message]
    if history.epochs:
        last = history.epochs[-1]
        numbers = ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in (*history.metrics, "test_loss"))
        parts.append(f"test {numbers}")
    if bad := sum(not step.finite for step in history.steps):
        parts.append(f"loss or gradient was not finite in {bad} of {len(history.steps)} steps")
    return "; ".join(parts)


def _events(folder: Path, wanted: bool) -> list[Callable[[History], object]]:
    """The callback that writes events for TensorBoard, if they are wanted."""
    if not wanted:
        return []
    from flowopt.training._tensorboard import TensorBoardLogger, summary_writer

    return [TensorBoardLogger(summary_writer(folder / "tensorboard"))]


def _finish(runs: dict[str, History], folders: dict[str, Path], picture: Path, json: Path | None) -> None:
    """Draw the curves, write the JSON, and say which files there are."""
    from flowopt.show._training_curves import training_curves
    from flowopt.training._history import METRICS_CSV, METRICS_JSON, STEPS_CSV
    from flowopt.training._run import MODEL
    from flowopt.training.checkpoint import CHECKPOINT

    files = []
    for name in runs:
        print(f"wrote {', '.join((METRICS_CSV, METRICS_JSON, STEPS_CSV, MODEL, CHECKPOINT))} in {folders[name]}")
    if any(history.epochs for history in runs.values()):
        training_curves(runs, picture)
        files.append(picture)
    if json is not None:
        files.append(write_json(json, {name: history.to_dict() for name, history in runs.items()}))
    for file in files:
        print(f"wrote {file}")


@contextmanager
def _termination() -> Iterator[Callable[[], int]]:
    """Inside, SIGTERM does what Ctrl-C does; yields the exit code that goes with the one that came."""
    code = INTERRUPTED

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal code
        code = TERMINATED
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: code
    except KeyboardInterrupt:  # outside an epoch, or for the second time
        raise typer.Exit(code) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _default_folder(dataset: str, model: str | None, methods: list[str], resume: bool) -> Path:
    """A folder of its own for a run of that kind, or that of the last such run."""
    from flowopt.cli._network_options import folder_name, free_number, numbered

    name = folder_name(dataset, model, *methods)
    free = free_number(name)
    return numbered(name, max(1, free - 1) if resume else free)


def _check_resumable(root: Path, folders: Iterable[Path]) -> None:
    """Raise UnknownName or BadValue where no folder holds a run; of several methods some may not have begun."""
    from flowopt.training.checkpoint import CHECKPOINT

    if any((folder / CHECKPOINT).exists() for folder in folders):
        return
    runs = {str(found.parent) for pattern in ("*", "*/*") for found in root.parent.glob(f"{pattern}/{CHECKPOINT}")}
    if runs:
        raise UnknownName("run to resume", str(root), runs)
    raise BadValue(f"{root} holds no run to resume: it has no {CHECKPOINT}; leave out --resume to start a new one")
