"""Training a network: the loop of which `flowopt train` is the face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from flowopt.core._files import plain
from flowopt.core._interruption import interruption
from flowopt.core._progress import progress_bar
from flowopt.core.errors import BadValue, check_count
from flowopt.core.memory import ran_out
from flowopt.core.roles import Seed
from flowopt.networks import tasks
from flowopt.networks._batch_size import BatchSizeController
from flowopt.training import checkpoint
from flowopt.training._history import History
from flowopt.training._run import Run
from flowopt.training.datasets.dataset import Dataset

FINAL = ("diverged", "ended")
"""A run that has come to this does not go on."""

Callback = Callable[[History], object]
"""Called after each epoch; a true result stops the run."""


def fit(
    model: nn.Module,
    data: Dataset,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch_size: int = 128,
    seed: Annotated[int, Seed()] = 0,
    task: tasks.Task | None = None,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    growth: BatchSizeController | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
) -> History:
    """Train a model, evaluate it on the test samples after each epoch, and keep a record of every step.

        data = datasets.load("digits")
        model = models.build("mlp:64-32", input_shape=data.input_shape, outputs=data.outputs, task=data.task, seed=0)
        history = fit(model, data, FlowOptimizer(model.parameters(), "elra"), epochs=30)
        print(history.table())

    optimizer   a FlowOptimizer or any torch optimizer of the model's parameters; every step gets a closure.
    epochs      in total, those before a `resume` included.
    batch_size  samples a step; the last batch of an epoch may be smaller. With `growth`: of a micro-batch.
    seed        of the order of the samples (another one in each epoch) and of torch's random numbers (dropout).
    task        loss and metrics; None: those of ``data.task``.
    scheduler   stepped after each epoch; a ReduceLROnPlateau looks at the training loss.
    growth      ELRA's dynamic batch size; an epoch is its control period.
    out         folder for checkpoint.pt (to resume from), model.pt (the weights as evaluated: a state dict),
                metrics.csv, metrics.json and steps.csv; all are written after each epoch.
    resume      go on from the checkpoint in `out`, on the CPU bit for bit; begin where there is none yet.
    settings    plain data to keep with the record. A checkpoint of other settings is refused.
    progress    a bar on stderr for an epoch that takes long.

    Training takes place where the model lies: move it to the GPU first; the samples follow. A method that judges a step
    by the loss after it is evaluated, and saved in model.pt, at its last accepted parameters. Ctrl-C ends the run after
    the step under way; with `out`, `resume` goes on within the epoch. A run that diverges ends and says why:
    ``history.message``; so does one whose memory runs out, and its checkpoint is that of the last epoch.

    Raises BadValue for numbers out of range, a folder that has a run already (unless `resume`), and a checkpoint of
    other settings or one that cannot be read.
    """
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        check_count("fit", name, value, least)
    described = {
        "batch_size": batch_size,
        "seed": seed,
        "scheduler": None if scheduler is None else type(scheduler).__name__,
        "growth": growth is not None,
        **checkpoint.settings_of(model, data, optimizer),
        **(settings or {}),
    }
    history = History(plain(described))
    chosen = tasks.task(data.task) if task is None else task
    run = Run(model, data, optimizer, batch_size, seed, chosen, scheduler, growth, history)
    if resume and out is None:
        raise BadValue("fit: resume=True needs the folder of the run to go on with: out=...")
    folder = None if out is None else Path(out)
    kept = None
    if folder is not None:
        checkpoint.claim(folder, resume)
        kept = checkpoint.read(folder, history.settings)
    with checkpoint.random_numbers(seed, run.device), interruption() as asked:
        if kept is not None:
            run.load_state_dict(kept)
        if history.status not in FINAL:
            _epochs(run, epochs, folder, callbacks, asked, progress)
    return history


def _epochs(
    run: Run,
    epochs: int,
    folder: Path | None,
    callbacks: Sequence[Callback],
    asked: Callable[[], bool],
    progress: bool,
) -> None:
    """Train, evaluate and save epoch after epoch, until all are done or something ends the run."""
    history = run.history
    history.begin()
    while history.status == "running" and run.epoch <= epochs:
        try:
            with progress_bar(progress, f"epoch {run.epoch} of {epochs}", run.steps_to_do()) as bar:
                finished = run.train(asked, bar)
            if finished:
                run.finish_epoch()
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error) or not history.steps:
                raise
            return _out_of_memory(history, error, folder)
        if finished:
            answers = [callback(history) for callback in callbacks]
            if any(answers):
                history.end("stopped", f"stopped by a callback after epoch {len(history.epochs)}")
        if asked():
            done = f"{len(history.steps)} steps, {len(history.epochs)} epochs"
            history.end("interrupted", f"interrupted after {done}")
        elif run.epoch > epochs:
            history.end("complete", f"{epochs} epochs done")
        if folder is not None:
            run.save(folder)
    history.end("complete", f"{len(history.epochs)} epochs done")  # resumed, and there was nothing left to do


def _out_of_memory(history: History, error: BaseException, folder: Path | None) -> None:
    """End a run within a step: its checkpoint stays that of the last epoch, as the parameters may be half moved."""
    reason = str(error).split("\n", 1)[0] or "MemoryError"
    done = f"{len(history.steps)} steps, {len(history.epochs)} epochs"
    history.end("interrupted", f"interrupted after {done}: memory ran out ({reason}); try a smaller batch_size")
    if folder is not None:
        history.save(folder)
