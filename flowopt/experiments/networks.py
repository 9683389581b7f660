"""The papers' claims on networks, on scikit-learn's digits: perceptrons 64-64-32-10 unless a claim says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from flowopt.experiments.facts import Experiment, Fact, about, at_least, at_most, between, exactly
from flowopt.training.batches import batches
from flowopt.training.datasets import Dataset, load
from flowopt.training.ensemble import Ensemble
from flowopt.training.limiting import ActivationLimiting
from flowopt.training.models import build
from flowopt.training.optimizer import FlowOptimizer
from flowopt.training.tasks import loss_for
from flowopt.training.trainable_lr import TrainableLR

STANDARDISED, SCALED = "standardised inputs", "pixels / 16"
EPOCHS, BATCH, STEPS_PER_EPOCH = 30, 128, 12
ETAS = (0.01, 0.1, 1.0, 10.0, 100.0)
ELRA = {"kappa": "auto", "gamma_max": 10.0, "retrace": "epoch"}
"""ELRA's choices for networks."""


def ecco_without_limiting(epochs: int = EPOCHS, seeds: int = 3) -> Iterator[Fact]:
    """ECCO-DNN without activation limiting: test accuracy in percent, every seed."""
    for eta in ETAS:
        found = accuracy("ecco", STANDARDISED, {"eta": eta}, seeds, epochs)
        yield Fact(f"{STANDARDISED}, eta = {eta:g}", "figure 2", between(95, 98.5), found, note=_CAP)
    for eta in ETAS:
        found = accuracy("ecco", SCALED, {"eta": eta}, seeds, epochs)
        if eta < 1:
            yield Fact(f"{SCALED}, eta = {eta:g}", "figure 2", between(92, 98.5), found)
        else:
            claim = f"{SCALED}, eta = {eta:g}: mean over the seeds"
            yield Fact(claim, "figure 2", at_most(90), (sum(found) / len(found),), note=_CAP)
    ensemble = trained("ecco", STANDARDISED, {"eta": 100.0}, seeds, epochs)
    plain = trained("gd", STANDARDISED, {"lr": 1.0}, seeds, epochs)
    pairs = zip(ensemble.model.parameters, plain.model.parameters, strict=True)
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    yield Fact(
        "parameters, eta = 100 against SGD with lr = 1: largest difference", "eqs 14, 15", exactly(0), (difference,)
    )


_CAP = "for large eta the step is at its cap of 1 all the time: the insensitivity to eta is that of SGD with lr = 1"


def ecco_limiting(epochs: int = EPOCHS, seeds: int = 2) -> Iterator[Fact]:
    """ECCO-DNN's activation limiting, pixels / 16, eta = 1: accuracy, and the median delta of the two layers."""
    expectations = {
        "batch_mean": (between(90, 98.5), between(0.01, 0.9)),
        "every_sample": (between(40, 85), at_most(0.01)),
        "median": (between(90, 98.5), about(0.5, 0.1)),
        "max": (at_most(90), at_least(0.9)),
    }
    for reading, (percent, delta) in expectations.items():
        runs = [_limited(reading, seed, epochs) for seed in range(seeds)]
        yield Fact(f"{reading}: accuracy", "section 3.2.2", percent, tuple(run[0] for run in runs))
        deltas = tuple(value for run in runs for value in run[1])
        yield Fact(f"{reading}: median delta of a layer", "section 3.2.2", delta, deltas)


def ecdsep(epochs: int = EPOCHS, seeds: int = 3) -> Iterator[Fact]:
    """ECDSep, pixels / 16: test accuracy in percent, every seed."""
    for eta in (1.0, 2.0, 3.0):
        for dt in (0.1, 0.4, 1.0):
            found = accuracy("ecdsep", SCALED, {"exponent": eta, "dt": dt}, seeds, epochs)
            yield Fact(f"exponent = {eta:g}, dt = {dt:g}", "Algorithm 1", between(90.5, 98.5), found)


def elra(epochs: int = EPOCHS, seeds: int = 3) -> Iterator[Fact]:
    """ELRA with its choices for networks: test accuracy in percent, every seed."""
    for inputs, expected in ((STANDARDISED, between(95.5, 98)), (SCALED, between(91, 97))):
        for alpha0 in (1e-5, 1e-3, 1.0):
            options = ELRA | {"alpha0": alpha0, "epoch_length": STEPS_PER_EPOCH}
            found = accuracy("elra", inputs, options, seeds, epochs)
            yield Fact(f"{inputs}, alpha_0 = {alpha0:g}", "section 3", expected, found)
    options = ELRA | {"alpha0": 1e-3, "epoch_length": 45}
    found = accuracy("elra", STANDARDISED, options, seeds, epochs, batch=32)
    yield Fact("a fixed batch of 32", "section 3.3", at_most(92), found, note="why the paper lets the batch size grow")


