"""Train with torch.optim.SGD under ELRA's dynamic batch size, and evaluate the mean of each epoch's iterates."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from flowopt.networks import BatchSizeController

torch.manual_seed(0)
x = torch.randn(3000, 10)
y = x[:, :2].prod(1, keepdim=True) + 0.5 * torch.randn(3000, 1)
loader = DataLoader(TensorDataset(x[:2000], y[:2000]), batch_size=2, shuffle=True, drop_last=True)  # micro-batches

model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
batch_size = BatchSizeController(m_max=len(loader))
averaged = AveragedModel(model)  # with BatchNorm: use_buffers=True, or update_bn before the evaluation

for epoch in range(10):
    averaged.n_averaged.zero_()  # the mean is that of this epoch's iterates
    for batch in batch_size.group(loader):
        for inputs, targets in batch:
            loss = nn.functional.mse_loss(model(inputs), targets)
            (batch_size.loss_factor * loss).backward()
            batch_size.record(loss)
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(model)
    period = batch_size.end_period()

    with torch.no_grad():
        last, mean = (nn.functional.mse_loss(net.eval()(x[2000:]), y[2000:]).item() for net in (model, averaged))
    model.train()
    why = f"next m = {period.m} ({', '.join(period.reasons)})" if period.reasons else ""
    print(f"epoch {epoch:2}: training {period.mean:.3f}, test {last:.3f}, boosted {mean:.3f}  {why}")
