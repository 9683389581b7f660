"""Time and memory of an optimizer's step on networks: flowopt's methods beside torch.optim.

Every optimizer has a process of its own, and takes turns with torch.optim.Adam(foreach=True) in another one (A B A B
...), so that a machine whose speed drifts slows both alike. A ratio is the median of those of the turns; quote these.

    python benchmarks/optimizer_step.py [--models resnet18] [--threads 1 2] [--memory fresh warm training]
                                        [--optimizers elra ecdsep,nu=0,compile=False torch:SGD,momentum=0.9,fused=True]
                                        [--turns 9] [--steps 5] [--clock wall] [--json FILE]

An optimizer is a method of flowopt, compiled unless compile=False, or a class of torch.optim, with parameters. The time
of the first calls includes the compiler's, whose cache is empty at the beginning. On a machine that others use
--clock cpu counts the process's own time; with more than one thread it is that of all threads together.

Optimizers that are not compiled allocate temporaries. The C library hands large blocks back to the kernel when they
are freed, which then maps and zeroes every page again in the next step, unless blocks as large have been freed before
(glibc); this doubles the time of Adam(foreach=True). So the state of memory is part of what is measured:

    fresh     the process has done nothing else
    warm      a block of 30 MB has been freed before, and the C library keeps what is freed from then on
    training  a pass forward and back through the model lies between two steps, in the same process (and is not timed)
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowopt.cli.settings import parse_setting
from flowopt.core._files import write_json
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.training.models import build

REFERENCE = "torch:Adam,foreach=True"
ADAPTIVE = (
    "adagrad",
    "rmsprop",
    "adam",
    "adamw",
    "amsgrad",
    "diffgrad",
    "adamod",
    "adabelief",
    "madgrad",
    "eadam",
    "adamomentum",
)
METHODS = (
    "gd",
    "gdm",
    "elra",
    "ecco",
    "ecco_stable",
    "ecdsep",
    "ecdsep,nu=0",
    "bbi",
    "tlr",
    "tlr_gdm",
    "bb",
    *ADAPTIVE,
)
RIVALS = [
    f"torch:{kind},{implementation}"
    for kind in ("SGD", "SGD,momentum=0.9", "Adam", "AdamW")
    for implementation in ("foreach=False", "foreach=True", "fused=True")
]
DEFAULT = [*METHODS, *(f"{name},compile=False" for name in METHODS), *RIVALS, f"{REFERENCE},compile=True"]
MEMORY = ("fresh", "warm", "training")
HEADING = "{:40} {:>24} {:>26} {:>8} {:>15}"
FIRST = 3
"""Steps that start, compile and settle."""


def mlp() -> nn.Module:
    """784-512-128-10."""
    return build("mlp:512-128", input_shape=(784,), outputs=10, task="classification", seed=0)


def resnet18() -> nn.Module:
    """For images of 32 x 32."""
    return build("resnet18", input_shape=(3, 32, 32), outputs=10, task="classification", seed=0)


def gpt2() -> nn.Module:
    """The shapes of GPT-2 small (Radford et al. 2019), and nothing but the shapes."""
    d = 768
    norm, attention = [(d,), (d,)], [(d, 3 * d), (3 * d,), (d, d), (d,)]
    feed_forward = [(d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    shapes = [(50257, d), (1024, d), *(norm + attention + norm + feed_forward) * 12, *norm]
    return nn.ParameterList(torch.zeros(shape) for shape in shapes)


class Network(NamedTuple):
    """A model, and the shape of a sample if it can be trained."""

    make: Callable[[], nn.Module]
    sample: tuple[int, ...] | None


NETWORKS = {"mlp": Network(mlp, (784,)), "resnet18": Network(resnet18, (3, 32, 32)), "gpt2": Network(gpt2, None)}


class Setting(NamedTuple):
    """Under which conditions an optimizer is measured."""

    network: str
    threads: int
    memory: str
    batch: int


class Step(NamedTuple):
    """What one step took, in seconds: on the clock on the wall, and of the process's threads together."""

    wall: float
    cpu: float


def optimizer_of(spec: str, parameters: list[nn.Parameter]) -> tuple[torch.optim.Optimizer, Callable[[Tensor], object]]:
    """An optimizer and its step, which is handed the loss."""
    name, *texts = spec.split(",")
    options = {setting.key: setting.value for setting in map(parse_setting, texts)}
    if not name.startswith("torch:"):
        flow = FlowOptimizer(parameters, name, **{"compile": True} | options)
        return flow, lambda loss: flow.step(loss=loss)
    compiled = options.pop("compile", False)
    optimizer = getattr(torch.optim, name.removeprefix("torch:"))(parameters, **options)
    step = torch.compile(optimizer.step) if compiled else optimizer.step
    return optimizer, lambda loss: step()


def random_gradients(model: nn.Module) -> Iterator[Tensor]:
    """Put gradients in place, in every step others; the loss. With two sets that alternate, step sizes settle."""
    parameters = list(model.parameters())
    sets = [[1e-3 * torch.randn_like(parameter) for parameter in parameters] for _ in range(2)]
    for gradients in itertools.cycle(sets):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        yield torch.ones(())