def tlr(epochs: int = 20, seeds: int = 2) -> Iterator[Fact]:
    """TLR, one hidden layer of 256, batches of 16, K = 17, standardised: test accuracy in percent, every seed."""
    for rate in (1e-9, 1e-5, 1e-1):
        found = accuracy("tlr", STANDARDISED, {"lr": rate, "K": 17}, seeds, epochs, batch=16, widths="256")
        yield Fact(f"initial rate {rate:g}", "eq 8", between(96.5, 98.9), found)
    found = accuracy("tlr", STANDARDISED, {"lr": 1.0, "K": 17}, 6, epochs, batch=16, widths="256")
    trains = float(sum(percent > 90 for percent in found))
    yield Fact("initial rate 1: seeds of 6 that pass 90 %", "eq 8", between(3, 6), (trains,), exactly(6), note=_RATE_1)
    found = tuple(_over_adam(seed, epochs) for seed in range(seeds))
    yield Fact(
        "over Adam, 64-64-32-10, initial rate 1e-3", "eq 8", at_most(60), found, note="the rate grows without end"
    )


_RATE_1 = "a first step that is too long can leave a network where its units are dead"


def accuracy(
    method: str,
    inputs: str,
    options: dict[str, Any],
    seeds: int,
    epochs: int,
    batch: int = BATCH,
    widths: str = "64-32",
) -> tuple[float, ...]:
    """Test accuracy in percent of networks that differ in their seed."""
    ensemble = trained(method, inputs, options, seeds, epochs, batch, widths)
    data = digits(inputs)
    return tuple((100 * ensemble.evaluate(data.test_inputs, data.test_targets)["accuracy"]).tolist())


def trained(
    method: str,
    inputs: str,
    options: dict[str, Any],
    seeds: int,
    epochs: int,
    batch: int = BATCH,
    widths: str = "64-32",
) -> Ensemble:
    """An ensemble of networks that differ in their seed, trained."""
    data = digits(inputs)
    ensemble = Ensemble(lambda seed: network(seed, widths), seeds, method, options, record_every=0)
    ensemble.fit(data.train_inputs, data.train_targets, epochs=epochs, batch_size=batch)
    ensemble.evaluate(data.test_inputs, data.test_targets)
    return ensemble


@cache
def digits(inputs: str) -> Dataset:
    """The digits, preprocessed."""
    return load("digits", preprocessing="scaled" if inputs == SCALED else "standardised", seed=0)


def network(seed: int, widths: str = "64-32") -> nn.Module:
    """The perceptron of a seed."""
    return build(f"mlp:{widths}", input_shape=(1, 8, 8), outputs=10, task="classification", seed=seed)


def _limited(reading: str, seed: int, epochs: int) -> tuple[float, list[float]]:
    """Accuracy in percent, and the median delta of each limited layer."""
    model = network(seed)
    limiting = ActivationLimiting(model, reading)
    optimizer = FlowOptimizer(model.parameters(), "ecco", eta=1.0, limiting=limiting)
    deltas: list[Tensor] = []
    for loss in _losses(model, optimizer, digits(SCALED), seed, epochs, BATCH):
        optimizer.step(loss=loss)
        deltas.append(optimizer.state_dict()["state"]["flow"]["pace"].clone())
    weights = torch.stack(deltas)[:, [0, 2]]  # of the two hidden layers
    return _accuracy(model, digits(SCALED)), weights.median(0).values.tolist()


def _over_adam(seed: int, epochs: int) -> float:
    model = network(seed)
    optimizer = TrainableLR(torch.optim.Adam(model.parameters(), lr=1e-3), K=17)
    for _ in _losses(model, optimizer, digits(STANDARDISED), seed, epochs, 16):
        optimizer.step()
    return _accuracy(model, digits(STANDARDISED))


def _losses(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: Dataset, seed: int, epochs: int, size: int
) -> Iterator[Tensor]:
    """The loss of one batch after the other, its gradient made."""
    loss_of = loss_for("classification")
    for epoch in range(epochs):
        for index in batches(len(data.train_inputs), size, seed=seed, epoch=epoch):
            optimizer.zero_grad()
            loss = loss_of(model(data.train_inputs[index]), data.train_targets[index])
            torch.autograd.backward(loss)
            yield loss


@torch.no_grad()
def _accuracy(model: nn.Module, data: Dataset) -> float:
    right: Tensor = model(data.test_inputs).argmax(-1) == data.test_targets
    return 100 * float(right.float().mean())


EXPERIMENTS: tuple[Experiment, ...] = tuple(
    Experiment(run, quick={"seeds": 1}) for run in (ecco_without_limiting, ecco_limiting, ecdsep, elra, tlr)
)
