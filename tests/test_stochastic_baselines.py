"""What the papers compare with on networks, batch by batch: SLS, SPS and step decay beside loops of plain torch."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential
from torch.nn.functional import cross_entropy

from flowopt.core.errors import BadValue
from flowopt.networks._optimizer import FlowOptimizer

BATCH = 128
PACES = (1.0, 0.3)
"""Learning rates of the two layers."""


@cache
def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels) / 16, torch.from_numpy(labels)


def batches(epochs: int, dtype: torch.dtype = torch.float64) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = digits()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for chosen in order.split(BATCH)[:-1]:
            yield x[chosen].to(dtype), y[chosen]


PER_EPOCH = sum(1 for _ in batches(1))


def network(dtype: torch.dtype = torch.float64) -> Sequential:
    torch.manual_seed(7)
    return Sequential(Linear(64, 24, dtype=dtype), ReLU(), Linear(24, 10, dtype=dtype))


def groups(model: Sequential) -> list[dict[str, Any]]:
    return [{"params": model[layer].parameters(), "lr": pace} for layer, pace in zip((0, 2), PACES, strict=True)]


def vector(model: Sequential) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def paces(model: Sequential) -> Tensor:
    sizes = [sum(p.numel() for p in model[layer].parameters()) for layer in (0, 2)]
    return torch.cat([torch.full((n,), pace, dtype=torch.float64) for n, pace in zip(sizes, PACES, strict=True)])


def accuracy(model: Sequential) -> float:
    x, y = digits()
    dtype = next(model.parameters()).dtype
    return float((model(x.to(dtype)).argmax(-1) == y).double().mean())


def calls_of(model: Sequential, optimizer: Any, batch: tuple[Tensor, Tensor]) -> tuple[Callable[[], Tensor], list[Any]]:
    """A closure on one batch, and the list of what it saw: parameters, loss and gradient."""
    seen: list[Any] = []
    x, y = batch

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        grad = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        seen.append((vector(model), float(loss.detach()), grad))
        return loss

    return closure, seen


def test_sls_judges_each_batch_by_itself() -> None:
    """A straight-line search beside it, with learning rates per group: the same steps, for the same calls."""
    c, shrink, growth, top = 0.4, 0.7, 5.0, 3.0
    model = network()
    options = {
        "h0": 3.0,
        "c1": c,
        "backtrack": shrink,
        "epoch_growth": growth,
        "batches_per_epoch": PER_EPOCH,
        "h_max": top,
    }
    optimizer = FlowOptimizer(groups(model), "sls", **options)
    pace, start, longest = paces(model), 3.0, 0
    for batch in batches(3):
        closure, seen = calls_of(model, optimizer, batch)
        optimizer.step(closure)
        (q, f, g), *trials = seen
        h = start
        for at, value, _ in trials:
            assert torch.allclose(at, q - h * pace * g, rtol=1e-12, atol=1e-14)
            fell = value <= f - c * h * float((pace * g * g).sum())
            assert fell == (at is trials[-1][0]), "all but the last failed"
            h = h if fell else shrink * h
        assert torch.equal(vector(model), trials[-1][0]), "the trial that will do is the step"
        longest = max(longest, len(trials))
        start = min(growth ** (1 / PER_EPOCH) * h, top)
    assert longest > 2, "there was something to search for"
    assert optimizer.last_step.steps == 3 * PER_EPOCH


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sls_and_sps_learn_the_digits(dtype: torch.dtype) -> None:
    for name in ("sls", "sps"):
        model = network(dtype)
        optimizer = FlowOptimizer(model.parameters(), name, batches_per_epoch=PER_EPOCH)
        before = accuracy(model)
        for batch in batches(8, dtype):
            closure, _ = calls_of(model, optimizer, batch)
            optimizer.step(closure)
        assert before < 0.3
        assert accuracy(model) > 0.9


def test_sls_says_that_it_needs_a_closure() -> None:
    model = network()
    optimizer = FlowOptimizer(model.parameters(), "sls")
    (batch,) = (batch for batch, _ in zip(batches(1), range(1), strict=False))
    calls_of(model, optimizer, batch)[0]()
    with pytest.raises(BadValue, match="closure"):
        optimizer.step()


def test_sps_beside_a_loop_of_torch() -> None:
    f_star, c, growth, top = 0.05, 0.2, 3.0, 2.0
    model, theirs = network(), network()
    options = {
        "f_star": f_star,
        "c": c,
        "epoch_growth": growth,
        "batches_per_epoch": PER_EPOCH,
        "h0": 0.5,
        "h_max": top,
    }
    optimizer = FlowOptimizer(model.parameters(), "sps", **options)
    last, bounds = 0.5, set()
    for x, y in batches(4):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step(loss=loss)

        loss = cross_entropy(theirs(x), y)
        grads = torch.autograd.grad(loss, list(theirs.parameters()))
        square = sum(float((g * g).sum()) for g in grads)
        choices = (max(float(loss.detach()) - f_star, 0) / (c * square), growth ** (1 / PER_EPOCH) * last, top)
        h = min(choices)
        bounds.add(choices.index(h))
        with torch.no_grad():
            for parameter, g in zip(theirs.parameters(), grads, strict=True):
                parameter.sub_(h * g)
        last = h if h > 0 else last
        assert torch.allclose(vector(model), vector(theirs), rtol=1e-9, atol=1e-11)
    assert bounds == {0, 1, 2}, "each of the three bounds had its say"


@pytest.mark.parametrize("name", ["polyak", "sps"])
def test_a_batch_without_a_slope_moves_nothing(name: str) -> None:
    model = network()
    optimizer = FlowOptimizer(model.parameters(), name)
    q = vector(model)
    for share in (0.0, 0.0, 1.0):
        for x, y in batches(1):
            optimizer.zero_grad()
            loss = share * cross_entropy(model(x), y) + 1.0
            loss.backward()
            optimizer.step(loss=loss)
            break
        assert torch.equal(vector(model), q) == (share == 0)
        assert torch.isfinite(vector(model)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_decay_is_sgd_with_step_lr_bit_for_bit(dtype: torch.dtype) -> None:
    model, theirs = network(dtype), network(dtype)
    optimizer = FlowOptimizer(model.parameters(), "step_decay", lr=0.3, factor=0.7, every=9)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.3)
    scheduler = torch.optim.lr_scheduler.StepLR(sgd, step_size=9, gamma=0.7)
    for x, y in batches(200 // PER_EPOCH + 1, dtype):
        for one, stepper in ((model, optimizer), (theirs, sgd)):
            stepper.zero_grad()
            cross_entropy(one(x), y).backward()
            stepper.step()
        scheduler.step()
        assert torch.equal(vector(model), vector(theirs))
    assert optimizer.last_step.steps > 200
    assert optimizer.param_groups[0]["lr"] == 0.3, "the decay is the method's, not the group's"
