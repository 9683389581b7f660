"""One step of any method is one graph: under torch.compile it gives the numbers of eager torch, without a break."""

from collections.abc import Iterator

import pytest
import torch
from catalogue import NAMES, Measured, leaves, same, stepped
from torch import Tensor

from flowopt import method, problem
from flowopt.core.kernel import propose, start
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.implicit import BackwardEuler

STRAIGHT = [name for name in NAMES if not isinstance(method(name).integrator, BackwardEuler | BacktrackingEuler)]
"""Newton's loop in backward Euler and a line search ask whether rows are done, so they branch as often as they look."""


def rosenbrock_hessian(q: Tensor) -> Tensor:
    x, y = q.unbind(-1)
    cross = -400 * x
    return torch.stack((1200 * x * x - 400 * y + 2, cross, cross, torch.full_like(x, 200)), -1).reshape(-1, 2, 2)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


QUICK = ("gdm", "ecco", "ecdsep", "elra", "adam")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STRAIGHT]
)
def test_a_step_is_one_graph(name: str) -> None:
    chosen = method(name)
    measure = Measured(problem("rosenbrock").value_and_gradient, rosenbrock_hessian)

    def one(carry, evaluation):
        return stepped(chosen, carry, evaluation, measure)

    compiled = torch.compile(one, fullgraph=True, backend="eager")
    q = torch.tensor([[-1.2, 1.0], [0.3, 0.4], [2.0, 2.0]], dtype=torch.float64)
    with torch.no_grad():
        carry = propose(chosen, start(chosen, q, measure(q), torch.arange(3), measure), measure)
        for _ in range(4):
            evaluation = measure(carry.trial["q"])
            expected, got = one(carry, evaluation), compiled(carry, evaluation)
            wrong = [path for path, leaf in leaves(expected).items() if not same(leaf, leaves(got)[path])]
            assert not wrong
            carry, _ = expected
