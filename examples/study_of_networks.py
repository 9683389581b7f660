"""A study of sixty networks in one run: ECCO's error tolerance from 1e-3 to 100, six seeds each."""

import torch
from torch import nn

import flowopt

torch.manual_seed(0)
x = torch.randn(1500, 10)
y = (x[:, :2].prod(1) > 0).long()


def build(seed: int) -> nn.Module:
    """The networks differ in their initial weights, which torch draws from `seed`."""
    return nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 2))


etas = torch.logspace(-3, 2, 10, dtype=torch.float64).repeat_interleave(6)
study = flowopt.Ensemble(build, 60, "ecco", {"eta": etas}, seeds=list(range(6)) * 10)
study.fit(x[:1000], y[:1000], epochs=10, batch_size=50)

accuracy = 100 * study.evaluate(x[1000:], y[1000:])["accuracy"]
for eta, of_eta in zip(etas[::6], accuracy.view(10, 6), strict=True):
    print(f"eta = {eta:8.3g}: test accuracy {of_eta.mean():.1f} % ({of_eta.min():.1f} to {of_eta.max():.1f})")
print("ended early:", {row: str(why) for row, why in study.endings.items()} or "none")
print("mean step of the first network over the last ten:", study.record.h[-10:, 0].mean())
