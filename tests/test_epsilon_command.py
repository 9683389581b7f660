"""``flowopt epsilon``: what it prints and writes, what it refuses, and that its numbers are those of the library."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from together import together

from flowopt import FlowOptimizer
from flowopt.diagnostics import HistogramRecord, adaptive_share, epsilon_bounds, z_hats
from flowopt.training import _fit as loop
from flowopt.training import datasets, models
from flowopt.training._fit import fit


@pytest.fixture
def command(cli: Any) -> Any:
    """The command in an empty folder."""
    return partial(cli, "epsilon")


def test_out_of_the_box(command: Any, tmp_path: Path) -> None:
    code, out, err = command("digits", "--json", "numbers.json")
    assert (code, err) == (0, "")
    data = datasets.load("digits")
    shape: Any = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    model = models.build("mlp:64-32", **shape, seed=0)
    optimizer = FlowOptimizer(model.named_parameters(), "adam")
    fit(model, data, optimizer, epochs=1)
    bounds, numbers = epsilon_bounds(z_hats(optimizer)), json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["bounds"] == json.loads(json.dumps(bounds.to_dict()))
    assert str(bounds) in out
    for share in numbers["shares"]:
        exact = adaptive_share(z_hats(optimizer), share["eps"])
        assert share["overall"] == {"of all": exact.overall.of_all, "without zeros": exact.overall.of_nonzero}
    assert [share["eps"] for share in numbers["shares"]] == [1e-8, *bounds.powers]
    assert [float(eps) for eps in numbers["verdicts"]] == [1e-8, *bounds.candidates]
    assert out.count("worth trying: at eps = ") == len(bounds.candidates)
    assert "as it is: at eps = 1e-8 100 % of the coordinates adapt" in out
    folder = tmp_path / "flowopt-out" / "digits-adam-epsilon"
    record = HistogramRecord.load(folder / "histograms.npz")
    assert record.latest.step == 12
    assert record.epsilon_bounds().highest.p98 == pytest.approx(bounds.highest.p98, rel=0.031)
    assert imread(folder / "histograms.png").shape[0] > 500
    assert out.splitlines()[-3:] == [
        "wrote flowopt-out/digits-adam-epsilon/histograms.npz",
        "wrote flowopt-out/digits-adam-epsilon/histograms.png",
        "wrote numbers.json",
    ]


def test_every_option_counts(command: Any, text: str, tmp_path: Path) -> None:
    code, out, err = command(
        *(text, "--model", "lstm:6", "--method", "torch:RMSprop", "--epochs", 2, "--batch-size", 4),
        *("--seed", 7, "--set", "eps=1e-5", "--set", "data.length=8", "--set", "model.dropout=0.25"),
        *("--eps", 0.003, "--eps", 0.5, "--out", "here", "--json", "here/numbers.json"),
    )
    assert (code, err) == (0, "")
    data = datasets.load(text, length=8)
    shape: Any = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    model = models.build("lstm:6", **shape, seed=7, dropout=0.25)
    optimizer = torch.optim.RMSprop(model.named_parameters(), eps=1e-5)
    fit(model, data, optimizer, epochs=2, batch_size=4, seed=7)
    numbers = json.loads((tmp_path / "here" / "numbers.json").read_text())
    assert numbers["bounds"] == json.loads(json.dumps(epsilon_bounds(z_hats(optimizer)).to_dict()))
    assert [share["eps"] for share in numbers["shares"]] == [1e-5, 0.003, 0.5]
    assert numbers["optimizer"][0]["parameters"]["eps"] == 1e-5
    assert "plain SGD with rate alpha / eps" in out
    assert "core.weight_hh_l0" in out


def test_many_tensors(command: Any, text: str) -> None:
    """A picture has 12 panels; what is left out is named."""
    code, out, _ = command(text, "--model", "transformer:8x2", "--set", "data.length=8")
    assert code == 0
    [left_out] = [line for line in out.splitlines() if line.startswith("not in the picture: ")]
    [head, *_] = [place for place, line in enumerate(out.splitlines()) if line.strip().startswith("tensor")]
    tensors = out.splitlines()[head + 2 :]
    assert left_out.count(",") + 1 == next(i for i, line in enumerate(tensors) if not line.strip()) - 12


@together(
    ("arguments", "message"),
    [
        (["digits", "--method", "elra"], "no eps that decides how adaptive it is; known: a FlowOptimizer with"),
        (["digits", "--method", "torch:SGD"], "SGD has no eps that decides"),
        (["digits", "--method", "adaam"], "did you mean 'adam'"),
        (["digitz"], "did you mean 'digits'"),
        (["digits", "--model", "mlpp:3"], "did you mean 'mlp'"),
        (["digits", "--set", "epss=3"], "did you mean 'eps'"),
        (["digits", "--eps", "0"], "--eps = 0"),
        (["digits", "--epochs", "0"], "--epochs = 0"),
        (["digits", "--device", "nowhere"], "--device nowhere"),
        (["digits", "--json", "."], "is a folder"),
    ],
)
def test_refused_before_any_work(
    command: Any, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load", pytest.fail)
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not list(tmp_path.rglob("histograms.*"))


def test_interrupted(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done is shown; of a run without a step there is nothing to show."""
    asked = {"after": 3}

    class Asked:
        def __enter__(self) -> Any:
            left = iter(range(asked["after"]))
            return lambda: next(left, None) is None

        def __exit__(self, *exception: object) -> None:
            pass

    monkeypatch.setattr(loop, "interruption", Asked)
    code, out, err = command("digits", "--out", "some")
    assert code == 130
    assert "interrupted after" in err
    assert HistogramRecord.load(tmp_path / "some" / "histograms.npz").latest.step == 3
    assert "worth trying" in out
    asked["after"] = 0
    code, out, err = command("digits", "--out", "none")
    assert code == 130
    assert not (tmp_path / "none" / "histograms.npz").exists()


@pytest.mark.filterwarnings("ignore:flowopt")  # the optimizer says it too
def test_a_training_that_diverges_says_so(command: Any) -> None:
    """There are bounds, of the steps before."""
    code, out, err = command("digits", "--set", "lr=1e30")
    assert code == 0
    assert "eps from" in out
    assert "was not finite in 11 of 12 steps" in err
