"""``flowopt train``: train a network, show how it goes, keep the run."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowopt.cli import _completion as names
from flowopt.cli import _options as options
from flowopt.cli._endings import INTERRUPTED, TERMINATED, leave, wrote
from flowopt.cli._places import as_file, check_files, free_number, numbered, run_name
from flowopt.core._files import write_json
from flowopt.core.errors import BadValue, UnknownName

if TYPE_CHECKING:
    from flowopt.cli.settings import Settings
    from flowopt.training._history import History


def train(
    dataset: options.DatasetName,
    model: options.ModelSpec = None,
    method: Annotated[
        list[str],
        options.method(
            "A method's name, a formula, module:function or torch:OPTIMIZER; may be given again: one run each.",
            names.network_methods,
        ),
    ] = ["elra"],
    set_: options.NetworkSet = [],
    epochs: Annotated[int, typer.Option(metavar="N", help="Epochs in total, those before --resume included.")] = 30,
    batch_size: options.BatchSize = 128,
    seed: options.NetworkSeed = 0,
    device: options.Device = "auto",
    limiting: Annotated[
        str | None,
        typer.Option(
            metavar="READING",
            help="ECCO's activation limiting: batch_mean, median, ...",
            autocompletion=names.readings,
        ),
    ] = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    out: options.NetworkOut = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out (default: the last one with that name).")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write events for TensorBoard.")] = False,
    json: options.Json = None,
) -> None:
    """Train a network; print a line an epoch; write checkpoints, metrics (CSV, JSON) and curves.

    Ctrl-C and SIGTERM end it after the running step; --resume goes on from there, bit for bit.
    """
    from flowopt.cli._networks import Learning, check, check_optimizer, device_named, make_optimizer, settings_of
    from flowopt.training import checkpoint, fit

    chosen = list(dict.fromkeys(method))
    given = settings_of(chosen, set_)
    check("train", dataset, model, given, seed=seed, epochs=epochs, batch_size=batch_size)
    for name, parameters in given.methods.items():
        check_optimizer(name, parameters, limiting)
    place = device_named(device)
    root = _default_folder(dataset, model, chosen, resume) if out is None else out
    folders = {name: root / as_file(name) if len(chosen) > 1 else root for name in chosen}
    if resume:
        _check_resumable(root, folders.values())
    for folder in folders.values():
        checkpoint.claim(folder, resume)
    check_files(json)
    runs: dict[str, History] = {}
    with _termination() as exit_code:
        learning = Learning.read(dataset, model, given, place, data_dir, download)
        for name, folder in folders.items():
            trained = learning.network(seed)
            parameters = given.methods[name]
            optimizer = make_optimizer(name, parameters, trained, seed, learning.steps(batch_size), limiting)
            print(f"{name}: {learning}, in {folder}", flush=True)
            runs[name] = fit(
                trained,
                learning.data,
                optimizer,
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                out=folder,
                resume=resume,
                settings=_described(given, method=name, model=learning.spec, limiting=limiting),
                callbacks=[_Lines(), *_events(folder, tensorboard)],
                progress=True,
            )
            print(f"{name}: {_ending(runs[name])}", flush=True)
            if runs[name].status == "interrupted":
                break
        _finish(runs, folders, root / "curves.png", json)
        if runs[name].status == "interrupted":
            leave(exit_code(), f"interrupted; --resume --out {shlex.quote(str(root))} goes on from there")


def _described(given: Settings, **settings: Any) -> dict[str, Any]:
    """What the record and the checkpoint shall say of the settings."""
    for section, values in given.sections.items():
        settings |= {f"{section}.{key}": value for key, value in values.items()}
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
    wrote(*files)


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
    name = run_name(dataset, model, *methods)
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
