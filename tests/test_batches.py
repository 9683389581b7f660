"""The order of samples: a permutation, fair, and a function of seed and epoch alone."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from together import together

from flowopt.core.errors import BadValue
from flowopt.networks._batches import batches, order

MASK = 2**64 - 1


def scrambled(z: int) -> int:
    """SplitMix64's finaliser in whole numbers, after its paper."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def slow_order(count: int, seed: int, epoch: int) -> list[int]:
    golden = 0x9E3779B97F4A7C15
    key = scrambled((scrambled(seed + golden & MASK) + epoch * golden) & MASK)
    return sorted(range(count), key=lambda i: scrambled((key + (i + 1) * golden) & MASK) >> 11)


@given(count=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6))
def test_every_sample_is_seen_once_an_epoch(count: int, size: int, seed: int, epoch: int) -> None:
    parts = batches(count, size, seed=seed, epoch=epoch)
    assert torch.cat(parts).tolist() == slow_order(count, seed, epoch)
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert [len(part) for part in parts] == [size] * (count // size) + [count % size] * (count % size > 0)


def test_drop_last_leaves_out_the_short_batch_and_nothing_else() -> None:
    kept = batches(10, 4, seed=1, epoch=2, drop_last=True)
    full = batches(10, 4, seed=1, epoch=2)
    assert [part.tolist() for part in kept] == [part.tolist() for part in full[:2]]
    assert len(batches(8, 4, seed=1, epoch=2, drop_last=True)) == 2


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = torch.cat(batches(100, 7, seed=3, epoch=4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(torch.cat(batches(100, 7, seed=3, epoch=4)), first)


def test_members_of_an_ensemble_have_the_order_that_they_have_alone() -> None:
    seeds = torch.tensor([5, 0, 5, 7])
    together = order(50, seeds, epoch=3)
    for row, seed in zip(together, seeds.tolist(), strict=True):
        assert torch.equal(row, torch.cat(batches(50, 50, seed=seed, epoch=3)))
    assert len({tuple(row) for row in together.tolist()}) == 3


def test_all_permutations_are_equally_likely() -> None:
    by_epoch = Counter(tuple(order(4, torch.tensor([0]), epoch)[0].tolist()) for epoch in range(4800))
    by_seed = Counter(map(tuple, order(4, torch.arange(4800), 0).tolist()))
    for counts in (by_epoch, by_seed):
        assert len(counts) == 24
        assert chisquare(list(counts.values())).pvalue > 1e-3


@together(
    "wrong",
    [
        {"count": 0},
        {"batch_size": 0},
        {"batch_size": 2.0},
        {"seed": -1},
        {"epoch": -1},
        {"epoch": 0.5},
        {"batch_size": 11, "drop_last": True},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    given_: dict[str, object] = {"count": 10, "batch_size": 4, "seed": 0, "epoch": 0} | wrong
    with pytest.raises(BadValue, match=next(iter(wrong)) if "drop_last" not in wrong else "drop_last"):
        batches(given_.pop("count"), given_.pop("batch_size"), **given_)  # type: ignore[arg-type]
