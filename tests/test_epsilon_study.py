"""The claims on eps: a wrong optimizer moves their numbers out of their tolerances; the texts they are tried on."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from flowopt.core import rows
from flowopt.core.errors import BadValue
from flowopt.diagnostics import z_hat
from flowopt.reproduce import epsilon_facts as epsilon
from flowopt.reproduce import epsilon_studies
from flowopt.reproduce.epsilon_studies import MLP, WORD_LSTM, Study, characters, words
from flowopt.reproduce.facts import OUTSIDE, Fact
from flowopt.systems.adam import Adam
from flowopt.systems.adaptive_flow import corrected
from flowopt.testing import Distribution


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A smaller map of the perceptron, and nothing remembered of other optimizers."""
    monkeypatch.setattr(epsilon, "MLP", replace(MLP, eps=(1.0, 1e-4, 10.0), lr=(1.0, 10.0)))
    _forget()
    yield
    _forget()


def _forget() -> None:
    Study.rate_and_eps.cache_clear()
    Study.z_hats.cache_clear()


def outside(facts: list[Fact]) -> list[str]:
    return [fact.setting for fact in facts if fact.verdict == OUTSIDE]


@pytest.mark.slow
def test_the_ridge() -> None:
    assert not outside(list(epsilon.ridge()))


@pytest.mark.slow
def test_eps_inside_the_root_has_no_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    def denominator(self, s):
        return (corrected(s, "v") + rows.column(self.eps)).sqrt()

    monkeypatch.setattr(Adam, "denominator", denominator)
    assert "lr = eps = 10" in outside(list(epsilon.ridge()))


@pytest.mark.slow
def test_adam_without_eps_does_not_train_at_a_rate_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adam, "denominator", lambda self, s: self.z_hat(s) + 1e-12)
    assert outside(list(epsilon.ridge()))[0] == "lr = eps = 10"


def test_shares_of_v_instead_of_its_root(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not outside([*epsilon.shares(1), *epsilon.bounds(1)])
    _forget()
    monkeypatch.setattr(Adam, "z_hat", lambda self, s: corrected(s, "v"))
    assert len(outside(list(epsilon.shares(1)))) >= 5
    assert len(outside(list(epsilon.bounds(1)))) >= 6


def test_half_a_map_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = MLP.map(("lr", (0.1, 1.0)), ("eps", (0.1, 1.0)), 1)
    monkeypatch.setattr(epsilon_studies, "heat_map", lambda *_, **__: replace(found, interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        MLP.map(("lr", (0.1, 1.0)), ("eps", (0.1, 1.0)), 1)


def test_what_a_study_varies_and_how_much() -> None:
    found = MLP.map(("lr", (0.1, 1.0)), ("eps", (0.1, 1.0)), 2)
    assert (found.curves.shape, found.seeds) == ((MLP.epochs, 2, 2, 2), (0, 1))
    assert found.about["hyperparameters"] == {"weight_decay": 5e-4}  # the paper's


def test_gains_are_positive_where_the_first_is_better() -> None:
    found = MLP.map(("lr", (0.1, 1.0)), ("eps", (0.1, 1.0)), 1)
    cells = np.array([[0.2, 0.4], [0.6, 0.3]])
    found = replace(found, curves=np.repeat(cells[None, ..., None], 10, axis=-1))
    assert epsilon._best(found, 0.0, 0.5) == (0, 1)
    assert epsilon._best(found, 0.5, math.inf) == (1, 0)
    with pytest.raises(BadValue, match="every cell with eps from 2 to 3"):
        epsilon._best(found, 2.0, 3.0)
    gained = epsilon._gained(found, (1, 0), (0, 1))
    assert isinstance(gained, Distribution)
    assert gained.mean == pytest.approx(20)
    gained = epsilon._gained(replace(found, metric="perplexity"), (0, 1), (1, 0))
    assert isinstance(gained, Distribution)
    assert gained.mean == pytest.approx(50)


def test_the_texts() -> None:
    for data in (characters(), words()):
        assert torch.equal(data.train_inputs[:, 1:], data.train_targets[:, :-1])
        assert torch.equal(data.train_inputs[1:, 0], data.train_targets[:-1, -1])
        assert len(data.train_inputs) > 8 * len(data.test_inputs)
    counts = torch.bincount(words().train_inputs.flatten(), minlength=words().outputs)
    assert words().outputs == len(counts) == 300
    assert 0 < counts[0] < 0.4 * counts.sum()  # the unknown ones
    assert counts[1:].argmax() < 5  # numbered by how often they are
    assert characters().outputs < 120


def test_z_hats_are_those_of_torch() -> None:
    data, model = WORD_LSTM.data(), WORD_LSTM.network(0)
    optimizer = torch.optim.Adam(model.parameters())
    for index in epsilon_studies.batches(len(data.train_inputs), 16, seed=0, epoch=0):
        optimizer.zero_grad()
        epsilon_studies.loss_for("language")(model(data.train_inputs[index]), data.train_targets[index]).backward()
        optimizer.step()
    own = WORD_LSTM.z_hats(0)
    for theirs, ours in zip(z_hat.z_hats(optimizer).values(), own.values(), strict=True):
        torch.testing.assert_close(ours.reshape(theirs.shape), theirs, rtol=2e-2, atol=1e-6)
