"""Two processes that train one network, over gloo on the loopback address."""

import os
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flowopt import FlowOptimizer

METHODS = {"ecdsep": {"dt": 0.1}, "elra": {"alpha0": 3.0}, "gd": {"lr": 0.1}}


def train(rank: int, folder: str) -> None:
    """Each method with each process's own loss, and with the mean of both: parameters and warnings of this process."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
    found = {}
    for name, options in METHODS.items():
        for averaged in (False, True):
            torch.manual_seed(0)
            model = DistributedDataParallel(nn.Linear(3, 1).double())
            optimizer = FlowOptimizer(model.parameters(), name, **options)
            said = []
            for _ in range(4):
                optimizer.zero_grad()
                loss = (model(x) - x.sum(1, keepdim=True) ** 2).square().mean()
                loss.backward()
                mean = loss.detach().clone()
                dist.all_reduce(mean)
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    optimizer.step(loss=mean / 2 if averaged else loss)
                said.append([str(warning.message) for warning in caught])
            with optimizer.accepted():
                found[name, averaged] = (torch.cat([p.detach().flatten() for p in model.parameters()]), said)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_loss_of_each_process_is_said_before_the_first_step(tmp_path: Path) -> None:
    mp.spawn(train, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in METHODS:
        uses_the_loss = name != "gd"
        for averaged in (False, True):
            mine, said = first[name, averaged]
            drift = float((mine - second[name, averaged][0]).abs().max())
            assert (drift > 1e-6) == (uses_the_loss and not averaged), (name, averaged, drift)
            assert [len(at) for at in said] == [int(uses_the_loss), 0, 0, 0]
            if uses_the_loss:
                assert "2 processes" in said[0][0]
                assert "drift apart" in said[0][0]
                assert "all_reduce" in said[0][0]
