"""Four initial learning rates over nine orders of magnitude: TLR over torch.optim.SGD, and SGD alone."""

import torch
from torch import nn

from flowopt.networks import TrainableLR

torch.manual_seed(0)
x = torch.randn(1600, 10)
y = (x[:, :2].prod(1) > 0).long()


def accuracy(lr: float, tlr: bool) -> float:
    """Test accuracy in % after 20 epochs."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
    batches = torch.arange(1200).split(16)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    if tlr:
        optimizer = TrainableLR(optimizer, batches_per_epoch=len(batches))
    for _ in range(20):
        for rows in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return 100 * float((model(x[1200:]).argmax(1) == y[1200:]).float().mean())


for lr in (1.0, 1e-2, 1e-5, 1e-9):
    print(f"lr = {lr:g}: {accuracy(lr, tlr=True):.1f} % with TLR, {accuracy(lr, tlr=False):.1f} % without")
