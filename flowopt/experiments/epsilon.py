"""Epsilon from gradient histograms: where the best eps lies, what it does, and how much of an optimizer is adaptive."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flowopt.diagnostics.epsilon import adaptive_share, epsilon_bounds
from flowopt.experiments.epsilon_studies import CNN, LANGUAGES, LSTM, MLP, WORD_LSTM, Study, some
from flowopt.experiments.facts import Experiment, Fact, Range, about, at_least, at_most, between, exactly
from flowopt.training.heatmap import HeatMap

LARGE, SMALL = 1.0, 1e-5
"""An eps above all z_hat of these networks, with which Adam is momentum SGD; and one below nearly all."""
BETA2S = (0.1, 1e-4, 1e-3)
"""Values of 1 - beta2, figure 10."""


def bounds(seeds: int = 3) -> Iterator[Fact]:
    """Algorithm 2 after the first epoch of Adam: where to look for eps, each seed (the paper's networks are larger)."""
    classifiers, languages = (between(1e-6, 1e-4), between(0.01, 0.1)), (between(1e-7, 1e-6), exactly(0.01))
    expected: dict[Study, tuple[Range, Range]] = {
        MLP: (between(1e-6, 1e-5), exactly(0.1)),
        CNN: (between(1e-6, 1e-4), exactly(0.1)),
        LSTM: (exactly(1e-6), exactly(0.1)),
        WORD_LSTM: (exactly(1e-5), between(0.01, 0.1)),
    }
    for study, (low, high) in expected.items():
        found = [epsilon_bounds(study.z_hats(seed)) for seed in range(seeds)]
        paper = languages if study in LANGUAGES else classifiers
        yield Fact(f"{study.name}: lower", "table 3", low, tuple(each.lower for each in found), paper[0])
        yield Fact(f"{study.name}: upper", "table 3", high, tuple(each.upper for each in found), paper[1])


def optimum(coarse: int = 1) -> Iterator[Fact]:
    """What the best eps between the bounds misses of the best of all: points of accuracy, percent of perplexity."""
    for study, range_ in {MLP: at_most(1), CNN: at_most(1), LSTM: at_most(25), WORD_LSTM: at_most(8)}.items():
        found = study.rate_and_eps(coarse)
        estimate = epsilon_bounds(study.z_hats(0))
        inside = _best(found, 0.999 * estimate.lower, 1.001 * estimate.upper)
        missed = _gap(found, _best(found, 0.0, math.inf), inside)
        note = f"{study.name}: {found.summary()}; bounds {estimate.lower:g} to {estimate.upper:g}"
        yield Fact(study.name, "table 3", range_, (missed,), at_most(1), note)


def ridge(coarse: int = 1) -> Iterator[Fact]:
    """At a large eps lr / eps is all that counts: test accuracy of the perceptron in percent."""
    found = MLP.rate_and_eps(coarse)
    percent, rates = 100 * found.cells, np.array(found.x.values)
    rows = dict(zip(found.y.values, percent, strict=True))
    same = tuple(float(row[rates == eps].item()) for eps, row in rows.items() if eps >= 1 and eps in rates)
    yield Fact("lr = eps >= 1", "figure 6", between(94, 98), same)
    yield Fact("the same: largest difference", "figure 6", at_most(1.5), (max(same) - min(same),), at_most(1.5))
    small = tuple(float(row[rates == 1].item()) for eps, row in rows.items() if eps < 0.05)
    yield Fact("lr = 1, eps from 1e-8 to 0.01", "figure 6", at_most(20), small)
    momentum = MLP.map(("lr", (0.1, 1.0)), ("beta", (0.8, 0.9)), coarse, "gdm").cells[1, 0]
    note = "momentum SGD with the rate (1 - beta1) lr / eps = 0.1: Adam's m is an average of gradients, SGD's a sum"
    gained = same[-1] - 100 * float(momentum)
    yield Fact(
        f"lr = eps = {max(rates):g} less momentum SGD", "eq 9c", between(-1.5, 1.5), (gained,), between(-1.5, 1.5), note
    )


def second_momentum(coarse: int = 1) -> Iterator[Fact]:
    """The largest difference that beta2 makes, with the best lr of two: points of accuracy, percent of perplexity."""
    with_zero = (1.0, *BETA2S)
    cases: tuple[tuple[Study, float, tuple[float, ...], tuple[float, ...], Range, Range | None], ...] = (
        (MLP, 1.0, (0.3, 1.0), with_zero, at_most(1), at_most(1)),
        (MLP, 1e-8, (0.003, 0.01), BETA2S, at_most(3), None),
        (WORD_LSTM, 1.0, (3.0, 10.0), with_zero, at_most(1.5), None),
        (WORD_LSTM, 1e-8, (0.01, 0.03), BETA2S, at_least(1.5), at_least(1.5)),
    )
    for study, eps, rates, values, expected, paper in cases:
        found = study.map(("1-beta2", some(values, coarse)), ("lr", rates), coarse, eps=eps)
        row = np.nanargmax(found.score.max(1))
        ranked = sorted(found.cells[row].tolist(), reverse=found.rising)
        claim = f"{study.name}, eps = {eps:g}, beta2 from {1 - max(values):g} to {1 - min(values):g}"
        yield Fact(claim, "figure 10", expected, (_gap(found, ranked[0], ranked[-1]),), paper)
    for eps, ends in ((1.0, exactly(0)), (1e-8, at_least(50))):
        gone = MLP.map(("1-beta2", (0.1, 1.0)), ("lr", (0.3, 1.0) if eps == 1 else (0.003, 0.01)), coarse, eps=eps)
        share = 100 * float((gone.ended[:, 1] > 0).mean())
        yield Fact(f"{MLP.name}, eps = {eps:g}, beta2 = 0: percent that diverge", "section 4.2", ends, (share,))


def preference(coarse: int = 1) -> Iterator[Fact]:
    """What momentum SGD (eps >= 1) gains over a fully adaptive Adam: points of accuracy, percent of perplexity."""
    expected = {
        MLP: (between(-1, 1.5), at_least(2), _LIKE_FASHION),
        CNN: (between(-5, 2), at_least(2), _LIKE_FASHION),
        LSTM: (
            between(-15, 30),
            at_most(0),
            "behind in the first epochs, ahead later; no character is as rare as a word",
        ),
        WORD_LSTM: (between(-40, 3), at_most(0), ""),
    }
    for study, (range_, paper, note) in expected.items():
        found = study.rate_and_eps(coarse)
        gained = _gap(found, _best(found, LARGE, math.inf), _best(found, 0.0, SMALL))
        yield Fact(study.name, "figures 6, 7", range_, (gained,), paper, note)


_LIKE_FASHION = "as on the paper's Fashion-MNIST (figure 11): any eps does, with its own lr"


def shares(seeds: int = 3) -> Iterator[Fact]:
    """Percent of z_hat above eps after the first epoch of Adam, every seed."""
    expected: dict[Study, dict[float, tuple[Range, Range]]] = {
        MLP: {
            1e-4: (about(66, 6), between(61.5, 98.4)),
            1e-3: (about(38, 6), between(4.59, 6.88)),
            1e-2: (about(0.4, 0.2), between(0.1, 0.33)),
            1e-1: (at_most(0.01), at_most(0.01)),
        },
        WORD_LSTM: {
            1e-7: (about(99.8, 0.2), about(100, 0.5)),
            1e-6: (about(99.8, 0.2), about(99.9, 0.5)),
            1e-5: (about(97.5, 1), between(81.8, 91.9)),
            1e-4: (about(65, 5), between(3.62, 9.14)),
        },
    }
    for study, lines in expected.items():
        for eps, (range_, paper) in lines.items():
            found = tuple(100 * adaptive_share(study.z_hats(seed), eps).overall.of_all for seed in range(seeds))
            yield Fact(f"{study.name}, eps = {eps:g}", "table 2", range_, found, paper)


def _best(found: HeatMap, low: float, high: float) -> float:
    """The best of the cells with low <= eps <= high."""
    eps = np.array(found.y.values)
    cell = found.best_where(((low <= eps) & (eps <= high))[:, None])
    return math.nan if cell is None else float(found.cells[cell])


def _gap(found: HeatMap, better: float, worse: float) -> float:
    """By how much: points of accuracy, percent of perplexity."""
    return 100 * (better - worse) if found.rising else 100 * (worse / better - 1)


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(bounds, quick={"seeds": 1}),
    *(Experiment(run, quick={"coarse": 3}) for run in (optimum, ridge, second_momentum, preference)),
    Experiment(shares, quick={"seeds": 1}),
)
