"""What should eps be? Ask the gradients: an epoch of training says which part of Adam's steps adapts, at which eps."""

import torch
from rich import print
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from flowopt.diagnostics import GradientHistograms, suggest_epsilon

torch.manual_seed(0)
x = torch.randn(2000, 20)
y = (x[:, :2].prod(1) > 0).long()
loader = DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True)
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))

bounds = suggest_epsilon(model, loader, optimizer=torch.optim.Adam)  # the model stays as it is
print(bounds.table())

for eps in bounds.candidates:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.named_parameters(), lr=0.01, eps=eps)
    with GradientHistograms(optimizer, every=20) as histograms:  # cheap, and it works with any such optimizer
        for _ in range(10):
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), targets)
                loss.backward()
                optimizer.step()
    accuracy = float((model(x).argmax(1) == y).float().mean())
    print(f"accuracy {100 * accuracy:.1f} % {histograms.verdict()}")
histograms.plot("histograms.png")
