"""What results show of themselves, and as tables for other programs."""

import builtins
import csv
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import flowopt
from flowopt import BadValue
from flowopt.networks.ensemble._ensemble import EnsembleRecord
from flowopt.training import fit
from flowopt.training._history import History
from flowopt.training.datasets.dataset import Dataset

LONGEST = 250


def samples(name="points"):
    inputs = torch.linspace(0, 1, 4000).reshape(1000, 1, 2, 2)
    targets = torch.arange(1000) % 2
    return Dataset(name, "classification", inputs, targets, inputs[:500], targets[:500], 2, facts={"<b>": 0.5})


def trained():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    return fit(model, samples(), flowopt.FlowOptimizer(model.parameters(), "ecco"), epochs=3, batch_size=250)


def runs():
    """Rows that end at different times, between two records and at one."""
    starts = np.random.default_rng(0).normal(size=(5, 3))
    yield flowopt.minimize("rosenbrock", starts, "ecco_stable", max_steps=150)
    run = flowopt.minimize("rosenbrock", starts, "ecco_stable", max_steps=1000, record_every=7)
    assert (run.steps[run.steps < run.steps.max()] % 7 > 0).any()
    yield run
    yield flowopt.minimize("rosenbrock", starts, "ecco_stable", max_steps=150, record_every=0)
    yield flowopt.minimize("bowl", starts[:, :2], "scipy:BFGS", dtype=torch.float32)
    yield flowopt.minimize("bowl", np.zeros((2, 2)))


class Cells(HTMLParser):
    """Checks that what is opened is closed, and notes the tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_results_show_themselves_in_a_line():
    many = flowopt.minimize("rosenbrock", np.zeros((5000, 2)), "gd", max_steps=3)
    odd = flowopt.minimize(lambda x: (x**2).sum(-1), [1.0, 2.0], "newton")
    odd.about["problem"] = "<script>"
    history = trained()
    compared = flowopt.compare("bowl", methods=["gd", "newton"], tune=2, max_evaluations=20)
    record = EnsembleRecord(*(np.zeros((1000, 50)) for _ in range(5)))
    for result, words in (
        (many, "gd on rosenbrock, 5000 rows of 2 coordinates, 4 records; 5000 max steps, best f 0.98"),
        (odd, "newton on <script>, 1 row of 2 coordinates, 2 records; 1 converged, best f 0"),
        (
            samples("<i>"),
            "Dataset <i>: classification, 1000 training and 500 test samples of shape (1, 2, 2), 2 outputs",
        ),
        (history, "3 epoch(s), 12 step(s), complete, train_loss"),
        (compared, "<Comparison on bowl: 2 methods, 20 evaluations, lowest f "),
        (History(), "0 epoch(s), 0 step(s), running"),
        (record, "1000 records of 50 members"),
    ):
        text = repr(result)
        assert words in text, text
        assert len(text) < LONGEST
        assert "\n" not in text
        if hasattr(result, "_repr_html_"):
            assert Cells(result._repr_html_()).seen == {"table", "caption", "tr", "th", "td"} - (
                {"td"} if result == History() else set()
            )
            assert len(result._repr_html_()) < 3000
    history.epochs *= 100
    assert len(history._repr_html_()) < 3000


def test_a_dataframe_has_a_line_for_each_record_and_row(tmp_path):
    pandas = pytest.importorskip("pandas")
    for run in runs():
        frame = run.to_dataframe()
        names = [f"x{i}" for i in range(run.x.shape[2])]
        after = ["f", "grad_norm", "h", "t", "error", "energy", "accepted", "cost", "status"]
        assert list(frame.columns) == ["attempt", "row", *names, *after]
        assert frame.row.is_monotonic_increasing
        for row in range(run.rows):
            own, alone = frame[frame.row == row], run.row(row)
            assert np.array_equal(own.attempt, alone.attempt)
            assert np.array_equal(own[names], alone.x[:, 0])
            for name in after[:-1]:
                assert np.array_equal(own[name], getattr(alone, name)[:, 0], equal_nan=name != "accepted"), name
            assert set(own.status) == {flowopt.Status(int(run.status[row])).words}
            assert own.attempt.iloc[-1] == run.steps[row]
        path = run.to_csv(tmp_path / "run.csv")
        pandas.testing.assert_frame_equal(pandas.read_csv(path), frame, check_dtype=False, rtol=1e-14, atol=0)
        with path.open() as file:
            written = [[float(line[name] or "nan") for name in ("x0", "h")] for line in csv.DictReader(file)]
        assert np.array_equal(written, frame[["x0", "h"]], equal_nan=True)  # every digit


def test_a_csv_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    run = next(runs())
    path = run.to_csv(tmp_path / "new" / "run.csv")
    text = path.read_text()
    monkeypatch.setattr("flowopt.functions._long_format.AT_A_TIME", 1)  # row after row
    assert run.to_csv(path).read_text() == text
    with path.open() as file:
        first = next(iter(csv.DictReader(file)))
    assert (first["h"], first["accepted"], first["attempt"]) == ("", "True", "0")
    monkeypatch.setattr("flowopt.functions._long_format.Status", None)
    with pytest.raises(TypeError):
        run.to_csv(path)
    assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == ["run.csv"]


def test_a_history_is_two_dataframes():
    pytest.importorskip("pandas")
    history = trained()
    epochs, steps = history.to_dataframe(), history.to_dataframe(of="steps")
    assert list(epochs.train_loss) == [epoch["train_loss"] for epoch in history.epochs]
    assert list(steps.loss) == [step.loss for step in history.steps]
    assert list(steps.columns) == list(type(history.steps[0])._fields)
    with pytest.raises(BadValue, match="of = 'batches'; choose one of 'epochs', 'steps'"):
        history.to_dataframe("batches")


def test_without_pandas_it_is_said_what_to_do(monkeypatch, tmp_path):
    found = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return found(name, *rest)

    run = next(runs())
    monkeypatch.setattr(builtins, "__import__", without)
    for result in (run, History()):
        with pytest.raises(BadValue, match="pip install pandas"):
            result.to_dataframe()
    assert run.to_csv(tmp_path / "run.csv").exists()
