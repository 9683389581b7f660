"""z_hat of every optimizer of the family against formulas written out here; bounds, shares and verdicts."""

import copy
import math
import sys
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from rich.console import Console
from sklearn.datasets import load_digits
from together import together
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from flowopt import FlowOptimizer
from flowopt.core._numbers import percent, short
from flowopt.core.errors import BadValue, UnknownName
from flowopt.diagnostics import adaptive_share, epsilon_bounds, rules, suggest_epsilon, verdict, z_hats
from flowopt.diagnostics.z_hat import Rule
from flowopt.systems.adam import Adam
from flowopt.systems.rmsprop import RMSprop
from flowopt.training import TrainableLR, models
from flowopt.training._fit import fit
from flowopt.training.datasets import Dataset

STEPS = 60


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).to(dtype)


def train(make: Any, dtype: torch.dtype = torch.float64, steps: int = STEPS) -> tuple[Any, list[list[Tensor]]]:
    """The optimizer after some steps, and the gradients of each parameter."""
    model = network(dtype)
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    y = x.square().sum(1, keepdim=True)
    optimizer = make(model)
    grads: list[list[Tensor]] = [[] for _ in model.parameters()]
    for step in range(steps):
        optimizer.zero_grad()
        (model(x[step % 8 :: 8]) - y[step % 8 :: 8]).square().mean().backward()
        for kept, parameter in zip(grads, model.parameters(), strict=True):
            kept.append(parameter.grad.clone())
        optimizer.step()
    return optimizer, grads


def average(values: list[Tensor], beta: float) -> Tensor:
    """The exponential average that starts at 0, as the sum that it is."""
    return sum((1 - beta) * beta ** (len(values) - 1 - k) * value for k, value in enumerate(values))


def root(grads: list[Tensor], beta: float, correct: bool) -> Tensor:
    v = average([g * g for g in grads], beta)
    return (v / (1 - beta ** len(grads)) if correct else v).sqrt()


def largest_root(grads: list[Tensor], beta: float) -> Tensor:
    vs = [average([g * g for g in grads[:k]], beta) for k in range(1, len(grads) + 1)]
    return (torch.stack(vs).amax(0) / (1 - beta ** len(grads))).sqrt()


def centered_root(grads: list[Tensor], beta: float) -> Tensor:
    return (average([g * g for g in grads], beta) - average(grads, beta) ** 2).sqrt()


def means(grads: list[Tensor], beta: float = 0.9) -> list[Tensor]:
    return [average(grads[:k], beta) for k in range(1, len(grads) + 1)]


def belief(grads: list[Tensor], beta: float) -> Tensor:
    surprises = [(g - m) ** 2 for g, m in zip(grads, means(grads), strict=True)]
    return (1 - beta) * average(surprises, beta) / (1 - beta ** len(grads))


def cube_root(grads: list[Tensor], lr: float) -> Tensor:
    return sum(lr * math.sqrt(k) * g * g for k, g in enumerate(grads, start=1)) ** (1 / 3)


OPTIM = torch.optim
FAMILY: dict[str, tuple[Any, Any]] = {
    "Adagrad": (
        lambda p: OPTIM.Adagrad(p, initial_accumulator_value=0.5),
        lambda g: (0.5 + sum(x * x for x in g)) ** 0.5,
    ),
    "RMSprop": (lambda p: OPTIM.RMSprop(p, alpha=0.9), lambda g: root(g, 0.9, False)),
    "RMSprop centered": (lambda p: OPTIM.RMSprop(p, centered=True), lambda g: centered_root(g, 0.99)),
    "Adam": (lambda p: OPTIM.Adam(p, betas=(0.8, 0.99)), lambda g: root(g, 0.99, True)),
    "AdamW": (OPTIM.AdamW, lambda g: root(g, 0.999, True)),
    "Adam amsgrad": (lambda p: OPTIM.Adam(p, amsgrad=True, betas=(0.9, 0.9)), lambda g: largest_root(g, 0.9)),
    "Adam fused": (lambda p: OPTIM.Adam(p, fused=True), lambda g: root(g, 0.999, True)),
    "NAdam": (OPTIM.NAdam, lambda g: root(g, 0.999, True)),
    "RAdam": (OPTIM.RAdam, lambda g: root(g, 0.999, False)),
    "AdaBelief": (pytorch_optimizer.AdaBelief, lambda g: belief(g, 0.999)),
    "DiffGrad": (pytorch_optimizer.DiffGrad, lambda g: root(g, 0.999, False)),
    "AdaMod": (pytorch_optimizer.AdaMod, lambda g: root(g, 0.99, False)),
    "MADGRAD": (lambda p: pytorch_optimizer.MADGRAD(p, lr=0.01, eps=1e-6), lambda g: cube_root(g, 0.01 + 1e-6)),
}
"""Optimizers of other people, and z_hat of their denominators from all the gradients."""


