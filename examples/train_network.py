"""Train a PyTorch model with flowopt's methods in the place of torch.optim's: only the optimizer's line changes."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import flowopt

torch.manual_seed(0)
x = torch.randn(1500, 10)
y = (x[:, :2].prod(1) > 0).long()


def train(make: Callable[[Any], torch.optim.Optimizer]) -> str:
    """Test accuracy after 20 epochs, and what the optimizer tells of its last step."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = make(model.named_parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for _ in range(20):
        for rows in torch.randperm(1000).split(50):

            def closure(rows: Tensor = rows) -> Tensor:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
                loss.backward()
                return loss

            optimizer.step(closure)
        scheduler.step()
    ours = isinstance(optimizer, flowopt.FlowOptimizer)
    with torch.no_grad(), optimizer.accepted() if ours else nullcontext():  # elra's last step is not judged yet
        accuracy = float((model(x[1000:]).argmax(1) == y[1000:]).float().mean())
    told = f"h = {optimizer.last_step.h:.3g}, energy = {optimizer.last_step.energy:.3g}" if ours else ""
    return f"test accuracy {100 * accuracy:.1f} %  {told}"


print("torch.optim.Adam:", train(lambda params: torch.optim.Adam(params, lr=0.01)))
print("ecdsep:", train(lambda params: flowopt.FlowOptimizer(params, "ecdsep", exponent=1.0, dt=0.4)))
print("ecco:", train(lambda params: flowopt.FlowOptimizer(params, "ecco", eta=0.1)))
print("elra:", train(lambda params: flowopt.FlowOptimizer(params, "elra", kappa="auto", gamma_max=10.0)))
print("gdm, torch.optim.SGD(momentum=0.9):", train(lambda params: flowopt.FlowOptimizer(params, "gdm", lr=0.1)))
