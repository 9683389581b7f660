"""What GradientHistograms costs: as a ratio of an optimizer's step, and of a whole training step.

    python benchmarks/histograms.py [--model resnet18] [--optimizer torch:Adam,foreach=True] [--batch 32] [--threads 1]
                                    [--turns 9] [--clock wall] [--json FILE]

Steps without and with histograms take turns (A B A B ...), so that a machine whose speed drifts slows both alike; a
cost is the median over the turns of B / A - 1, B being one step with one measurement. With ``every=n`` a measurement
falls on n steps, so that their cost is an n-th of it. The network is trained on noise: of what passes through, nothing
but the number of coordinates and the share of zeros among them counts. On a machine that others use --clock cpu counts
the process's own time; with more than one thread it is that of all threads together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from flowopt.cli.settings import parse_setting
from flowopt.core._files import write_json
from flowopt.diagnostics import GradientHistograms
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.training.models import build

EVERY = (1, 10, 100)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FIRST = 3
"""Steps that start, compile and settle."""


class Cost(NamedTuple):
    """Milliseconds of a step and of a measurement, and what the one adds to the other."""

    step: float
    measurement: float
    ratio: float


def optimizer_of(spec: str, model: nn.Module) -> torch.optim.Optimizer:
    """A method of flowopt or a class of torch.optim, with parameters: ``adam,lr=0.01``, ``torch:Adam,foreach=True``."""
    name, *texts = spec.split(",")
    options = {setting.key: setting.value for setting in map(parse_setting, texts)}
    if name.startswith("torch:"):
        kind = getattr(torch.optim, name.removeprefix("torch:"))
        return kind(model.parameters(), **options)
    return FlowOptimizer(model.named_parameters(), name, **options)


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    work()
    return clock() - begun


def compare(step: Callable[[], object], measure: Callable[[], object], turns: int, clock: Callable[[], float]) -> Cost:
    """Steps alone, and steps followed by a measurement, in turns."""
    for _ in range(FIRST):
        step()
        measure()
    steps, measurements = [], []
    for _ in range(turns):
        steps.append(seconds(step, clock))
        with_it = seconds(step, clock)
        measurements.append(seconds(measure, clock) + with_it)
    ratio = statistics.median(b / a - 1 for a, b in zip(steps, measurements, strict=True))
    alone = statistics.median(steps)
    return Cost(1e3 * alone, 1e3 * (statistics.median(measurements) - alone), ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--optimizer", default="torch:Adam,foreach=True")
    parser.add_argument("--batch", type=int, default=32, help="images of 3 x 32 x 32 in a training step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = build(given.model, input_shape=(3, 32, 32), outputs=10, task="classification", seed=0)
    optimizer = optimizer_of(given.optimizer, model)
    inputs, targets = torch.randn(given.batch, 3, 32, 32), torch.randint(10, (given.batch,))

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    train()
    watched = GradientHistograms(optimizer, every=10**9)  # it measures when it is told to
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{given.model}, {size / 1e6:.1f} million parameters, {given.optimizer}, {given.threads} threads")
    found = {
        "the optimizer's step": compare(optimizer.step, watched.measure, given.turns, CLOCKS[given.clock]),
        f"a training step of {given.batch} images": compare(train, watched.measure, given.turns, CLOCKS[given.clock]),
    }
    print(f"{'':36} {'ms':>9} {'measurement, ms':>16}" + "".join(f"{f'every={n}':>12}" for n in EVERY))
    for what, cost in found.items():
        shares = "".join(f"{100 * cost.ratio / n:>10.2f} %" for n in EVERY)
        print(f"{what:36} {cost.step:>9.1f} {cost.measurement:>16.1f}{shares}")
    if given.json:
        write_json(given.json, {"about": vars(given), "costs": {what: cost._asdict() for what, cost in found.items()}})


if __name__ == "__main__":
    main()