@pytest.mark.parametrize("name", FAMILY)
def test_z_hat_of_other_peoples_optimizers(name: str) -> None:
    make, formula = FAMILY[name]
    optimizer, grads = train(lambda model: make(model.parameters()))
    for z, kept in zip(z_hats(optimizer).values(), grads, strict=True):
        torch.testing.assert_close(z, formula(kept), rtol=1e-10, atol=0)


OURS = [
    ("adam", {}, lambda p: OPTIM.Adam(p, lr=1e-3)),
    ("adamw", {}, lambda p: OPTIM.AdamW(p, lr=1e-3)),
    ("amsgrad", {}, lambda p: OPTIM.Adam(p, lr=1e-3, amsgrad=True)),
    ("rmsprop", {}, lambda p: OPTIM.RMSprop(p, lr=1e-2)),
    ("adagrad", {}, lambda p: OPTIM.Adagrad(p, lr=1e-2)),
    ("adabelief", {}, lambda p: pytorch_optimizer.AdaBelief(p, lr=1e-3)),
]


@pytest.mark.parametrize(("method", "parameters", "other"), OURS, ids=[name for name, *_ in OURS])
def test_our_z_hat_is_theirs(method: str, parameters: dict[str, Any], other: Any) -> None:
    ours, _ = train(lambda model: FlowOptimizer(model.named_parameters(), method, **parameters))
    theirs, _ = train(lambda model: other(model.named_parameters()))
    mine, yours = z_hats(ours), z_hats(theirs)
    assert list(mine) == list(yours) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for name in mine:
        torch.testing.assert_close(mine[name], yours[name], rtol=1e-12, atol=0)
    for a, b in zip(rules(ours), rules(theirs), strict=True):
        assert (a.plain_rate(0.03), a.momentum) == (pytest.approx(b.plain_rate(0.03)), b.momentum)


@pytest.mark.parametrize("method", ["eadam", "adamomentum", "madgrad", "diffgrad", "adamod"])
def test_our_z_hat_is_table_5(method: str) -> None:
    formulas = {
        "eadam": lambda g: 0.001 * root(g, 0.999, True) ** 2,
        "adamomentum": lambda g: 0.001 * average([m * m for m in means(g)], 0.999) / (1 - 0.999**STEPS),
        "madgrad": lambda g: cube_root(g, 0.01),
        "diffgrad": lambda g: root(g, 0.999, True),
        "adamod": lambda g: root(g, 0.999, True),
    }
    optimizer, grads = train(lambda model: FlowOptimizer(model.parameters(), method))
    for z, kept in zip(z_hats(optimizer).values(), grads, strict=True):
        torch.testing.assert_close(z, formulas[method](kept), rtol=1e-11, atol=0)


def test_names_shapes_and_groups() -> None:
    def two_groups(model: nn.Sequential) -> torch.optim.Optimizer:
        last = {"params": model[2].parameters(), "lr": 0.1, "eps": 1e-4, "betas": (0.9, 0.9)}
        return torch.optim.Adam([{"params": model[0].parameters()}, last], lr=0.01)

    optimizer, grads = train(two_groups)
    found = z_hats(optimizer)
    assert list(found) == [f"parameter {i} of group {j}" for j in (0, 1) for i in (0, 1)]
    assert [z.shape for z in found.values()] == [p.shape for group in optimizer.param_groups for p in group["params"]]
    torch.testing.assert_close(found["parameter 1 of group 1"], root(grads[3], 0.9, True), rtol=1e-12, atol=0)
    assert [rule.lr for rule in rules(optimizer)] == [0.01, 0.1]
    assert [rule.system.eps for rule in rules(optimizer)] == [1e-8, 1e-4]


