"""Cost per step and per row of forward Euler with truncation-error control, beside other batched and single solvers.

All run the same vector field, the gradient flow of Rosenbrock's function, in float64 on one thread, in this one
process, turn by turn (A B C A B C ...), so that a machine whose speed drifts slows all of them alike. The figures are
the medians of the turns; quote the ratios.

    python benchmarks/trajectories.py [--turns 5] [--json FILE]

torchode is optional (pip install torchode).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchdiffeq
from rich.console import Console
from rich.table import Table
from scipy.integrate import RK45

import flowopt
from flowopt.controllers.lte import LTE
from flowopt.core.method import Method
from flowopt.integrators.euler import ForwardEuler
from flowopt.systems.gradient_flow import GradientFlow

ROSENBROCK = flowopt.problem("rosenbrock")
EULER_LTE = Method(GradientFlow(), ForwardEuler(), LTE(eta=1e-3, h_max=1e-3))
"""h_max keeps the rows inside the stability limit, so that all of them run to the end."""


class Cost(NamedTuple):
    """One run's time and work."""

    seconds: float
    steps: int
    gradients: int


def starts(rows: int) -> torch.Tensor:
    """Starting points in the domain, ``(rows, 2)``."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor([-2.0, -1.0]), torch.tensor([2.0, 3.0])
    return (low + (high - low) * torch.rand(rows, 2, generator=generator)).to(torch.float64)


def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient flow, for the torch solvers: the same analytic gradient that flowopt uses."""
    return -ROSENBROCK.value_and_gradient(x)[1]


def with_flowopt(rows: int, steps: int, record_every: int = 1) -> Cost:
    """flowopt, everything recorded (or only the ends)."""
    x0 = starts(rows)
    begun = time.perf_counter()
    run = flowopt.minimize(ROSENBROCK, x0, EULER_LTE, max_steps=steps, gtol=0.0, record_every=record_every)
    seconds = time.perf_counter() - begun
    assert (run.steps == steps).all(), run.summary()
    return Cost(seconds, steps, int(run.evaluations["gradient"].max()))


def with_scipy(rows: int, steps: int) -> Cost:
    """SciPy's RK45 object, stepped; a NumPy gradient, one row."""
    count = 0

    def numpy_field(t: float, x: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        r = x[1] - x[0] * x[0]
        return np.array([2 * (1 - x[0]) + 400 * x[0] * r, -200 * r])

    done = 0
    begun = time.perf_counter()
    while done < steps:
        solver = RK45(numpy_field, 0.0, starts(1)[0].numpy(), 100.0, rtol=1e-6, atol=1e-9)
        while solver.status == "running" and done < steps:
            solver.step()
            done += 1
    return Cost(time.perf_counter() - begun, done, count)


def with_torchdiffeq(rows: int, steps: int) -> Cost:
    """torchdiffeq's dopri5: one step size for all rows together."""
    count = 0

    def counted(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return field(t, x)

    x0 = starts(rows)
    t_end = 0.6 * steps / 280  # Rosenbrock's flow allows dopri5 a step of about 0.003 once in the valley
    begun = time.perf_counter()
    with torch.no_grad():
        torchdiffeq.odeint(
            counted, x0, torch.tensor([0.0, t_end], dtype=torch.float64), method="dopri5", rtol=1e-6, atol=1e-9
        )
    # two evaluations choose the first step, six make each attempted step
    return Cost(time.perf_counter() - begun, (count - 2) // 6, count)


def with_torchode(rows: int, steps: int) -> Cost | None:
    """torchode's dopri5: a step size for every row, as in flowopt; None if it is not installed."""
    try:
        import torchode
    except ImportError:
        return None
    term = torchode.ODETerm(field)
    method = torchode.Dopri5(term=term)
    controller = torchode.IntegralController(atol=1e-9, rtol=1e-6, term=term)
    solver = torchode.AutoDiffAdjoint(method, controller)
    x0 = starts(rows)
    t_end = torch.full((rows,), 0.6 * steps / 280, dtype=torch.float64)
    problem = torchode.InitialValueProblem(y0=x0, t_start=torch.zeros(rows, dtype=torch.float64), t_end=t_end)
    begun = time.perf_counter()
    with torch.no_grad():
        solution = solver.solve(problem)
    taken = int(solution.stats["n_steps"].max())
    return Cost(time.perf_counter() - begun, taken, int(solution.stats["n_f_evals"].max()))


Runner = Callable[[int, int], Cost | None]
RUNNERS: dict[str, tuple[Runner, tuple[int, ...]]] = {
    "flowopt Euler + LTE": (with_flowopt, (1, 1_000, 10_000)),
    "flowopt, ends only": (lambda rows, steps: with_flowopt(rows, steps, record_every=0), (1, 1_000, 10_000)),
    "scipy RK45": (with_scipy, (1,)),
    "torchdiffeq dopri5": (with_torchdiffeq, (1, 1_000, 10_000)),
    "torchode dopri5": (with_torchode, (1, 1_000, 10_000)),
}
STEPS = {1: 2_000, 1_000: 400, 10_000: 200}


def measure(turns: int) -> list[dict[str, object]]:
    """Median microseconds per step, per row and step, and per row and gradient, of every solver and batch size."""
    results: list[dict[str, object]] = []
    for rows, steps in STEPS.items():
        runners = {name: run for name, (run, sizes) in RUNNERS.items() if rows in sizes}
        costs: dict[str, list[Cost]] = {name: [] for name in runners}
        for turn in range(turns + 1):
            for name, run in runners.items():
                cost = run(rows, steps if turn else max(20, steps // 10))
                if turn and cost is not None:  # the first, shorter turn warms up
                    costs[name].append(cost)
        base = statistics.median(cost.seconds / cost.steps for cost in costs["flowopt Euler + LTE"])
        for name, seen in costs.items():
            if not seen:
                results.append({"solver": name, "rows": rows, "note": "not installed"})
                continue
            step = statistics.median(cost.seconds / cost.steps for cost in seen)
            gradient = statistics.median(cost.seconds / cost.gradients for cost in seen)
            results.append(
                {
                    "solver": name,
                    "rows": rows,
                    "us_per_step": step * 1e6,
                    "us_per_step_and_row": step / rows * 1e6,
                    "us_per_gradient_and_row": gradient / rows * 1e6,
                    "ratio_per_step": step / base,
                }
            )
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(arguments.turns)
    table = Table(title="gradient flow of Rosenbrock, float64, one thread: medians in microseconds")
    for heading in ("solver", "rows", "step", "step and row", "gradient and row", "step / flowopt's"):
        table.add_column(heading, justify="left" if heading == "solver" else "right")
    for line in results:
        if "note" in line:
            table.add_row(str(line["solver"]), str(line["rows"]), str(line["note"]))
            continue
        numbers = (line["us_per_step"], line["us_per_step_and_row"], line["us_per_gradient_and_row"])
        cells = [f"{number:.4g}" for number in numbers] + [f"{line['ratio_per_step']:.2f}"]
        table.add_row(str(line["solver"]), str(line["rows"]), *cells)
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
