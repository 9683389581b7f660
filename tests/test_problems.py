"""Every problem of the library: values, gradients, minimisers, and rows that do not see each other."""

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import textbook
import torch
from together import together

import flowopt
from flowopt.functions._objective import Objective
from flowopt.problems import problem, problems

LIBRARY = problems()
FIVE = {name: {"dim": 5} for name, make in LIBRARY.items() if "dim" in inspect.signature(make).parameters}
CASES = [
    *((name, {}) for name in LIBRARY),
    *FIVE.items(),
    *((name, {"dim": 1}) for name in FIVE if name not in ("rosenbrock", "quadratic")),
    ("rosenbrock", {"dim": 3}),
    ("rosenbrock", {"dim": 12}),
    ("ackley", {"coefficient": 0.02}),
    ("ackley", {"dim": 3, "regularised": True}),
    ("zakharov", {"dim": 10}),
    ("bowl", {"coefficients": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)}),
    ("saddle", {"angle": math.pi / 4}),
    ("saddle", {"angle": 2.5}),
    ("quadratic", {"dim": 7, "condition": 1e4}),
    ("quadratic", {"spectrum": (0.1, 7.0, 3.0)}),
    ("dixon_price", {"dim": 4}),
    ("michalewicz", {"dim": 10}),
    ("michalewicz", {"dim": 12}),
]
TURNED = [("quadratic", {"dim": 3, "seed": 5}), ("quadratic", {"dim": 9, "seed": 5})]  # without a textbook formula


def cases(given):
    return together(("name", "options"), given)


def sample(p, rows, seed=0):
    """Points of the domain: evenly strewn ones, then the start, the minimisers and their neighbourhoods."""
    generator = np.random.default_rng(seed)
    low, high = np.array(p.domain).T
    special = np.array([p.start, *p.minimisers])
    near = special[:, None] + generator.standard_normal((len(special), 20, 1)) * 10.0 ** generator.uniform(
        -9, 0, (len(special), 20, p.dim)
    )
    points = np.concatenate([special, near.reshape(-1, p.dim), generator.uniform(low, high, (rows, p.dim))])
    return torch.from_numpy(np.clip(points, low, high)[:rows])


def columns(x):
    return x.mT.contiguous().mT


def measure(p, x):
    """Value, gradient and a Hessian-vector product, as a run would get them."""
    objective = Objective(p, torch.zeros(len(x), dtype=torch.int64))
    with torch.no_grad():
        value, grad, _ = objective(x)
        return value, grad, objective.hvp(x, torch.ones_like(x))


def by_autograd(p, x):
    return measure(replace(p, value_and_gradient=None), x)


@together("name", LIBRARY)
def test_the_record_is_complete(name):
    p = problem(name)
    assert p.name == name
    assert p.source
    assert len(p.start) == len(p.domain) == p.dim
    assert all(low <= s <= high for s, (low, high) in zip(p.start, p.domain, strict=True))
    assert all(low <= m <= high for point in p.minimisers for m, (low, high) in zip(point, p.domain, strict=True))
    assert (p.minimum is None) == (p.minimisers == ())
    first_line = inspect.getdoc(LIBRARY[name]).split("\n")[0]
    assert first_line.endswith(".")


@cases(CASES)
def test_values_are_the_textbook_ones(name, options):
    p = problem(name, **options)
    x = sample(p, 300)
    others = {key: value for key, value in options.items() if key != "dim"}
    f = [getattr(textbook, name)(row, **others) for row in x.numpy()]
    scale = max(map(abs, f))
    torch.testing.assert_close(p(x), torch.tensor(f, dtype=torch.float64), rtol=1e-11, atol=1e-14 * scale)


