"""A heat map as one ensemble, beside the same cells one after the other with torch.optim.Adam.

Both train a network for every pair of 6 learning rates and 9 values of eps from its initialisation and evaluate it
after every epoch; turn by turn (A B A B ...), so that a machine whose speed drifts slows both alike. Quote the ratio, a
median over the turns. That both find the same is checked first. The LSTM of the loop is torch's own fused one.

    python benchmarks/heatmap.py [--turns 5] [--epochs 2] [--model mlp cnn lstm] [--clock wall] [--json FILE]

On a machine that others use, --clock cpu counts the process's own time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table

from flowopt.core._files import write_json
from flowopt.networks import tasks
from flowopt.networks._batches import batches
from flowopt.networks.evaluation import evaluate
from flowopt.reproduce.epsilon_studies import characters
from flowopt.show.tables import show
from flowopt.training._heat_map import heat_map
from flowopt.training.datasets import Dataset, load
from flowopt.training.models import build

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LR, EPS = tuple(10.0**k for k in range(-5, 1)), tuple(10.0**k for k in range(-8, 1))


class Case(NamedTuple):
    """A network and what it learns."""

    spec: str
    data: Callable[[], Dataset]
    batch: int
    options: dict[str, Any]
    """Of the model in the ensemble."""


@cache
def digits() -> Dataset:
    """The digits."""
    return load("digits")


CASES = {
    "mlp": Case("mlp:64-32", digits, 128, {}),
    "cnn": Case("cnn:8-16", digits, 128, {}),
    "lstm": Case("lstm:32", characters, 16, {"fused": False}),
}


def together(case: Case, epochs: int) -> np.ndarray:
    """The metric of every cell, trained as one ensemble."""
    data = case.data()
    found = heat_map(
        lambda seed: model(case, seed, case.options),
        "adam",
        ("lr", LR),
        ("eps", EPS),
        data,
        epochs=epochs,
        batch_size=case.batch,
    )
    return found.cells


def one_by_one(case: Case, epochs: int) -> np.ndarray:
    """The same by a loop over the cells."""
    return np.array([[alone(case, lr, eps, epochs) for lr in LR] for eps in EPS])


def alone(case: Case, lr: float, eps: float, epochs: int) -> float:
    """The best over the epochs of one cell."""
    data, network = case.data(), model(case, 0, {})
    task = tasks.task(data.task)
    metric = next(iter(task.metrics))
    optimizer, found = torch.optim.Adam(network.parameters(), lr=lr, eps=eps), []
    for epoch in range(epochs):
        for index in batches(len(data.train_inputs), case.batch, seed=0, epoch=epoch):
            optimizer.zero_grad()
            task.loss(network(data.train_inputs[index]), data.train_targets[index]).backward()
            optimizer.step()
        found.append(evaluate(network, data.test_inputs, data.test_targets, task)[metric])
    return max(found) if metric == "accuracy" else min(found)


def model(case: Case, seed: int, options: dict[str, Any]) -> torch.nn.Module:
    data = case.data()
    shape: dict[str, Any] = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    return build(case.spec, **shape, seed=seed, **options)


def measure(case: Case, turns: int, epochs: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of both in every turn, after one that warms up and compares the calm cells (lr <= 1e-3)."""
    both = {"one ensemble": together, "one after the other": one_by_one}
    first = [way(case, epochs)[:, :3] for way in both.values()]
    np.testing.assert_allclose(*first, rtol=2e-2)
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(turns):
        for name, way in both.items():
            begun = clock()
            way(case, epochs)
            seconds[name].append(clock() - begun)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--model", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    title = f"a map of {len(LR)} x {len(EPS)} cells, {arguments.epochs} epochs, {arguments.threads} thread(s)"
    table = Table(title=f"{title}, {arguments.clock}")
    for heading in ("", "one ensemble, s", "torch.optim.Adam\none after the other, s", "times faster"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    results = []
    for name in arguments.model:
        seconds = measure(CASES[name], arguments.turns, arguments.epochs, CLOCKS[arguments.clock])
        ours, theirs = seconds.values()
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        cost = [statistics.median(column) for column in (ours, theirs)]
        table.add_row(CASES[name].spec, *(f"{value:.2f}" for value in (*cost, ratio)))
        results.append({"model": CASES[name].spec, "seconds": seconds, "times_faster": ratio})
    show(table)
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
