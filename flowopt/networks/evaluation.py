"""Loss and metrics of a network over many samples."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.tasks import Task

AT_A_TIME = 512
"""Samples of one forward pass."""


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Tensor, targets: Tensor, task: Task) -> dict[str, float]:
    """Loss ("loss") and metrics of a task over samples ``(N, ...)`` on the model's device, in evaluation mode."""
    means = {"loss": task.loss, **{name: metric.mean for name, metric in task.metrics.items()}}
    totals = dict.fromkeys(means, torch.zeros((), dtype=torch.float64, device=inputs.device))
    training = model.training
    model.eval()
    try:
        for x, y in zip(torch.split(inputs, AT_A_TIME), torch.split(targets, AT_A_TIME), strict=True):
            output = model(x)
            for name, mean in means.items():
                totals[name] = totals[name] + mean(output, y).to(torch.float64) * len(x)
    finally:
        model.train(training)
    found = {name: total / len(inputs) for name, total in totals.items()}
    found |= {name: metric.finish(found[name]) for name, metric in task.metrics.items()}
    return {name: float(value) for name, value in found.items()}


def accepted(optimizer: Optimizer) -> AbstractContextManager[None]:
    """`FlowOptimizer.accepted`; any other optimizer has nothing pending."""
    return optimizer.accepted() if isinstance(optimizer, FlowOptimizer) else nullcontext()