@together(
    ("name", "x", "f"),
    [
        ("rosenbrock", (-1.2, 1.0), 24.2),
        ("ackley", (1.0, 1.0), 3.6253849384403627),
        ("zakharov", (1.0, 1.0), 9.3125),
        ("bowl", (-5.75, 1.75), 172.6875),
        ("beale", (1.0, 1.0), 14.203125),
        ("booth", (0.0, 0.0), 74.0),
        ("himmelblau", (0.0, 0.0), 170.0),
        ("styblinski_tang", (1.0, 1.0), -10.0),
        ("goldstein_price", (1.0, 1.0), 1876.0),
        ("goldstein_price", (-0.6, -0.4), 30.0),
        ("goldstein_price", (1.8, 0.2), 84.0),
        ("michalewicz", (2.20290552, 1.57079633), -1.801303410),
    ],
)
def test_values_from_the_literature(name, x, f):
    assert problem(name)(x) == pytest.approx(f, rel=1e-9)


@cases(case for case in CASES + TURNED if problem(case[0], **case[1]).minimisers)
def test_the_minimum_is_where_it_is_said_to_be(name, options):
    p = problem(name, **options)
    x = torch.tensor(p.minimisers, dtype=torch.float64)
    value, grad, _ = measure(p, x)
    torch.testing.assert_close(value, torch.full_like(value, p.minimum), rtol=1e-15, atol=1e-28)
    assert grad.abs().max() < 1e-11
    curvatures = torch.linalg.eigvalsh(Objective(p, torch.zeros(len(x), dtype=torch.int64)).hessian(x))
    assert (curvatures > 0).all()
    torch.testing.assert_close(p.distance(x + 1e-3), torch.full_like(value, 1e-3 * p.dim**0.5), rtol=1e-9, atol=0)


@cases(case for case in CASES + TURNED if problem(case[0], **case[1]).minimum is not None)
def test_no_point_of_the_domain_is_below_the_minimum(name, options):
    p = problem(name, **options)
    f = p(sample(p, 20000, seed=1))
    assert f.min() >= p.minimum - 1e-15 * max(1.0, abs(p.minimum))


@pytest.mark.slow
@together("name", [name for name in LIBRARY if problem(name).minimisers])
def test_no_minimiser_is_missing(name):
    """Descents from the lowest hollows of a fine grid end at the listed minimisers, at each of them, or higher up."""
    p = problem(name)
    x, y = np.meshgrid(*(np.linspace(low, high, 401) for low, high in p.domain))
    grid = np.stack([x, y], axis=-1)
    f = p(grid)
    hollows = grid[scipy.ndimage.minimum_filter(f, size=3) == f]
    found = set()
    for x0 in hollows[np.argsort(p(hollows))[:15]]:
        end = scipy.optimize.minimize(
            lambda x: tuple(part[0].numpy() for part in measure(p, torch.from_numpy(x[None]))[:2]), x0, jac=True
        )
        if end.fun < p.minimum + 1e-6:
            distances = np.linalg.norm(np.array(p.minimisers) - end.x, axis=1)
            assert distances.min() < 1e-2, end.x
            found.add(int(distances.argmin()))
    assert found == set(range(len(p.minimisers)))


@cases(CASES + TURNED)
def test_gradients_are_those_of_the_value(name, options):
    p = problem(name, **options)
    x = sample(p, 500)
    value, grad, _ = measure(p, x)
    expected_value, expected, _ = by_autograd(p, x)
    scale = expected.abs().amax(-1, keepdim=True) + 1  # a coordinate may be a difference of large numbers
    assert ((grad - expected) / scale).abs().max() < 1e-12
    torch.testing.assert_close(value, expected_value, rtol=1e-13, atol=1e-14)
    assert torch.equal(p(x), p.value(x))


@cases(CASES + TURNED)
def test_everything_is_finite_at_the_start_and_at_the_minimisers(name, options):
    p = problem(name, **options)
    for dtype in (torch.float64, torch.float32):
        x = torch.tensor([p.start, *p.minimisers], dtype=dtype)
        for result in (*measure(p, x), *by_autograd(p, x)):
            assert torch.isfinite(result).all()
            assert result.dtype == dtype
        assert measure(p, x)[1][0].norm() > 1e-3, "nothing would move at the start"


