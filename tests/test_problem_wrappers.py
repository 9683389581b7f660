"""Problems made of other problems: turned, shifted, stretched, measured with noise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from together import together

import flowopt
from flowopt.functions._objective import Objective
from flowopt.problems import noisy, problem, rotated, scaled, shifted

QUARTER = ((0.0, -1.0), (1.0, 0.0))
"""A quarter turn, counter-clockwise."""


def own(dim):
    """A NumPy objective of known start, domain and minimiser."""
    return flowopt.from_numpy(
        lambda x: ((x - 1) ** 2).sum() + x[0] * x[-1],
        lambda x: 2 * (x - 1) + np.eye(dim)[0] * x[-1] + np.eye(dim)[-1] * x[0],
        dim=dim,
        start=(0.5,) * dim,
        domain=((-1.0, 3.0),) * dim,
    )


def turn(seed, dim):
    """The matrix of a random rotation, read off what it does to a problem's points."""
    axes = [problem("bowl", coefficients=(1.0,) * dim)]
    axes = [replace(axes[0], start=tuple(row)) for row in np.eye(dim).tolist()]
    return np.array([rotated(axis, seed).start for axis in axes]).T


BASES = {
    "rosenbrock": problem("rosenbrock"),
    "beale, by autograd": problem("beale"),
    "ackley in 3": problem("ackley", dim=3),
    "rosenbrock in 7": problem("rosenbrock", dim=7),
    "levy in 6, by autograd": problem("levy", dim=6),
    "NumPy": own(2),
    "NumPy in 5": own(5),
}
MOVES = {
    "rotated": lambda p: (rotated(p, 3), lambda y: y @ turn(3, p.dim).T),
    "shifted": lambda p: (shifted(p, np.arange(1, p.dim + 1) / 3), lambda y: y + np.arange(1, p.dim + 1) / 3),
    "scaled": lambda p: (scaled(p, np.geomspace(0.1, 30, p.dim)), lambda y: y * np.geomspace(0.1, 30, p.dim)),
    "both": lambda p: (
        shifted(scaled(p, [3.0] * p.dim), [2.0] * p.dim),
        lambda y: y * 3.0 + 2.0,
    ),
}
moved_problems = together("move", MOVES)
base_problems = together("base", BASES)


def measure(p, x):
    with torch.no_grad():
        return Objective(p, torch.zeros(len(x), dtype=torch.int64))(x)


def strewn(p, rows=200):
    low, high = np.array(p.domain).T
    return np.random.default_rng(0).uniform(low, high, (rows, p.dim))


