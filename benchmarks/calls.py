"""How many functions Python calls in one step: what a step costs beside its arithmetic, the same on every machine.

Counted are functions written in Python and, apart from them, those of C that Python calls (torch's operations among
them), by `sys.setprofile`, after the first steps have filled what is filled once.

    python benchmarks/calls.py [--networks adam elra ...] [--functions ecco adam ...]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import torch

import flowopt

FIRST, STEPS = 5, 50
SIZES = ((8, 4), (8,), (3, 8), (3,))
"""Shapes of the four tensors of the network."""
START = [[-1.2, 1.0]]


class Calls(NamedTuple):
    """Calls during some piece of work."""

    python: float
    c: float

    def __str__(self) -> str:
        return f"{self.python:7.1f} of Python, {self.c:7.1f} of C"


def counted(work: Callable[[], object]) -> Calls:
    """The calls that a piece of work makes, the one of itself and the end of the count left out."""
    seen: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        seen[event] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return Calls(seen["call"] - 1, seen["c_call"] - 1)


def of_network(name: str) -> Calls:
    """In one step of a FlowOptimizer, not compiled, whose loss and gradients are there."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size)) for size in SIZES]
    optimizer = flowopt.FlowOptimizer(parameters, name, compile=False)
    gradients = itertools.cycle([[1e-3 * torch.randn_like(one) for one in parameters] for _ in range(2)])
    loss = torch.ones(())

    def steps(count: int) -> None:
        for _ in range(count):
            for parameter, gradient in zip(parameters, next(gradients), strict=True):
                parameter.grad = gradient
            optimizer.step(loss=loss)

    steps(FIRST)
    return per_step(counted(lambda: steps(STEPS)), counted(lambda: steps(2 * STEPS)))


def of_function(name: str) -> Calls:
    """In one step of `minimize` on Rosenbrock's function, recorded."""
    problem = flowopt.problem("rosenbrock")

    def run(count: int) -> None:
        end = flowopt.minimize(problem, START, name, max_steps=count, gtol=0.0)
        assert end.steps[0] == count, end.summary()

    run(FIRST)
    return per_step(counted(lambda: run(STEPS)), counted(lambda: run(2 * STEPS)))


def per_step(few: Calls, many: Calls) -> Calls:
    """From the calls of so many steps and of twice as many: what comes before and after them is left out."""
    return Calls(*((b - a) / STEPS for a, b in zip(few, many, strict=True)))


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="*", default=["gd", "adam", "elra", "ecco", "ecdsep"])
    parser.add_argument("--functions", nargs="*", default=["gd", "adam", "elra", "ecco", "ecdsep"])
    arguments = parser.parse_args()
    for name in arguments.networks:
        print(f"FlowOptimizer.step, {len(SIZES)} tensors, {name:10} {of_network(name)}")
    for name in arguments.functions:
        print(f"minimize, a step on rosenbrock, {name:10} {of_function(name)}")


if __name__ == "__main__":
    main()
