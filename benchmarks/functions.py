"""How many problems of the library each method solves within 1000 evaluations, before and after tuning.

    python benchmarks/functions.py                  # those that flowopt compare takes; some five minutes on one core
    python benchmarks/functions.py adam torch:Adam  # some
    python benchmarks/functions.py all              # all named methods and the baselines; some twenty minutes

A problem is solved where f came down all but 1e-4 of the way from the standard start to the known minimum. Tuned: the
better of the default and of 16 values of the step size, on a logarithmic grid over the range declared with it. One
start a problem; a run that diverged has solved nothing.
"""

from __future__ import annotations

import argparse
import time

import torch
from rich.console import Console
from rich.table import Table

import flowopt
from flowopt.functions.comparison import DEFAULTS, everything
from flowopt.functions.comparison.candidates import Candidate
from flowopt.functions.comparison.choosing import choose
from flowopt.functions.comparison.trial import reached, spend
from flowopt.functions.comparison.tuning import tune
from flowopt.problems._problem import Problem

BUDGET = 1000
VALUES = 16
REST = 1e-4
"""Share of the way to the minimum that may be left."""


def solved(one: Candidate, problem: Problem) -> tuple[bool, bool, bool]:
    """Whether a candidate solves a problem by default, and tuned, and whether its best value is the range's end."""
    assert problem.minimum is not None
    start = torch.tensor(problem.start, dtype=torch.float64)
    run = spend(one.call(), problem, start, BUDGET, 0)
    bound = problem.minimum + REST * (float(run.f[0, 0]) - problem.minimum)
    default = bool(reached(run, BUDGET)[0] <= bound)
    if one.step is None:
        return default, default, False
    found = tune(one, problem, start, VALUES, BUDGET, 0)
    return default, default or bool((found.best_f <= bound).any()), found.at_end


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=DEFAULTS, help="names, or all")
    names = parser.parse_args().methods
    names = everything() if names == ["all"] else names
    known = [flowopt.problem(name) for name, *_ in flowopt.listing("problems")]
    known = [problem for problem in known if problem.minimum is not None]
    begun = time.process_time()
    table = Table(title=f"solved of {len(known)} problems within {BUDGET} evaluations")
    for head in ("method", "by default", f"tuned ({VALUES} values)", "only tuned", "best value at an end"):
        table.add_column(
            head, justify="left" if head in ("method", "only tuned") else "right", no_wrap=head == "method"
        )
    for number, name in enumerate(names):
        results = []
        for problem in known:
            one = choose(names, {}, problem.minimum)[number]
            results.append((problem.name, *solved(one, problem)))
        default, tuned, ends = (sum(column) for column in list(zip(*results, strict=True))[1:])
        only = ", ".join(problem for problem, before, after, _ in results if after and not before)
        table.add_row(name, str(default), str(tuned) if one.step is not None else "-", only or "-", str(ends))
        print(f"{name}: {default}, tuned {tuned}, at an end {ends}", flush=True)
    Console(width=120).print(table)
    print(f"{time.process_time() - begun:.0f} s of processor time")


if __name__ == "__main__":
    main()