def test_one_name_twice_stays_two_tensors() -> None:
    a, b = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.Adam([{"params": [("w", a)]}, {"params": [("w", b)]}])
    a.grad, b.grad = torch.ones(2), 2 * torch.ones(2)
    optimizer.step()
    assert [float(z[0]) for z in z_hats(optimizer).values()] == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precisions(dtype: torch.dtype) -> None:
    optimizer, grads = train(lambda model: torch.optim.Adam(model.parameters()), dtype, steps=3)
    z = z_hats(optimizer)["parameter 0 of group 0"]
    assert z.dtype == torch.float32
    exact = root([g.double() for g in grads[0]], 0.999, True)
    torch.testing.assert_close(z.double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=1e-4)


def test_complex_parameters_are_two_real_ones() -> None:
    p = nn.Parameter(torch.tensor([1 + 1j]))
    optimizer = torch.optim.Adam([p])
    p.grad = torch.tensor([3 - 4j])
    optimizer.step()
    torch.testing.assert_close(z_hats(optimizer)["parameter 0 of group 0"], torch.tensor([[3.0, 4.0]]))


def test_a_parameter_without_gradient_is_left_out() -> None:
    model = network()
    optimizer = FlowOptimizer(model.named_parameters(), "adam")
    model[2](torch.ones(1, 7, dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert list(z_hats(optimizer)) == ["2.weight", "2.bias"]
    torch.testing.assert_close(z_hats(optimizer)["2.bias"], torch.ones(1, dtype=torch.float64))


def test_inside_trainable_lr() -> None:
    optimizer, grads = train(lambda model: TrainableLR(torch.optim.Adam(model.parameters()), K=5))
    z = z_hats(optimizer)["parameter 0 of group 0"]
    torch.testing.assert_close(z, root(grads[0], 0.999, True), rtol=1e-12, atol=0)
    assert rules(optimizer)[0].lr == optimizer.rate != 1e-3


def test_the_rate_is_the_one_it_is_at_now() -> None:
    plain, _ = train(lambda model: FlowOptimizer(model.parameters(), "adam", lr=0.02))
    assert [rule.lr for rule in rules(plain)] == [0.02]
    tlr, _ = train(lambda model: FlowOptimizer(model.parameters(), "tlr_adam", K=5, lr=0.02))
    assert rules(tlr)[0].lr != 0.02
    tlr.zero_grad()
    tlr.step()
    assert rules(tlr)[0].lr == pytest.approx(tlr.last_step.h, rel=1e-2)


def test_the_rate_of_each_group() -> None:
    def two_groups(model: nn.Sequential) -> FlowOptimizer:
        return FlowOptimizer([{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5}], "adam")

    optimizer, _ = train(two_groups, steps=2)
    assert [rule.lr for rule in rules(optimizer)] == [1e-3, 0.5]
    text = verdict(adaptive_share(z_hats(optimizer), 1e4), rules(optimizer))
    assert "rate alpha / eps = 1e-7 to 5e-5" in text


def test_what_is_below_the_rounding_of_adabelief_is_marked_and_counted() -> None:
    """Two coordinates, one with gradients that never surprise after the first steps: s is eps and rounding."""
    p = nn.Parameter(torch.zeros(2))
    optimizer = pytorch_optimizer.AdaBelief([p], eps=1e-8)
    for _ in range(50):
        p.grad = torch.tensor([1e-9, 1.0])
        optimizer.step()
    z = z_hats(optimizer)["parameter 0 of group 0"]
    assert z[0] < 0 < z[1]
    assert -z[0] < 1e-3 * 1e-8  # the bound: far below eps
    row = epsilon_bounds({"p": z}).tensors[0]
    assert (row.unresolved, row.zeros, row.nonfinite) == (1, 0, 0)
    assert row.p2 == row.p98 == float(z[1])
    assert adaptive_share({"p": z}, 1e-8).overall.of_all == 0.5


@together(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        torch.optim.Adamax,
        torch.optim.Adadelta,
        lambda p: FlowOptimizer(p, "gd"),
        lambda p: FlowOptimizer(p, "elra"),
    ],
)
def test_outside_the_family(make: Any) -> None:
    with pytest.raises(BadValue, match=r"known: .*torch.optim's Adagrad, RMSprop, Adam.*pytorch_optimizer's AdaBelief"):
        z_hats(make(list(network().parameters())))


def test_before_the_first_step() -> None:
    for optimizer in (torch.optim.Adam(network().parameters()), FlowOptimizer(network().parameters(), "adam")):
        with pytest.raises(BadValue, match="no step yet"):
            z_hats(optimizer)


# bounds


def numpy_bounds(*tensors: Tensor) -> tuple[float, float]:
    positive = [t.double().numpy()[t.numpy() > 0] for t in tensors]
    return min(np.percentile(z, 2) for z in positive), max(np.percentile(z, 98) for z in positive)


def test_algorithm_2_with_numpys_percentiles() -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = {
        name: torch.exp(spread * torch.randn(size, generator=generator, dtype=torch.float64) + middle)
        for name, size, spread, middle in (
            ("a", 1, 1.0, -3.0),
            ("b", 2, 1.0, -3.0),
            ("c", 997, 4.0, -9.0),
            ("d", 50, 1, 2),
        )
    }
    bounds = epsilon_bounds({name: z.reshape(1, -1, 1) for name, z in tensors.items()})
    for row, z in zip(bounds.tensors, tensors.values(), strict=True):
        np.testing.assert_allclose([row.p2, row.p98], np.percentile(z.numpy(), [2, 98]), rtol=1e-14)
    low, high = numpy_bounds(*tensors.values())
    assert (bounds.lowest.p2, bounds.highest.p98) == pytest.approx((low, high), rel=1e-14)
    assert (bounds.lowest.name, bounds.highest.name) == ("c", "d")
    assert bounds.lower == float(f"1e{round(math.log10(low))}")
    assert bounds.upper == float(f"1e{round(math.log10(high))}")


def test_zeros_nan_and_infinities_are_left_out_and_counted() -> None:
    z = torch.tensor([0.0, 0.0, 1e-4, 2e-4, math.nan, math.inf, -math.inf])
    bounds = epsilon_bounds({"w": z, "dead": torch.zeros(5), "none": torch.zeros(0)})
    assert [row[1:5] for row in bounds.tensors] == [(7, 2, 3, 0), (5, 5, 0, 0), (0, 0, 0, 0)]
    assert bounds.tensors[0].p2 == pytest.approx(1.02e-4)
    assert math.isnan(bounds.tensors[1].p2)
    assert (bounds.lower, bounds.upper) == (1e-4, 1e-4)
    assert bounds.candidates == (1e-4,)
    share = adaptive_share({"w": z}, 1.5e-4).overall
    assert (share.above, share.finite, share.zeros, share.nonfinite) == (1, 4, 2, 3)
    assert (share.of_all, share.of_nonzero) == (0.25, 0.5)


@pytest.mark.parametrize("z", [torch.zeros(3), torch.tensor([math.nan, 0.0]), torch.zeros(0)])
def test_nothing_to_compare_eps_with(z: Tensor) -> None:
    with pytest.raises(BadValue, match="no z_hat is a positive number"):
        epsilon_bounds({"w": z})
    with pytest.raises(BadValue, match="no z_hat is a positive number"):
        verdict(adaptive_share({"w": z}, 1.0), [])


def test_bad_input() -> None:
    with pytest.raises(BadValue, match="there is no z_hat"):
        epsilon_bounds({})
    with pytest.raises(BadValue, match="w: z_hat is a Tensor"):
        epsilon_bounds({"w": np.ones(3)})  # type: ignore[dict-item]
    with pytest.raises(BadValue, match="eps = 0"):
        adaptive_share({"w": torch.ones(3)}, 0)


@together(
    ("low", "high", "candidates"),
    [
        (2e-6, 0.2, (1e-6, 1e-4, 0.1)),
        (3e-6, 4e-6, (1e-6, 1e-5)),  # they round to different sides
        (1e-16, 1e-6, (1e-16, 1e-11, 1e-6)),
        (5e-324, 1e300, (1e-323, 1e-12, 1e300)),
    ],
)
def test_powers_of_ten(low: float, high: float, candidates: tuple[float, ...]) -> None:
    bounds = epsilon_bounds(
        {"a": torch.tensor([low], dtype=torch.float64), "b": torch.tensor([high], dtype=torch.float64)}
    )
    assert bounds.candidates == candidates
    assert (bounds.lower, bounds.upper) == (candidates[0], candidates[-1])


def test_half_precision_is_read_exactly() -> None:
    z = torch.linspace(0.1, 3.0, 101).to(torch.bfloat16)
    low, high = numpy_bounds(z.float())
    row = epsilon_bounds({"w": z}).tensors[0]
    assert (row.p2, row.p98) == pytest.approx((low, high), rel=1e-14)
    eps = 1 + 1 / 512  # between two numbers of bfloat16, and rounded to 1 among them
    assert adaptive_share({"w": z}, eps).overall.above == int((z.double() > eps).sum())


def test_the_table_says_it_all() -> None:
    console = Console(width=120, record=True, file=sys.stderr)
    bounds = epsilon_bounds({"a[b]": torch.tensor([0.0, 1e-5]), "c": torch.tensor([math.nan, 0.2])})
    with console.capture() as captured:
        console.print(bounds.table())
    text = captured.get()
    assert "eps from 1e-5 to 0.1; worth trying: 1e-5, 1e-3, 0.1" in text
    assert [line.split() for line in text.splitlines() if line.strip().startswith(("a[b]", "c"))] == [
        ["a[b]", "2", "50.0", "%", "0", "1.00e-05", "1.00e-05", "lower"],
        ["c", "2", "-", "1", "2.00e-01", "2.00e-01", "upper"],
    ]
    assert "NaN, inf" in text
    assert "unresolved" not in text


# words


def says(values: Any, eps: float, system: Any, momentum: bool = True, lr: float = 1e-3) -> str:
    return verdict(adaptive_share({"w": torch.as_tensor(values)}, eps), [Rule(system, lr, momentum)])


def test_verdicts() -> None:
    z = torch.full((1000,), 1e-3)
    z[:3] = 1.0
    text = says(z, 1e-2, Adam())
    assert text.startswith("at eps = 1e-2 99.7 % of the coordinates move as momentum SGD with rate alpha / eps = 0.1 (")
    assert "(torch.optim.SGD: lr = 1e-2 and momentum = beta1). Hardly anything adapts" in text
    assert "plain SGD with rate alpha / eps = 0.1" in says(z, 1e-2, RMSprop(), momentum=False)
    assert "100 % of the coordinates adapt (z_hat > eps): fully adaptive" in says(z, 1e-8, Adam())
    text = says(torch.cat([z, torch.ones(997)]), 1e-2, Adam())
    assert "50.1 % of the coordinates adapt (z_hat > eps), 49.9 % move more or less as momentum SGD" in text
    assert "a mixture. Both alpha and eps matter" in text
    two = {"low": torch.tensor([1e-3]), "dead": torch.zeros(4), "high": torch.tensor([1.0, 1.0, 1e-3, 1.0])}
    text = verdict(adaptive_share(two, 1e-2), [Rule(Adam(), 1e-3, True)])
    assert "a mixture, from 0 % in low to 75.0 % in high" in text


def test_verdicts_name_what_they_leave_out() -> None:
    text = says([0.0, 1.0, 1.0, 1.0, math.nan], 1e-2, Adam())
    assert "100 % of the coordinates adapt (z_hat > eps): fully adaptive" in text
    assert "Not counted: 25.0 % whose z_hat is exactly 0" in text
    assert "Not counted: 1 numbers that are NaN or infinite, first in w" in text


def test_zeros_make_nothing_plain() -> None:
    """One of the fifty coordinates that move adapts, and that is a mixture, however many others stand still."""
    z = torch.cat([torch.zeros(1000), torch.full((49,), 1e-6), torch.ones(1)])
    assert "2.0 % of the coordinates adapt (z_hat > eps), 98.0 % move more or less" in says(z, 1e-3, Adam())


@pytest.mark.parametrize("method", ["eadam", "adabelief", "adamomentum"])
def test_where_eps_is_inside_the_root_the_rate_is_another(method: str) -> None:
    """The rate in the verdict is the one at which such an optimizer moves, if eps is very large."""
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = FlowOptimizer([p], method, lr=0.1, beta1=0.0, eps=1e4)
    for _ in range(2):
        before = p.detach().clone()
        p.grad = torch.full((1,), 0.5, dtype=torch.float64)
        optimizer.step()
    [rule] = rules(optimizer)
    assert float(before - p.detach()) == pytest.approx(rule.plain_rate(1e4) * 0.5, rel=1e-6)
    text = verdict(adaptive_share(z_hats(optimizer) if method != "adabelief" else {"p": torch.ones(1)}, 1e4), [rule])
    assert f"alpha / {'(' if method == 'adabelief' else ''}sqrt(eps / (1 - beta2))" in text


def test_numbers_in_words() -> None:
    assert [short(x) for x in (1e-6, 1e-16, 0.01, 0.1 - 1e-17, 1.0, 3.15e-4, 250.0, 1e5)] == (
        ["1e-6", "1e-16", "1e-2", "0.1", "1", "3.15e-4", "250", "1e5"]
    )
    assert [percent(x) for x in (0.0, 1.0, 0.386, 0.997, 0.9997, 0.004, 3e-7, 0.5)] == (
        ["0 %", "100 %", "38.6 %", "99.7 %", "99.97 %", "0.4 %", "0.00003 %", "50.0 %"]
    )


# suggest_epsilon


def problem(targets: str = "classes", shuffle: bool = False) -> tuple[nn.Module, DataLoader[Any]]:
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    y = (x[:, 0] > 0).long() if targets == "classes" else x[:, :2]
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(1) if shuffle else None
    return model, DataLoader(TensorDataset(x, y), batch_size=10, shuffle=shuffle, generator=generator)


def test_two_lines_for_a_user() -> None:
    model, loader = problem()
    bounds = suggest_epsilon(model, loader)
    assert [row.name for row in bounds.tensors] == ["0.weight", "0.bias", "3.weight", "3.bias"]
    trained = copy.deepcopy(model)
    optimizer = torch.optim.Adam(trained.named_parameters())
    torch.manual_seed(5)
    with torch.random.fork_rng():
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(trained(x), y).backward()
            optimizer.step()
    torch.manual_seed(5)
    again = suggest_epsilon(model, loader, optimizer=torch.optim.Adam)
    expected = epsilon_bounds(z_hats(optimizer))
    for mine, theirs in zip(again.tensors, expected.tensors, strict=True):
        assert mine[:5] == theirs[:5]
        assert mine[5:] == pytest.approx(theirs[5:], rel=1e-6)


def test_nothing_of_the_users_is_touched() -> None:
    model, loader = problem(shuffle=True)
    model.eval()
    next(model.parameters()).grad = torch.ones(8, 4)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    order = loader.generator.get_state()
    suggest_epsilon(model, loader, epochs=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(loader.generator.get_state(), order)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(next(model.parameters()).grad, torch.ones(8, 4))
    assert all(parameter.grad is None for parameter in list(model.parameters())[1:])


def test_it_trains_whatever_the_mode_of_the_model() -> None:
    model, loader = problem()
    found = []
    for mode in (True, False):
        torch.manual_seed(3)  # of the dropout
        found.append(suggest_epsilon(model.train(mode), loader))
    assert found[0] == found[1]


def test_losses_and_factories() -> None:
    model, loader = problem("numbers")
    mse = suggest_epsilon(model, loader, optimizer=lambda p: torch.optim.RMSprop(p, alpha=0.9))
    torch.manual_seed(0)
    twice = suggest_epsilon(
        model,
        loader,
        optimizer=lambda p: torch.optim.RMSprop(p, alpha=0.9),
        loss=lambda a, b: 10 * (a - b).square().mean(),
    )
    assert twice.highest.p98 > 3 * mse.highest.p98
    assert suggest_epsilon(model, loader, optimizer="torch:NAdam").lower > 0
    assert suggest_epsilon(model, loader, optimizer="adabelief").upper < mse.lower


@together(
    ("changes", "message"),
    [
        ({"optimizer": torch.optim.SGD}, "no eps that decides"),
        ({"optimizer": lambda p: 3}, "makes a int"),
        ({"loader": []}, "yields no batch in epoch 1"),
        ({"loader": iter([(torch.ones(1, 4), torch.zeros(1, dtype=torch.int64))]), "epochs": 2}, "no batch in epoch 2"),
        ({"loader": [torch.ones(1, 4)]}, "pairs"),
        ({"loader": [(torch.ones(1, 4), [0])]}, "give loss="),
        ({"loss": lambda output, target: torch.ones(())}, "does not depend on the model"),
        ({"epochs": 0}, "epochs = 0"),
        ({"model": nn.Flatten()}, "no parameter"),
    ],
)
def test_suggest_epsilon_refuses(changes: dict[str, Any], message: str) -> None:
    model, loader = problem()
    with pytest.raises(BadValue, match=message):
        suggest_epsilon(**{"model": model, "loader": loader} | changes)
    with pytest.raises(UnknownName, match="did you mean 'adam'"):
        suggest_epsilon(model, loader, optimizer="adaam")


# what the paper and its page say of small networks, in the first epoch, at the usual settings


def digits(shape: tuple[int, ...]) -> Dataset:
    x, y = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(x / 16, dtype=torch.float32).reshape(-1, *shape), torch.tensor(y)
    return Dataset("digits", "classification", inputs[:1437], targets[:1437], inputs[1437:], targets[1437:], 10)


def first_epoch(spec: str, method: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    data = digits(shape)
    model = models.build(spec, input_shape=shape, outputs=10, task="classification", seed=0)
    optimizer = FlowOptimizer(model.named_parameters(), method)
    fit(model, data, optimizer, epochs=1)
    return z_hats(optimizer)


@pytest.mark.parametrize(
    ("method", "lower", "upper"),
    [
        ("adam", 1e-6, 1e-1),
        ("rmsprop", 1e-7, 1e-2),
        ("adabelief", 1e-16, 1e-6),
        ("eadam", 1e-16, 1e-6),
        ("adamomentum", 1e-17, 1e-7),
        ("madgrad", 1e-5, 1e-1),
    ],
)
def test_bounds_of_a_small_lstm(method: str, lower: float, upper: float) -> None:
    """Within a power of ten of the published ones, whose network is not described any further."""
    bounds = epsilon_bounds(first_epoch("lstm:32", method, (8, 8)))
    assert abs(round(math.log10(bounds.lower / lower))) <= 1
    assert bounds.upper == upper


def test_bounds_and_shares_of_a_small_mlp() -> None:
    found = first_epoch("mlp:64-32", "adam", (64,))
    bounds = epsilon_bounds(found)
    assert (bounds.lower, bounds.upper) == (1e-6, 1e-1)
    shares = {eps: adaptive_share(found, eps).overall for eps in (1e-3, 1e-2)}
    assert 0.25 < shares[1e-3].of_all < 0.55  # published: 38.6 %
    assert 0.001 < shares[1e-2].of_all < 0.01  # 0.4 %
    assert 0.05 < shares[1e-2].zeros / shares[1e-2].finite < 0.19


def test_the_rate_is_that_of_what_moves() -> None:
    """Not that of a first layer that is frozen."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    optimizer = FlowOptimizer(model.named_parameters(), "adam", lr=2e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(5, 3)).square().mean().backward()
        optimizer.step()
    assert [rule.lr for rule in rules(optimizer)] == [2e-3]