@base_problems
@moved_problems
def test_points_move_and_values_stay(base, move):
    p = BASES[base]
    moved, there = MOVES[move](p)
    y = strewn(p)
    np.testing.assert_allclose(moved(there(y)), p(y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moved.start, there(np.array(p.start)), rtol=1e-13, atol=1e-14)
    if p.minimisers:
        np.testing.assert_allclose(moved.minimisers, there(np.array(p.minimisers)), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(moved(np.array(moved.minimisers)), p.minimum, rtol=1e-13, atol=1e-13)
    assert (moved.minimum, moved.dim, moved.source) == (p.minimum, p.dim, p.source)
    assert moved.name.endswith(p.name)
    assert not np.allclose(moved(y), p(y))


@base_problems
@moved_problems
def test_the_domain_moves_along_and_fits_tightly(base, move):
    p = BASES[base]
    moved, there = MOVES[move](p)
    low, high = np.array(moved.domain).T
    corners = there(np.array(np.meshgrid(*p.domain)).reshape(p.dim, -1).T)
    np.testing.assert_allclose(corners.min(0), low, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(corners.max(0), high, rtol=1e-12, atol=1e-13)


@base_problems
@moved_problems
def test_gradients_are_those_of_the_moved_value(base, move):
    """Against central differences, which know nothing of the chain rule, and against autograd where it can see."""
    p = BASES[base]
    moved, there = MOVES[move](p)
    assert (moved.value_and_gradient is None) == (p.value_and_gradient is None)
    x = torch.from_numpy(there(strewn(p, 30)))
    value, grad, _ = measure(moved, x)
    torch.testing.assert_close(value, moved(x), rtol=1e-12, atol=1e-12)
    step = 1e-6 * (1 + x.abs())
    for i in range(p.dim):
        d = torch.zeros_like(x)
        d[:, i] = step[:, i]
        slope = (moved(x + d) - moved(x - d)) / (2 * step[:, i])
        torch.testing.assert_close(grad[:, i], slope, rtol=1e-5, atol=1e-5 * slope.abs().max().item())
    if p.differentiable_twice:
        by_autograd = measure(replace(moved, value_and_gradient=None), x).grad
        torch.testing.assert_close(grad, by_autograd, rtol=1e-11, atol=1e-11 * by_autograd.abs().max().item())


@together("base", [name for name, p in BASES.items() if p.differentiable_twice])
@moved_problems
def test_rows_stay_apart(base, move):
    p = BASES[base]
    moved, there = MOVES[move](p)
    for dtype in (torch.float64, torch.float32):
        x = torch.from_numpy(there(strewn(p, 1000))).to(dtype)
        layouts = [lambda x: x.mT.contiguous().mT, torch.clone] if p.dim <= 4 else [torch.clone]
        ones = [Objective(moved, torch.zeros(1, dtype=torch.int64)) for _ in range(20)]
        alone = [
            (*measure(moved, layouts[0](row)), one.hvp(row, row)) for one, row in zip(ones, x.split(1), strict=False)
        ]
        for layout in layouts:
            for size in (20, 1000):
                part = layout(x[:size])
                together = (
                    *measure(moved, part),
                    Objective(moved, torch.zeros(size, dtype=torch.int64)).hvp(part, part),
                )
                for single, batch in zip(zip(*alone, strict=True), together, strict=True):
                    assert batch.dtype == dtype
                    assert torch.equal(torch.cat(single), batch[:20])


def test_a_large_batch_is_multiplied_in_parts_without_a_trace():
    p = rotated(problem("quadratic", dim=60), 1)
    x = torch.from_numpy(strewn(p, 700))  # 60 * 60 * 700 numbers: three parts
    value, grad, _ = measure(p, x)
    for size in (1, 50, 300):
        small = measure(p, x[-size:])
        assert torch.equal(small.value, value[-size:])
        assert torch.equal(small.grad, grad[-size:])


def test_a_quarter_turn():
    p = rotated(problem("beale"), matrix=QUARTER)
    assert p.name == "rotated beale"
    assert p.minimisers == ((-0.5, 3.0),)
    assert p.start == (-1.0, 1.0)
    stretched = rotated(scaled(problem("beale"), (1.0, 2.0)), matrix=QUARTER)
    assert stretched.domain == ((-9.0, 9.0), (-4.5, 4.5))


def test_shift_and_stretch_of_a_known_point():
    assert shifted(problem("beale"), (1.0, -2.0)).minimisers == ((4.0, -1.5),)
    assert shifted(problem("beale"), (1.0, -2.0)).domain == ((-3.5, 5.5), (-6.5, 2.5))
    assert scaled(problem("beale"), (2.0, 10.0)).minimisers == ((6.0, 5.0),)
    assert scaled(problem("beale"), (2.0, 10.0)).name == "scaled beale"
    assert shifted(problem("beale"), (1.0, 1.0)).name == "shifted beale"


def test_random_turns_are_rotations_drawn_evenly():
    """Mezzadri 2007: E Q = 0 and E Q_ij^2 = 1/D; qr alone, without its signs mended, gives E Q_11 < 0."""
    draws = np.array([turn(seed, 3) for seed in range(1000)])
    np.testing.assert_allclose(draws @ draws.transpose(0, 2, 1), np.broadcast_to(np.eye(3), draws.shape), atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(draws), 1.0, rtol=1e-13)
    deviation = 1 / math.sqrt(3 * 1000)
    assert np.abs(draws.mean(0)).max() < 5 * deviation
    assert np.abs((draws**2).mean(0) - 1 / 3).max() < 5 * deviation
    np.testing.assert_array_equal(turn(7, 3), turn(7, 3))


def test_a_reflection_is_allowed():
    p = rotated(problem("himmelblau"), matrix=[[1.0, 0.0], [0.0, -1.0]])
    assert p.minimisers[0] == (3.0, -2.0)


def test_a_matrix_fixes_the_dimension_of_a_function_of_any():
    def sphere_and_tilt(x):
        return (x * x).sum(-1) + x[..., 0]

    p = rotated(flowopt.Problem("tilted", sphere_and_tilt, dim=None), matrix=QUARTER)
    assert p.dim == 2
    assert (p.start, p.domain, p.minimisers) == (None, None, ())
    assert p([3.0, 4.0]) == pytest.approx(25 + 4.0)
    with pytest.raises(flowopt.BadValue, match="give a matrix"):
        rotated(flowopt.Problem("tilted", sphere_and_tilt, dim=None), 1)


def test_noise_has_the_mean_and_deviation_it_should_have():
    rows = 20000
    base = problem("rosenbrock", dim=3)
    p = noisy(base, 0.7)
    assert p.name == "noisy rosenbrock"
    x = torch.tensor([base.start], dtype=torch.float64).expand(rows, 3).contiguous()
    objective = Objective(p, torch.arange(rows))
    value, grad, _ = objective(x)
    exact = measure(base, x)
    assert torch.equal(value, exact.value)
    noise = grad - exact.grad
    deviation = 0.7 / math.sqrt(rows)
    assert noise.mean(0).abs().max() < 5 * deviation
    assert (noise.std(0) - 0.7).abs().max() < 5 * deviation
    correlation = torch.corrcoef(noise.T) - torch.eye(3, dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(rows)
    assert torch.equal(objective.hvp(x, x), Objective(base, torch.arange(rows)).hvp(x, x))


def test_noise_belongs_to_the_seed_and_to_the_point():
    p = noisy(problem("booth"), 0.1)
    run = {"x0": [[0.0, 0.0], [0.0, 0.0]], "method": "gd", "lr": 1e-2, "max_steps": 10}
    first, again, other = (flowopt.minimize(p, seed=seed, **run) for seed in (0, 0, 5))
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.allclose(first.final_x, other.final_x)
    assert not np.allclose(first.final_x[0], first.final_x[1]), "rows have their own noise"
    louder = flowopt.minimize(noisy(problem("booth"), 0.2), **run)
    assert not np.allclose(louder.final_x, first.final_x)


def test_moving_a_noisy_problem_keeps_its_noise():
    p = noisy(problem("booth"), 0.3)
    for moved in (rotated(p, 1), shifted(p, (1.0, 1.0)), scaled(p, (2.0, 2.0))):
        assert moved.noise == 0.3


def test_a_moved_problem_is_minimised_along_the_moved_path():
    """Gradient descent is equivariant under rotations and shifts, and not under stretching."""
    base = problem("rosenbrock")
    run = {"method": "gd", "lr": 1e-3, "max_steps": 100, "gtol": 0.0}
    path = flowopt.minimize(base, **run)
    turned = flowopt.minimize(rotated(base, 4), **run)
    np.testing.assert_allclose(turned.f, path.f, rtol=1e-9)
    np.testing.assert_allclose(turned.x, path.x @ turn(4, 2).T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(flowopt.minimize(shifted(base, (5.0, -3.0)), **run).f, path.f, rtol=1e-9)
    assert not np.allclose(flowopt.minimize(scaled(base, (1.5, 2.0)), **run).f[1:], path.f[1:], rtol=1e-2)


def test_counts_of_a_numpy_function_stay_right():
    p = shifted(flowopt.from_numpy(lambda x: (x**2).sum(), dim=2, start=(1.0, 1.0)), (1.0, 1.0))
    path = flowopt.minimize(p, method="gd", lr=0.1, max_steps=4, gtol=0.0)
    assert path.evaluations["value"].tolist() == [5 * 5]
    with pytest.raises(flowopt.BadValue, match="Hessian-vector"):
        Objective(p, torch.zeros(1, dtype=torch.int64)).hvp(torch.ones(1, 2), torch.ones(1, 2))


@together(
    ("make", "message"),
    [
        (rotated, "either a seed or a matrix"),
        (lambda p: rotated(p, 1, matrix=QUARTER), "either a seed or a matrix"),
        (lambda p: rotated(p, -1), "seed = -1"),
        (lambda p: rotated(p, 1.5), "seed = 1.5"),
        (lambda p: rotated(p, matrix=((1.0, 1.0), (0.0, 1.0))), "must be orthogonal"),
        (lambda p: rotated(p, matrix=((1.0, 0.0),)), "must be orthogonal"),
        (lambda p: rotated(p, matrix=1.0), "must be orthogonal"),
        (lambda p: rotated(p, matrix=((math.nan, 0.0), (0.0, 1.0))), "must be orthogonal"),
        (lambda p: rotated(p, matrix="turn"), "must be orthogonal"),
        (lambda p: rotated(p, matrix=np.eye(3)), "takes points of 2 coordinates, not 3"),
        (lambda p: shifted(p, (1.0, 2.0, 3.0)), "takes points of 2 coordinates, not 3"),
        (lambda p: shifted(p, (1.0, math.nan)), r"offset\[1\] = nan"),
        (lambda p: shifted(p, (math.inf, 1.0)), r"offset\[0\] = inf"),
        (lambda p: shifted(p, 1.0), r"shape \(D,\)"),
        (lambda p: shifted(p, "far"), "must be numbers"),
        (lambda p: scaled(p, (1.0,)), "takes points of 2 coordinates, not 1"),
        (lambda p: scaled(p, (1.0, 0.0)), r"factors\[1\] = 0.0"),
        (lambda p: scaled(p, (-1.0, 1.0)), r"factors\[0\] = -1.0"),
        (lambda p: noisy(p, 0.0), "sigma = 0.0"),
        (lambda p: noisy(p, -1.0), "sigma = -1.0"),
        (lambda p: noisy(p, math.inf), "sigma = inf"),
        (lambda p: noisy(p, "loud"), "not a number"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(flowopt.BadValue, match=message):
        make(problem("beale"))
