"""``flowopt train``: train a network, show how it goes, keep the run."""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NamedTuple

import torch
import typer

from flowopt.commands.options import INTERRUPTED, TERMINATED, Json
from flowopt.commands.train_settings import TrainSettings, check_optimizer, make_optimizer, sort_out
from flowopt.errors import BadValue, UnknownName, check_count
from flowopt.files import check_writable, plain, write_json
from flowopt.training import checkpoint, datasets, models
from flowopt.training.datasets import Dataset
from flowopt.training.checkpoint import CHECKPOINT
from flowopt.training.history import METRICS_CSV, METRICS_JSON, STEPS_CSV, History
from flowopt.training.loop import fit
from flowopt.training.run import MODEL

DEFAULT_MODELS = {"classification": "mlp:64-32", "regression": "lstm:32", "language": "lstm:128"}
"""Of each task."""
OUT = Path("flowopt-out")
"""Where runs go that are not told where to go."""


class Job(NamedTuple):
    """What is to be trained, whatever the method."""

    data: Dataset
    model: str
    given: TrainSettings
    epochs: int
    batch_size: int
    seed: int
    device: torch.device
    limiting: str | None
    resume: bool
    tensorboard: bool


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
    ] = ["elra"],  # noqa: B006 (typer reads the default and never changes it)
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter; may be given again. KEY=VALUE goes to every method that has it, METHOD.KEY=VALUE to "
            "one, model.KEY=VALUE to the model, data.KEY=VALUE to the dataset. Values are Python literals, else text.",
        ),
    ] = [],  # noqa: B006
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
    chosen = list(dict.fromkeys(method))
    given = sort_out(set_, chosen)
    for option, value, least in (("--epochs", epochs, 1), ("--batch-size", batch_size, 1), ("--seed", seed, 0)):
        check_count("flowopt train", option, value, least)
    _check_names(dataset, model, given)
    for name in chosen:
        check_optimizer(name, given.methods[name], limiting)
    place = _device(device)
    root = _default_folder("-".join([dataset, *([model] if model else []), *chosen]), resume) if out is None else out
    folders = {name: root / _plain(name) if len(chosen) > 1 else root for name in chosen}
    for folder in folders.values():
        checkpoint.claim(folder, resume)
    if json is not None:
        check_writable(json)
    with _termination() as exit_code:
        data = datasets.load(dataset, **{"data_dir": data_dir, "download": download} | given.data)
        spec = DEFAULT_MODELS[data.task] if model is None else model
        job = Job(data, spec, given, epochs, batch_size, seed, place, limiting, resume, tensorboard)
        runs: dict[str, History] = {}
        for name, folder in folders.items():
            runs[name] = _run(job, name, folder)
            if runs[name].status == "interrupted":
                break
        _finish(runs, folders, root / "curves.png", json)
        if runs[name].status == "interrupted":
            print(f"flowopt: interrupted; --resume --out {root} goes on from there", file=sys.stderr)
            raise typer.Exit(exit_code())


def _run(job: Job, method: str, folder: Path) -> History:
    data, options = job.data, job.given
    print(f"{method}: {job.model} on {data.name}, {job.device}, in {folder}", flush=True)
    shape: dict[str, Any] = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    model = models.build(job.model, **shape, seed=job.seed, **options.model).to(job.device)
    steps = math.ceil(len(data.train_inputs) / job.batch_size)
    parameters = options.methods[method]
    settings: dict[str, Any] = {"method": method, "model": job.model, "limiting": job.limiting}
    for section, chosen in (("model", options.model), ("data", options.data)):
        settings |= {f"{section}.{key}": value for key, value in chosen.items()}
    with _events(folder, job.tensorboard) as events:
        history = fit(
            model,
            data,
            make_optimizer(
                method, parameters, model, seed=job.seed, steps_an_epoch=steps, limiting=job.limiting
            ),
            epochs=job.epochs,
            batch_size=job.batch_size,
            seed=job.seed,
            out=folder,
            resume=job.resume,
            settings=plain(settings),
            callbacks=[_Lines(), *events],
            progress=True,
        )
    print(f"{method}: {_ending(history)}", flush=True)
    return history


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


@contextmanager
def _events(folder: Path, wanted: bool) -> Iterator[list[Callable[[History], object]]]:
    """The callback that writes events for TensorBoard, if they are wanted."""
    if not wanted:
        yield []
        return
    from flowopt.training.tensorboard import TensorBoardLogger, summary_writer

    with summary_writer(folder / "tensorboard") as writer:
        yield [TensorBoardLogger(writer)]


def _finish(runs: dict[str, History], folders: dict[str, Path], picture: Path, json: Path | None) -> None:
    """Draw the curves, write the JSON, and say which files there are."""
    from flowopt.plots.training import training_curves

    files = [folders[name] / file for name in runs for file in (METRICS_CSV, STEPS_CSV, METRICS_JSON, MODEL, CHECKPOINT)]
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


def _check_names(dataset: str, model: str | None, given: TrainSettings) -> None:
    """Raise UnknownName for a dataset, a model or an option of theirs that does not exist."""
    _check_known(f"option of {dataset}", given.data, datasets.accepts(dataset).keys() - {"dtype"})
    if model is not None:
        name = model.partition(":")[0]
        _check_known("model", [name], models.MODELS)
        _check_known(f"option of {name}", given.model, models.MODELS[name].options)


def _check_known(kind: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise BadValue(f"--device {name}: {str(error).splitlines()[0]}") from error
    if device.type not in ("cpu", "cuda"):
        raise BadValue(f"--device {name}: training runs on cpu and cuda, and needs double precision for its numbers")
    return device


def _default_folder(name: str, resume: bool) -> Path:
    """A new folder for a run of that name, or the last one that there is."""

    def numbered(number: int) -> Path:
        return OUT / (_plain(name) if number == 1 else f"{_plain(name)}-{number}")

    free = next(number for number in count(1) if not numbered(number).exists())
    return numbered(max(1, free - 1) if resume else free)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name)
