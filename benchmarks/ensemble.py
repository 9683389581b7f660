"""Training many small networks: an ensemble as one run, beside a loop of torch.optim runs.

200 multilayer perceptrons 64-64-10 learn the digits in batches of 128, each from its own start and with its own
learning rate. All contestants train for an epoch turn by turn (A B C A B C ...), so that a machine whose speed drifts
slows all of them alike; quote the ratios, which are medians over the turns. The ensemble of gdm and the loop of
torch.optim.SGD do the same work: their losses after the first epoch are compared before anything is measured.

    python benchmarks/ensemble.py [--members 200] [--turns 7] [--threads 1 2] [--clock wall] [--json FILE]

On a machine that others use, --clock cpu counts the process's own time; with more threads than one, that of all of them
together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

from flowopt.core._files import write_json
from flowopt.networks._batches import batches
from flowopt.networks.ensemble._ensemble import Ensemble
from flowopt.show.tables import show
from flowopt.training.datasets import load

BATCH, MOMENTUM = 128, 0.9
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LOOPS = {"torch.optim.SGD": (SGD, {"momentum": MOMENTUM}), "torch.optim.Adam": (Adam, {})}
METHODS: dict[str, dict[str, Any]] = {
    "gdm": {"beta": MOMENTUM},
    "elra": {},
    "ecco_stable": {},
    "tlr": {},
    "ecdsep": {"nu": 0.0},
    "ecdsep with rotation": {"nu": 1e-5},
}


def perceptron(seed: int) -> nn.Module:
    """64-64-10."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Loop:
    """A torch optimizer for each network; an epoch trains them one after the other."""

    def __init__(self, kind: Callable[..., Optimizer], options: dict[str, Any], rates: Sequence[float]) -> None:
        self.models = [self._model(seed) for seed in range(len(rates))]
        pairs = zip(self.models, rates, strict=True)
        self.optimizers = [kind(model.parameters(), lr=lr, **options) for model, lr in pairs]

    @staticmethod
    def _model(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return perceptron(seed)

    def train(self, inputs: Tensor, targets: Tensor, epoch: int) -> None:
        """One epoch of every network."""
        order = batches(len(inputs), BATCH, seed=0, epoch=epoch)
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            for batch in order:
                optimizer.zero_grad()
                cross_entropy(model(inputs[batch]), targets[batch]).backward()
                optimizer.step()

    @torch.no_grad()
    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Of every network over all samples."""
        return torch.stack([cross_entropy(model(inputs), targets) for model in self.models])


def contestants(members: int) -> tuple[dict[str, Loop], dict[str, Ensemble]]:
    """Loops and ensembles by name."""
    rates = torch.logspace(-3, -1, members, dtype=torch.float64)
    loops = {name: Loop(kind, options, rates.tolist()) for name, (kind, options) in LOOPS.items()}
    ensembles = {}
    for name, options in METHODS.items():
        rate = {"lr": rates} if name in ("gdm", "tlr") else {}
        ensembles[name] = Ensemble(perceptron, members, name.partition(" ")[0], options | rate)
    return loops, ensembles


def measure(members: int, turns: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every contestant in every turn, per step of one network."""
    digits = load("digits")
    inputs, targets = digits.train_inputs.flatten(1), digits.train_targets
    loops, ensembles = contestants(members)
    steps = members * -(-len(inputs) // BATCH)
    seconds: dict[str, list[float]] = {name: [] for name in (*loops, *ensembles)}
    for turn in range(turns + 1):
        for name, seen in seconds.items():
            begun = clock()
            if name in loops:
                loops[name].train(inputs, targets, turn)
            else:
                ensembles[name].fit(inputs, targets, epochs=1, batch_size=BATCH)
            if turn:  # the first warms up
                seen.append((clock() - begun) / steps)
        if not turn:
            theirs = loops["torch.optim.SGD"].losses(inputs, targets)
            torch.testing.assert_close(
                ensembles["gdm"].evaluate(inputs, targets)["loss"].float(), theirs, rtol=1e-3, atol=1e-4
            )
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        seconds = measure(arguments.members, arguments.turns, CLOCKS[arguments.clock])
        table = Table(title=f"{arguments.members} MLPs 64-64-10, batch {BATCH}, {threads} thread(s), {arguments.clock}")
        for heading in ("", "us a step\nand network", *(f"times faster\nthan {name}" for name in LOOPS)):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for name, seen in seconds.items():
            ratios = {
                loop: statistics.median(theirs / ours for theirs, ours in zip(seconds[loop], seen, strict=True))
                for loop in LOOPS
            }
            cost = statistics.median(seen) * 1e6
            table.add_row(name, f"{cost:.1f}", *(f"{ratio:.2f}" for ratio in ratios.values()))
            results.append({"name": name, "threads": threads, "us_per_member_step": cost, "times_faster_than": ratios})
        show(table)
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
