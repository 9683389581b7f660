"""ELRA's boosting (3.7), the mean of an epoch's iterates, is torch's AveragedModel with its count put back to 0.

averaged = AveragedModel(model)                  # with BatchNorm: use_buffers=True, or update_bn before evaluating
for epoch in range(epochs):
    averaged.n_averaged.zero_()                  # the mean begins anew
    for x, y in loader:
        ...
        optimizer.step()
        averaged.update_parameters(model)
    averaged.eval()
    accuracy = evaluate(averaged)                # the model itself goes on from its last iterate
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

EPOCHS, BATCHES = 3, 10


def network(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6) if norm else nn.Tanh(), nn.Linear(6, 1)).double()


def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(100 + epoch)
    x = torch.randn(BATCHES, 8, 4, dtype=torch.float64)
    return [(one, one.sum(1, keepdim=True) + torch.randn(8, 1, dtype=torch.float64)) for one in x]


def vector(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()]).clone()


def train(model: nn.Module, averaged: AveragedModel | None, epochs: range = range(EPOCHS)) -> list[list[Tensor]]:
    """The recipe; returns the iterates of each epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    iterates: list[list[Tensor]] = []
    for epoch in epochs:
        iterates.append([])
        if averaged is not None:
            averaged.n_averaged.zero_()
        for x, y in batches(epoch):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            iterates[-1].append(vector(model))
            if averaged is not None:
                averaged.update_parameters(model)
        if averaged is not None:
            averaged.eval()
            averaged(batches(epoch)[0][0])
            assert torch.allclose(vector(averaged), torch.stack(iterates[-1]).mean(0), rtol=1e-13, atol=1e-15)
    return iterates


@pytest.mark.parametrize("options", [{}, {"use_buffers": True}])
@pytest.mark.parametrize("norm", [False, True])
def test_it_is_the_mean_of_the_epoch_and_training_does_not_see_it(norm: bool, options: Any) -> None:
    plain, model = network(norm), network(norm)
    train(plain, None)
    train(model, AveragedModel(model, **options))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_batch_norm_by_averaged_buffers() -> None:
    model = network(norm=True)
    averaged = AveragedModel(model, use_buffers=True)
    seen = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(module.running_mean.clone()))
    train(model, averaged)
    assert torch.allclose(averaged.module[1].running_mean, torch.stack(seen[-BATCHES:]).mean(0), rtol=1e-12)


def test_batch_norm_by_one_more_pass() -> None:
    model = network(norm=True)
    averaged = AveragedModel(model)
    train(model, averaged)
    data = batches(0)
    update_bn(data, averaged)
    with torch.no_grad():
        hidden = torch.stack([averaged.module[0](x) for x, _ in data])
    norm = averaged.module[1]
    assert torch.allclose(norm.running_mean, hidden.mean((0, 1)), rtol=1e-12)
    assert torch.allclose(norm.running_var, hidden.var(1).mean(0), rtol=1e-12)


def test_resume_within_an_epoch(tmp_path: Path) -> None:
    """The mean so far and its count are in the state dict."""
    iterates = train(network(), None)[0]
    model = network()
    straight = AveragedModel(model)
    resumed = AveragedModel(network())
    for t, point in enumerate(iterates):
        nn.utils.vector_to_parameters(point, model.parameters())
        straight.update_parameters(model)
        resumed.update_parameters(model)
        if t == 4:
            torch.save(resumed.state_dict(), tmp_path / "mean.pt")
            resumed = AveragedModel(network())
            resumed.load_state_dict(torch.load(tmp_path / "mean.pt", weights_only=True))
    assert torch.equal(vector(straight), vector(resumed))


def test_the_mean_of_noisy_iterates_is_better_than_the_last() -> None:
    """ELRA 3.7: f of the mean is below f of the last iterate, where steps are large and gradients noisy."""
    model = network()
    averaged = AveragedModel(model)
    train(model, averaged, range(20))
    test = [pair for epoch in range(200, 240) for pair in batches(epoch)]

    def risk(module: nn.Module) -> float:
        with torch.no_grad():
            return sum(nn.functional.mse_loss(module(x), y).item() for x, y in test) / len(test)

    assert risk(averaged) < 0.95 * risk(model)
