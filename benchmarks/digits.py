"""Test accuracy on the digits of every method over a range of its hyperparameter, beside Adam: one ensemble a method.

    python benchmarks/digits.py                       # all methods, both preprocessings, three seeds (minutes)
    python benchmarks/digits.py --method ecco --epochs 5 --json digits.json

A perceptron 64-64-32-10, batches of 128, 80 % of the digits to train on. Of a method that judges a step after it was
made, the last accepted parameters are evaluated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import flowopt
from flowopt.core._files import check_writable, write_json
from flowopt.core.state import Status
from flowopt.networks import tasks
from flowopt.networks._batches import batches
from flowopt.training.datasets import load
from flowopt.training.models import build

SEEDS = (0, 1, 2)
BATCH = 128
STEPS_PER_EPOCH = 12


class Study(NamedTuple):
    """A method, the hyperparameter that is varied, and what is held."""

    name: str
    values: tuple[float, ...]
    held: Mapping[str, Any] = MappingProxyType({})


STUDIES = {
    "gd": Study("lr", (0.001, 0.01, 0.1, 1.0)),
    "gdm": Study("lr", (0.001, 0.01, 0.1, 1.0)),
    "nesterov": Study("lr", (0.0001, 0.001, 0.01, 0.1)),
    "ecco": Study("eta", (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)),
    "ecco, identity": Study("eta", (0.001, 0.01, 0.1, 1.0, 10.0, 100.0), {"scaling": "identity"}),
    "ecco_stable": Study("eta", (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)),
    "ecdsep, exponent = 1": Study("dt", (0.05, 0.1, 0.2, 0.4, 1.0, 2.0)),
    "ecdsep, exponent = 2": Study("dt", (0.05, 0.1, 0.2, 0.4, 1.0, 2.0), {"exponent": 2.0}),
    "ecdsep, exponent = 3": Study("dt", (0.05, 0.1, 0.2, 0.4, 1.0, 2.0), {"exponent": 3.0}),
    "ecdsep_strang": Study("dt", (0.05, 0.1, 0.2, 0.4, 1.0, 2.0)),
    "bbi": Study("dt", (0.01, 0.1, 1.0)),
    "elra": Study(
        "alpha0",
        (1e-5, 1e-3, 1e-1, 1.0),
        {"kappa": "auto", "gamma_max": 10.0, "retrace": "epoch", "epoch_length": STEPS_PER_EPOCH},
    ),
    "tlr": Study("lr", (1e-6, 1e-4, 1e-2, 1.0), {"batches_per_epoch": STEPS_PER_EPOCH}),
    "tlr_gdm": Study("lr", (1e-6, 1e-4, 1e-2, 1.0), {"batches_per_epoch": STEPS_PER_EPOCH}),
    "hypergradient": Study("lr", (0.001, 0.01, 0.1, 1.0)),
    "armijo": Study("h0", (0.01, 0.1, 1.0)),
    "polyak": Study("h_max", (0.1, 1.0, 10.0)),
    "sps": Study("c", (0.2, 0.5, 1.0), {"batches_per_epoch": STEPS_PER_EPOCH}),
    "bb": Study("h0", (0.001, 0.01, 0.1)),
}
ADAM = Study("lr", (0.0001, 0.001, 0.01, 0.1))


class Result(NamedTuple):
    """Test accuracies in percent, one a seed."""

    method: str
    preprocessing: str
    parameter: str
    value: float
    accuracy: list[float]
    ended: int


def model(seed: int) -> nn.Module:
    """The perceptron."""
    return build("mlp:64-32", input_shape=(1, 8, 8), outputs=10, task="classification", seed=seed)


def of_method(title: str, preprocessing: str, epochs: int) -> list[Result]:
    """One ensemble: every value of the hyperparameter with every seed."""
    study, name = STUDIES[title], title.partition(",")[0]
    data = load("digits", preprocessing=preprocessing, seed=0)
    values = torch.tensor(study.values, dtype=torch.float64).repeat_interleave(len(SEEDS))
    seeds = list(SEEDS) * len(study.values)
    varied = {**study.held, study.name: values}
    ensemble = flowopt.Ensemble(model, len(seeds), name, varied, seeds=seeds, record_every=0)
    ensemble.fit(data.train_inputs, data.train_targets, epochs=epochs, batch_size=BATCH)
    accuracy = 100 * ensemble.evaluate(data.test_inputs, data.test_targets)["accuracy"]
    ended = torch.tensor([status != Status.RUNNING for status in ensemble.status])
    rows = zip(study.values, accuracy.view(-1, len(SEEDS)), ended.view(-1, len(SEEDS)), strict=True)
    return [Result(title, preprocessing, study.name, v, a.tolist(), int(e.sum())) for v, a, e in rows]


def of_adam(preprocessing: str, epochs: int) -> list[Result]:
    """The baseline, one network after the other."""
    data = load("digits", preprocessing=preprocessing, seed=0)
    found = []
    for lr in ADAM.values:
        accuracy = [_adam(lr, seed, data, epochs) for seed in SEEDS]
        found.append(Result("torch:Adam", preprocessing, "lr", lr, accuracy, 0))
    return found


def _adam(lr: float, seed: int, data: Any, epochs: int) -> float:
    network, loss = model(seed), tasks.loss_for("classification")
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for epoch in range(epochs):
        for index in batches(len(data.train_inputs), BATCH, seed=0, epoch=epoch):
            optimizer.zero_grad()
            loss(network(data.train_inputs[index]), data.train_targets[index]).backward()
            optimizer.step()
    with torch.no_grad():
        right: Tensor = network(data.test_inputs).argmax(-1) == data.test_targets
    return 100 * float(right.float().mean())


def main(
    method: Annotated[list[str] | None, typer.Option(help="Methods to run; all by default.")] = None,
    epochs: int = 30,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Print the table."""
    if json is not None:
        check_writable(json)
    chosen = [title for title in STUDIES if method is None or title.partition(",")[0] in method]
    console, results, start = Console(), [], time.perf_counter()
    with console.status("digits") as status:
        for preprocessing in ("standardised", "scaled"):
            for title in chosen:
                status.update(f"{title}, {preprocessing}")
                results += of_method(title, preprocessing, epochs)
            if method is None:
                results += of_adam(preprocessing, epochs)
    console.print(table(results, epochs))
    console.print(f"{sum(len(result.accuracy) for result in results)} networks in {time.perf_counter() - start:.0f} s")
    if json is not None:
        write_json(json, [result._asdict() for result in results])


def table(results: list[Result], epochs: int) -> Table:
    """One line a value of the hyperparameter, the two preprocessings side by side."""
    title = f"test accuracy on the digits after {epochs} epochs, mean (lowest to highest) of {len(SEEDS)} seeds"
    shown = Table(title=title, caption="†n: of n networks the loss was no number any more, or the step had vanished")
    for head in ("method", "parameter", "standardised", "pixels / 16"):
        shown.add_column(head, justify="left" if head == "method" else "right")
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        low, high, mean = min(result.accuracy), max(result.accuracy), sum(result.accuracy) / len(result.accuracy)
        ended = f" †{result.ended}" if result.ended else ""
        line = cells.setdefault((result.method, f"{result.parameter} = {result.value:g}"), {})
        line[result.preprocessing] = f"{mean:.1f} ({low:.1f} to {high:.1f}){ended}"
    for (name, value), line in cells.items():
        shown.add_row(name, value, line.get("standardised", ""), line.get("scaled", ""))
    return shown


if __name__ == "__main__":
    typer.run(main)