@cases(CASES + TURNED)
def test_a_row_does_not_depend_on_the_batch(name, options):
    p = problem(name, **options)
    for dtype in (torch.float64, torch.float32):
        x = sample(p, 1000).to(dtype)
        layouts = (columns, torch.clone) if p.dim <= 4 else (torch.clone,)  # what the driver uses, and its alternative
        alone = [
            torch.cat(part) for part in zip(*(measure(p, layouts[0](row)) for row in x[:40].split(1)), strict=True)
        ]
        for layout in layouts:
            for size in (7, 40, 1000):
                for solo, part in zip(alone, measure(p, layout(x[:size])), strict=True):
                    common = min(size, 40)
                    assert torch.equal(solo[:common], part[:common]), (dtype, layout, size)


@cases(CASES + TURNED)
def test_float32_agrees_with_float64(name, options):
    p = problem(name, **options)
    x = sample(p, 200).to(torch.float32)
    for single, double in zip(measure(p, x)[:2], measure(p, x.to(torch.float64))[:2], strict=True):
        torch.testing.assert_close(single.to(torch.float64), double, rtol=1e-4, atol=1e-5 * double.abs().max().item())


@cases(CASES + TURNED)
def test_values_keep_the_leading_shape(name, options):
    p = problem(name, **options)
    x = sample(p, 12)
    for shape in ((), (12,), (3, 4)):
        f = p.value(x[0] if shape == () else x.reshape(*shape, p.dim))
        assert f.shape == shape
        torch.testing.assert_close(f.reshape(-1), p.value(x)[: f.numel()], rtol=1e-14, atol=1e-14)


def test_ackley_at_its_tip():
    """The limits of the closed form at the one point where it has no derivative, and beside it."""
    for coefficient in (0.2, 0.02):
        p = problem("ackley", coefficient=coefficient)
        for dtype, tiny in ((torch.float64, 1e-200), (torch.float32, 1e-30)):
            x = torch.tensor([[0.0, 0.0], [tiny, -tiny]], dtype=dtype)
            for measured in (measure, by_autograd):
                value, grad, product = measured(p, x)
                assert value.tolist() == [0.0, 0.0]
                assert (grad[0] == 0).all()
                assert torch.isfinite(grad).all()
                curvature = torch.full_like(product[0], 2 * math.pi**2 * math.e)  # that of the ripple
                torch.testing.assert_close(product[0], curvature)
        x = torch.tensor([[3e-20, 4e-20]], dtype=torch.float64)
        value, grad, _ = measure(p, x)
        torch.testing.assert_close(value, 20 * coefficient * x.square().mean(-1).sqrt(), rtol=1e-14, atol=0)
        torch.testing.assert_close(grad.norm(), torch.tensor(20 * coefficient / 2**0.5, dtype=torch.float64))


def test_ackley_of_equation_29():
    x = sample(problem("ackley"), 50)
    extra = problem("ackley", regularised=True)(x) - problem("ackley")(x)
    torch.testing.assert_close(extra, 1e-8 * x.square().sum(-1) ** 4, rtol=0, atol=1e-14)


def test_standard_starts_of_the_papers():
    assert problem("rosenbrock").start == (-1.2, 1.0)
    assert problem("ackley", regularised=True).start == (-4.0, 3.0)
    assert problem("zakharov", dim=10).start == (1.0,) * 10
    assert problem("bowl").start == (-5.75, 1.75)
    assert problem("saddle").start == (1.0, 1e-9)


def test_a_turned_saddle_is_the_same_problem():
    straight = problem("saddle")
    c, s = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    turned = problem("saddle", angle=0.7)
    x = sample(straight, 100)
    torch.testing.assert_close(turned(x @ turn.T), straight(x), rtol=1e-13, atol=1e-13)
    start = torch.tensor(turned.start, dtype=torch.float64)
    torch.testing.assert_close(start @ turn, torch.tensor(straight.start, dtype=torch.float64), rtol=0, atol=1e-15)
    uphill_part = measure(turned, start[None])[1] @ turn
    torch.testing.assert_close(uphill_part, torch.tensor([[2.0, -2e-9]], dtype=torch.float64), rtol=1e-6, atol=0)