def training_gradients(model: nn.Module, shape: tuple[int, ...], batch: int) -> Iterator[Tensor]:
    """Gradients of a classification of noise, as a training loop makes them; the loss."""
    while True:
        model.zero_grad()
        scores = model(torch.randn(batch, *shape))
        loss = nn.functional.cross_entropy(scores, torch.randint(10, (batch,)))
        loss.backward()
        yield loss.detach()


def work(spec: str, setting: Setting, connection: Connection) -> None:
    """In a process of its own: make as many steps as asked for and send what they took, until asked for none."""
    torch.manual_seed(0)
    torch.set_num_threads(setting.threads)
    network = NETWORKS[setting.network]
    model = network.make()
    if setting.memory == "warm":
        torch.empty(30 << 20, dtype=torch.uint8)  # glibc keeps what is freed up to twice that; 32 MB is its limit
    if setting.memory == "training":
        assert network.sample is not None
        losses = training_gradients(model, network.sample, setting.batch)
    else:
        losses = random_gradients(model)
    optimizer, step = optimizer_of(spec, list(model.parameters()))
    while count := connection.recv():
        connection.send([timed(step, next(losses)) for _ in range(count)])
    connection.send(vectors(optimizer))


def timed(step: Callable[[Tensor], object], loss: Tensor) -> Step:
    wall, cpu = time.perf_counter(), time.process_time()
    step(loss)
    return Step(time.perf_counter() - wall, time.process_time() - cpu)


def vectors(optimizer: torch.optim.Optimizer) -> float:
    """Bytes of all tensors of the optimizer's state, per byte of its parameters."""
    held = [tensor for entry in optimizer.state.values() for tensor in entry.values() if isinstance(tensor, Tensor)]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return sum(tensor.nbytes for tensor in held) / sum(parameter.nbytes for parameter in parameters)


class Worker:
    """A process with one optimizer."""

    def __init__(self, spec: str, setting: Setting) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(target=work, args=(spec, setting, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def steps(self, count: int) -> list[Step]:
        """Make so many steps."""
        self._connection.send(count)
        return self._connection.recv()

    def finish(self) -> float:
        """End the process; the memory of the state, in vectors."""
        self._connection.send(0)
        return self._connection.recv()

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


class Spread(NamedTuple):
    """Median and quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        return cls(*statistics.quantiles(numbers, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} - {self.high:.3g})"


class Line(NamedTuple):
    """What there is to say of an optimizer in a setting."""

    optimizer: str
    ms: Spread
    reference_ms: Spread
    """Of the reference in the same turns."""
    ratio: Spread
    vectors: float
    """Memory of the state, in units of the parameters'."""
    first_steps_s: float
    """Seconds on the clock on the wall of the first three steps."""


def turn(worker: Worker, steps: int, clock: str) -> float:
    """Milliseconds of a step; the first one only fills the processor's caches again."""
    return 1e3 * statistics.median(getattr(step, clock) for step in worker.steps(steps + 1)[1:])


def compare(spec: str, setting: Setting, reference: Worker, arguments: argparse.Namespace) -> Line:
    """An optimizer beside the reference."""
    with closing(Worker(spec, setting)) as worker:
        first = sum(step.wall for step in worker.steps(FIRST))
        theirs, ours = zip(
            *(
                [turn(each, arguments.steps, arguments.clock) for each in (reference, worker)]
                for _ in range(arguments.turns)
            ),
            strict=True,
        )
        ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
        return Line(spec, Spread.of(ours), Spread.of(theirs), Spread.of(ratios), worker.finish(), first)


def measure(setting: Setting, arguments: argparse.Namespace) -> Iterator[Line]:
    with closing(Worker(REFERENCE, setting)) as reference:
        reference.steps(FIRST)
        for spec in arguments.optimizers:
            yield compare(spec, setting, reference, arguments)


def settings(arguments: argparse.Namespace) -> list[Setting]:
    """All combinations that were asked for and that there are."""
    combinations = itertools.product(arguments.models, arguments.threads, arguments.memory)
    return [
        Setting(network, threads, memory, arguments.batch)
        for network, threads, memory in combinations
        if memory != "training" or NETWORKS[network].sample is not None
    ]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--memory", nargs="+", choices=MEMORY, default=["fresh", "warm"])
    parser.add_argument("--optimizers", nargs="+", default=DEFAULT)
    parser.add_argument("--batch", type=int, default=32, help="of the passes through the model (memory: training)")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="a turn")
    parser.add_argument("--clock", choices=Step._fields, default="wall")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    results = []
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # every first step pays for its compilation
        for setting in settings(arguments):
            print(
                f"\n{setting.network}, threads: {setting.threads}, memory: {setting.memory} ({arguments.clock} clock)"
            )
            print(HEADING.format("optimizer", "ms a step", f"/ {REFERENCE}", "vectors", "first steps, s"))
            for line in measure(setting, arguments):
                cells = (str(line.ms), str(line.ratio), f"{line.vectors:.2f}", f"{line.first_steps_s:.1f}")
                print(HEADING.format(line.optimizer, *cells), flush=True)
                results.append(setting._asdict() | line._asdict())
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
