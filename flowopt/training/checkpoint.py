"""Checkpoints: whole files or none, read without running code, and refused by a run of other settings."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from flowopt.core._files import check_writable, replacing
from flowopt.core.errors import BadValue
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.training.datasets.dataset import Dataset

CHECKPOINT = "checkpoint.pt"


def claim(folder: Path, resume: bool) -> None:
    """Make a folder for a run. Raises BadValue where that fails, and where a run is that is not to be resumed."""
    check_writable(folder / CHECKPOINT)
    if not resume and (folder / CHECKPOINT).exists():
        raise BadValue(f"{folder} holds a run already: resume it, or take another folder")


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run: it replaces the one before when it is whole and on disk."""
    with replacing(folder / CHECKPOINT) as file:
        torch.save(dict(content), file)


def read(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The checkpoint in a folder, on the CPU; None if there is none.

    Raises BadValue for a file that is not one, and for one of other settings.
    """
    path = folder / CHECKPOINT
    for leftover in folder.glob(f".{CHECKPOINT}.*.tmp"):  # of a run that was killed while it wrote
        leftover.unlink(missing_ok=True)
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved = content["settings"]
    except Exception as error:  # a damaged file fails in as many ways as there are in pickle and zip
        reason = str(error).split("\n", 1)[0]
        raise BadValue(
            f"{path} is not a checkpoint of flowopt, or is damaged ({reason}); start in another folder"
        ) from error
    _check_settings(folder, saved, settings)
    return content


def _check_settings(folder: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise BadValue, naming what differs, unless a checkpoint's settings are those of the run."""
    names = [name for name in {**now, **saved} if (name in saved, saved.get(name)) != (name in now, now.get(name))]
    # an option that only one of two methods has says no more than that the methods differ
    named = [name for name in names if name in saved and name in now] or names
    if names:
        differences = "; ".join(f"{n} was {saved.get(n, 'not set')!r}, is {now.get(n, 'not set')!r}" for n in named)
        raise BadValue(
            f"the run in {folder} was made with other settings: {differences}. "
            "Resume it with its own settings, or start anew in another folder"
        )


def settings_of(model: nn.Module, data: Dataset, optimizer: Optimizer) -> dict[str, Any]:
    """What tells one run from another: the samples, the size of the model, the parameters of the optimizer."""
    checksum = 0
    for tensor in (data.train_inputs, data.train_targets, data.test_inputs, data.test_targets):
        checksum = zlib.crc32(tensor.cpu().contiguous().numpy().data, checksum)
    return {
        "data": data.name,
        "samples": f"crc32 {checksum:08x}",
        "model": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "optimizer": type(optimizer).__name__,
        **(optimizer.method.settings if isinstance(optimizer, FlowOptimizer) else {}),
        **optimizer.defaults,
    }


@contextmanager
def random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's random numbers (dropout) start from the seed; outside they go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        yield


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of torch's random numbers on the CPU and on a GPU that the run is on."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Go on from these states; a kind of device that the run was not on goes on from the seed."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