@together("seed", [None, 3])
def test_quadratics_have_the_spectrum_that_was_asked_for(seed):
    def eigenvalues(**options):
        p = problem("quadratic", seed=seed, **options)
        x = torch.zeros(1, p.dim, dtype=torch.float64)
        hessian = Objective(p, torch.zeros(1, dtype=torch.int64)).hessian(x)[0]
        off_diagonal = hessian - torch.diag(hessian.diagonal())
        assert (off_diagonal.abs().max() > 0.1) == (seed is not None)
        return torch.linalg.eigvalsh(hessian).numpy()

    assert eigenvalues(spectrum=(5.0, 0.5, 2.0)) == pytest.approx([0.5, 2.0, 5.0], rel=1e-12)
    assert eigenvalues(dim=4, condition=1000.0) == pytest.approx([1.0, 10.0, 100.0, 1000.0], rel=1e-11)
    assert eigenvalues(dim=6)[-1] == pytest.approx(100.0)


def test_quadratics_of_other_seeds_are_turned_otherwise():
    first, again, other = (problem("quadratic", dim=5, seed=seed) for seed in (1, 1, 2))
    x = sample(first, 20)
    assert torch.equal(first(x), again(x))
    assert not torch.allclose(first(x), other(x), rtol=1e-3)
    assert first.start == again.start != other.start


@together(
    ("name", "options", "message"),
    [
        ("rosenbrock", {"dim": 1}, "whole number >= 2"),
        ("rosenbrock", {"dim": 2.5}, "dim = 2.5"),
        ("zakharov", {"dim": 0}, "whole number >= 1"),
        ("rastrigin", {"dim": True}, "dim = True"),
        ("levy", {"dim": "3"}, "dim = '3'"),
        ("griewank", {"dim": -1}, "dim = -1"),
        ("michalewicz", {"dim": math.nan}, "dim = nan"),
        ("styblinski_tang", {"dim": 0}, "dim = 0"),
        ("dixon_price", {"dim": 0}, "dim = 0"),
        ("ackley", {"dim": 0}, "dim = 0"),
        ("ackley", {"coefficient": 0.0}, r"coefficient = 0.0 is outside"),
        ("ackley", {"coefficient": math.inf}, r"coefficient = inf"),
        ("ackley", {"coefficient": "big"}, "not a number"),
        ("ackley", {"regularised": "perhaps"}, "regularised = 'perhaps'"),
        ("bowl", {"coefficients": ()}, "at least one number"),
        ("bowl", {"coefficients": 3.0}, r"shape \(D,\)"),
        ("bowl", {"coefficients": ((1.0, 2.0), (3.0, 4.0))}, r"not \(2, 2\)"),
        ("bowl", {"coefficients": (3.0, -1.0)}, r"coefficients\[1\] = -1.0"),
        ("bowl", {"coefficients": ("three",)}, "must be numbers"),
        ("saddle", {"angle": math.inf}, "angle = inf"),
        ("quadratic", {"spectrum": (1.0,), "dim": 1}, "not both"),
        ("quadratic", {"spectrum": (1.0, 2.0), "condition": 2.0}, "not both"),
        ("quadratic", {"spectrum": (1.0, 0.0)}, r"spectrum\[1\]"),
        ("quadratic", {"condition": 0.5}, r"condition = 0.5 is outside its range \[1"),
        ("quadratic", {"dim": 1, "condition": 10.0}, "one eigenvalue"),
        ("quadratic", {"dim": 0}, "dim = 0"),
        ("quadratic", {"seed": -1}, "seed = -1"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(flowopt.BadValue, match=message):
        problem(name, **options)


def test_unknown_names_get_the_nearest():
    with pytest.raises(flowopt.UnknownName, match="rosenbrock"):
        problem("rosenbrok")
    with pytest.raises(flowopt.UnknownName, match="coefficient"):
        problem("ackley", coeficient=0.2)
    with pytest.raises(flowopt.BadValue, match="has no options"):
        problem("beale", dim=3)
