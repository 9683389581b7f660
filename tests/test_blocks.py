"""A leaf in blocks behaves as the one matrix that it stands for, alone and under every method."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from together import together
from torch import Tensor

from flowopt import method
from flowopt.core import kernel, rows
from flowopt.core._blocks import SCALAR, Blocks
from flowopt.core.kernel import Carry
from flowopt.core.method import Method
from flowopt.core.noise import normal, normal_like, single_normal
from flowopt.core.state import Evaluation
from flowopt.methods import METHODS

SIZES = (3, 1, 4)
ROWS = 5
OPTIONS: dict[str, dict[str, Any]] = {"ecdsep": {"nu": 0.0}, "ecdsep_strang": {"nu": 0.0}}
"""The random numbers of blocks are others than those of a matrix."""


def matrix(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(ROWS, sum(SIZES), dtype=dtype, generator=torch.Generator().manual_seed(seed))


def cut(leaf: Tensor) -> Any:
    return Blocks(part.contiguous() for part in leaf.split(SIZES, dim=1))


def whole(leaf: Any) -> Tensor:
    return torch.cat(leaf.parts, dim=1) if isinstance(leaf, Blocks) else leaf


@together(
    "function",
    [
        lambda a, b, n: a + b,
        lambda a, b, n: 2.0 * a - b / 3.0,
        lambda a, b, n: 1.0 - a,
        lambda a, b, n: 1.0 / a,
        lambda a, b, n: n * a,
        lambda a, b, n: a * n + n,
        lambda a, b, n: n - a,
        lambda a, b, n: -(a**2),
        lambda a, b, n: a.abs().sqrt(),
        lambda a, b, n: (a.sign() * b).clamp(min=-0.5, max=0.5),
        lambda a, b, n: torch.where(n > 0, a, b),
        lambda a, b, n: torch.where(a > b, a, 0.0),
        lambda a, b, n: torch.where(a < n, 1.0, b),
        lambda a, b, n: torch.maximum(a.abs(), b),
        torch.addcmul,
        lambda a, b, n: torch.zeros_like(a) + torch.ones_like(b),
        lambda a, b, n: a.sum(-1),
        lambda a, b, n: a.sum(-1, keepdim=True) * b,
        lambda a, b, n: a / a.mean(-1, keepdim=True),
        lambda a, b, n: a.amax(-1),
        lambda a, b, n: a / b.abs().amax(-1, keepdim=True),
        lambda a, b, n: rows.dot(a, b),
        lambda a, b, n: rows.norm(a),
        lambda a, b, n: rows.max_norm({"q": a, "p": b}),
        lambda a, b, n: rows.advance({"q": a}, {"q": b}, n.squeeze(-1))["q"],
        lambda a, b, n: rows.select((a, {"b": b}), torch.tensor([3, 1]))[1]["b"],
        lambda a, b, n: rows.picker(n.squeeze(-1) > 0)({"q": a}, {"q": b})["q"],
    ],
)
def test_functions_of_blocks_are_those_of_the_matrix(function: Callable[..., Any]) -> None:
    a, b, n = matrix(0), matrix(1), matrix(2)[:, :1]
    expected = function(a, b, n)
    found = whole(function(cut(a), cut(b), n))
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_blocks_keep_their_precision_and_numbers_of_a_row_theirs() -> None:
    single, double = matrix(0, torch.float32), matrix(1)
    mixed = cast(Tensor, Blocks([single, double]))
    step = torch.full((ROWS, 1), 0.1, dtype=SCALAR)
    assert [part.dtype for part in cast(Any, mixed * step).parts] == [torch.float32, torch.float64]
    total = mixed.sum(-1)
    assert total.dtype == SCALAR
    torch.testing.assert_close(total, single.double().sum(-1) + double.sum(-1), rtol=1e-6, atol=1e-6)
    assert rows.norm(mixed).dtype == SCALAR


def test_pace_multiplies_the_steps_of_each_block_and_is_inherited() -> None:
    lr_factors = [torch.tensor(factor, dtype=SCALAR) for factor in (1.0, 0.0, 2.5)]
    q, slope, h = matrix(0), matrix(1), matrix(2)[:, 0]
    leaf = cast(Tensor, Blocks(cut(q).parts, lr_factors))
    moved = rows.advance({"q": leaf}, {"q": cut(slope)}, h)["q"]
    factors = torch.cat([torch.full((size,), float(factor)) for size, factor in zip(SIZES, lr_factors, strict=True)])
    torch.testing.assert_close(whole(moved), q + h.unsqueeze(-1) * factors * slope, rtol=1e-15, atol=1e-15)
    assert cast(Any, moved).lr_factors is lr_factors
    assert cast(Any, torch.zeros_like(leaf)).lr_factors is lr_factors


@together("name", [name for name in METHODS if not method(name).needs_hvp])
def test_every_method_moves_blocks_as_it_moves_the_matrix(name: str) -> None:
    start = 0.5 * matrix()
    plain = walk(method(name, **OPTIONS.get(name, {})), start)
    blocks = walk(method(name, **OPTIONS.get(name, {})), cut(start))
    for ours, expected in zip(blocks, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)


def walk(chosen: Method, q: Tensor) -> list[Tensor]:
    chosen = chosen.for_rows(ROWS, torch.float64)
    carry = kernel.start(chosen, q, valley(q), torch.arange(ROWS), cast(Any, valley))
    found = []
    for _ in range(12):
        carry = kernel.propose(chosen, carry, cast(Any, valley))
        assessment = kernel.assess(chosen, carry, valley(carry.trial["q"]), cast(Any, valley))
        carry = kernel.commit(chosen, carry, assessment, assessment.acceptable, cast(Any, valley))
        found += [
            whole(carry.point.state["q"]),
            carry.h,
            chosen.system.energy(assessment.arrived.state, assessment.arrived.evaluation),
        ]
    assert not torch.equal(found[-3], found[0]), "it moved"
    return found


def valley(q: Any, mask: Tensor | None = None) -> Evaluation:
    """sum_i c_i (q_i^2/2 + q_i^4/4) + 0.1, c_i = 1 ... 8."""
    c: Any = torch.arange(1.0, sum(SIZES) + 1, dtype=torch.float64).expand(ROWS, -1)
    c = cut(c) if isinstance(q, Blocks) else c
    return rows.evaluation((c * (q**2 / 2 + q**2 * q**2 / 4)).sum(-1) + 0.1, c * (q + q**2 * q))


# --- random numbers ---


def test_blocks_draw_streams_of_their_own() -> None:
    leaf = cast(Tensor, Blocks([torch.zeros(2, 4000), torch.zeros(2, 4000)]))
    seeds, counter = torch.tensor([0, 1]), torch.tensor([0, 0])
    draws = torch.cat(list(cast(Any, normal_like(leaf, seeds, counter)).parts))
    assert draws.dtype == torch.float32
    correlation = torch.corrcoef(draws)
    assert (correlation - torch.eye(4)).abs().max() < 5 / 4000**0.5
    later = torch.cat(list(cast(Any, normal_like(leaf, seeds, counter + 1)).parts))
    assert torch.corrcoef(torch.cat([draws, later]))[:4, 4:].abs().max() < 5 / 4000**0.5


@pytest.mark.parametrize("draw", [normal, single_normal])
def test_moments_of_the_normal_numbers(draw: Callable[..., Tensor]) -> None:
    n = 300_001
    z = draw(torch.tensor([7]), torch.tensor([3]), n).double()
    assert z.shape == (1, n)
    for power, expected, deviation in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert float((z**power).mean()) == pytest.approx(expected, abs=5 * deviation / n**0.5)


def test_single_precision_draws_do_not_depend_on_how_many_there_are() -> None:
    """The first half of the numbers are cosines, so a longer draw starts with those of a shorter one."""
    few, many = (single_normal(torch.tensor([1]), torch.tensor([2]), dim) for dim in (100, 200_000))
    assert torch.equal(few[:, :50], many[:, :50])
    assert torch.isfinite(many).all()


def test_a_carry_in_blocks_survives_selecting_rows() -> None:
    chosen = method("gdm").for_rows(ROWS, torch.float64)
    q = cut(matrix())
    carry = kernel.start(chosen, q, valley(q), torch.arange(ROWS))
    kept: Carry = rows.select(carry, torch.tensor([4, 0]))
    assert torch.equal(whole(kept.point.state["q"]), matrix()[[4, 0]])
    assert kept.h.shape == (2,)
