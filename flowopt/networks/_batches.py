"""The order in which samples are seen: a function of the seed and the epoch alone, so that a run can be resumed."""

from __future__ import annotations

import torch
from torch import Tensor

from flowopt.core.errors import BadValue, check_count
from flowopt.core.noise import uniform


def order(count: int, seeds: Tensor, epoch: int) -> Tensor:
    """Permutations of ``0 ... count - 1``, ``(B, count)`` int64: one a seed, as that seed alone would have it.

    `seeds` is ``(B,)`` int64, on the device that the permutations are wanted on. They come from a hash of (seed, epoch,
    sample), so no generator has a state to save, and every device and release of torch shuffles alike.
    Raises BadValue for a count below 1 or an epoch below 0.
    """
    check_count("order", "count", count, 1)
    check_count("order", "epoch", epoch, 0)
    return uniform(seeds, torch.full_like(seeds, epoch), count).argsort(dim=-1, stable=True)


def batches(count: int, batch_size: int, *, seed: int, epoch: int, drop_last: bool = False) -> tuple[Tensor, ...]:
    """The batches of one epoch: index tensors ``(batch_size,)`` int64, which together hold each sample once.

    The last is shorter where `batch_size` does not divide `count`, or is left out (`drop_last`).

    >>> [len(batch) for batch in batches(10, 4, seed=0, epoch=0)]
    [4, 4, 2]

    Raises BadValue for a count, size, seed or epoch out of range, and where `drop_last` would leave no batch.
    """
    check_count("batches", "count", count, 1)
    check_count("batches", "batch_size", batch_size, 1)
    check_count("batches", "seed", seed, 0)
    if drop_last and count < batch_size:
        raise BadValue(f"batches: drop_last leaves nothing of {count} samples in batches of {batch_size}")
    samples = order(count, torch.tensor([seed]), epoch)[0]
    end = count - count % batch_size if drop_last else count
    return tuple(samples[start : start + batch_size] for start in range(0, end, batch_size))
