"""``flowopt train``: what it prints and writes, what it refuses, and that it is `fit` with a face."""

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from together import together

from flowopt.cli._networks import settings_of
from flowopt.core.errors import BadValue, UnknownName
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.training import datasets, models
from flowopt.training._fit import fit

FILES = {"checkpoint.pt", "curves.png", "metrics.csv", "metrics.json", "model.pt", "steps.csv"}


@pytest.fixture
def command(cli: Any) -> Any:
    """The command in an empty folder."""
    return partial(cli, "train")


def metrics(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_out_of_the_box(command: Any, tmp_path: Path) -> None:
    code, out, err = command("digits", "--method", "elra")
    assert (code, err) == (0, "")
    folder = tmp_path / "flowopt-out" / "digits-elra"
    assert {file.name for file in folder.iterdir()} == FILES
    assert imread(folder / "curves.png").shape[0] > 900
    data = datasets.load("digits")
    model = models.build("mlp:64-32", input_shape=data.input_shape, outputs=10, task="classification", seed=0)
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    accuracy = (model(data.test_inputs).argmax(1) == data.test_targets).double().mean().item()
    last = metrics(folder)["epochs"][-1]
    assert last["accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.94  # 0.967 when this was written
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:32]] == [str(epoch) for epoch in range(1, 31)]
    assert max(map(len, lines[1:32])) <= 80
    assert f"test accuracy {accuracy:.4g}" in lines[32]


def test_it_is_fit_with_a_face(command: Any, text: str, tmp_path: Path) -> None:
    code, *_ = command(
        *(text, "--model", "lstm:6", "--method", "ecdsep", "--epochs", 2, "--batch-size", 4, "--seed", 7),
        *("--set", "exponent=3", "--set", "data.length=8", "--set", "model.dropout=0.25", "--out", "run"),
    )
    assert code == 0
    data = datasets.load(text, length=8)
    shape: Any = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    model = models.build("lstm:6", **shape, seed=7, dropout=0.25)
    optimizer = FlowOptimizer(model.named_parameters(), "ecdsep", seed=7, exponent=3)
    history = fit(model, data, optimizer, epochs=2, batch_size=4, seed=7)
    saved = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())
    found = metrics(tmp_path / "run")
    assert [epoch["perplexity"] for epoch in found["epochs"]] == [epoch["perplexity"] for epoch in history.epochs]
    assert found["settings"].items() >= {"model": "lstm:6", "model.dropout": 0.25, "data.length": 8, "seed": 7}.items()


def test_several_methods_one_after_another(command: Any, text: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    code, out, _ = command(
        *(text, "--model", "lstm:5", "-m", "elra", "-m", "torch:Adam", "-m", "gd", "--epochs", 2, "--tensorboard"),
        *("--batch-size", 8, "--set", "lr=0.01", "--set", "gd.lr=0.5", "--out", "runs", "--json", "all.json"),
    )
    assert code == 0
    folders = {name: tmp_path / "runs" / name for name in ("elra", "torch-Adam", "gd")}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {*folders, "curves.png"}
    assert all(list((folder / "tensorboard").glob("events*")) for folder in folders.values())
    rates = {name: metrics(folder)["epochs"][0]["h"] for name, folder in folders.items()}
    assert (rates["torch-Adam"], rates["gd"]) == (0.01, 0.5)
    everything = json.loads((tmp_path / "all.json").read_text())
    assert list(everything) == ["elra", "torch:Adam", "gd"]
    assert everything["gd"] == metrics(folders["gd"])
    for line in (line for line in out.splitlines() if line.startswith("wrote ")):
        names, _, folder = line.removeprefix("wrote ").partition(" in ")
        assert all((tmp_path / folder / name).exists() for name in names.split(", "))


def test_the_length_of_an_epoch_is_known_to_the_method(command: Any, text: str, tmp_path: Path) -> None:
    assert command(text, "--model", "lstm:4", "-m", "tlr", "--epochs", 1, "--batch-size", 2, "--out", "a")[0] == 0
    settings = metrics(tmp_path / "a")["settings"]
    count = len(datasets.load(text).train_inputs)
    assert settings["newton_step.batches_per_epoch"] == -(-count // 2)
    assert command(text, "--model", "lstm:4", "-m", "tlr", "--set", "K=3", "--epochs", 1, "--out", "b")[0] == 0
    settings = metrics(tmp_path / "b")["settings"]
    assert (settings["newton_step.batches_per_epoch"], settings["newton_step.K"]) == (None, 3)


@pytest.mark.slow
def test_options_change_the_run(command: Any, text: str, tmp_path: Path) -> None:
    base = (text, "--model", "lstm:6", "-m", "ecco", "--epochs", 1, "--batch-size", 4)
    changes: dict[str, tuple[object, ...]] = {
        "base": (),
        "seed": ("--seed", 1),
        "batch": ("--batch-size", 5),
        "limiting": ("--limiting", "batch_mean"),
        "other reading": ("--limiting", "median"),
        "weight decay": ("--set", "weight_decay=0.1"),
        "method": ("--set", "h_max=0.05"),
        "model": ("--set", "model.tie=True"),
        "data": ("--set", "data.length=9"),
    }
    losses = set()
    for name, options in changes.items():
        assert command(*base, *options, "--out", name)[0] == 0
        losses.add(metrics(tmp_path / name)["epochs"][0]["test_loss"])
    assert len(losses) == len(changes)


@pytest.mark.slow
def test_resume_and_folders_of_their_own(command: Any, text: str, tmp_path: Path) -> None:
    run = (text, "--model", "lstm:4", "-m", "gdm", "--set", "lr=0.1")
    assert command(*run, "--epochs", 4)[0] == 0
    assert command(*run, "--epochs", 2)[0] == 0
    first, second = (tmp_path / "flowopt-out" / f"text-rhyme.txt-lstm-4-gdm{end}" for end in ("", "-2"))
    code, out, _ = command(*run, "--epochs", 4, "--resume")  # the last one
    assert code == 0
    assert "\n    1 " not in out
    assert "\n    3 " in out
    assert {path.name for path in (tmp_path / "flowopt-out").iterdir()} == {first.name, second.name}
    whole, resumed = ([epoch | {"seconds": 0} for epoch in metrics(folder)["epochs"]] for folder in (first, second))
    assert resumed == whole
    code, out, _ = command(*run, "--epochs", 3, "--resume", "--out", first)  # there is nothing left to do
    assert code == 0
    assert "4 epochs done" in out
    names = {path.name for path in (tmp_path / "flowopt-out").iterdir()}
    code, out, err = command(*run, "--epochs", 4, "--resume", "--out", tmp_path / "flowopt-out" / f"{first.name}s")
    assert (code, out) == (2, "")
    assert f"gdms'; did you mean '{first}'" in err
    code, out, err = command(*run, "--resume", "--out", "elsewhere/run")
    assert (code, out) == (2, "")
    assert "elsewhere/run holds no run to resume" in err
    assert names == {path.name for path in (tmp_path / "flowopt-out").iterdir()}
    assert not (tmp_path / "elsewhere").exists()
    before = (first / "checkpoint.pt").read_bytes()
    code, _, err = command(*run, "--out", first)
    assert code == 2
    assert "holds a run already: resume it" in err
    code, _, err = command(*run[:-1], "lr=0.2", "--resume", "--out", first)
    assert code == 2
    assert "lr was 0.1, is 0.2" in err
    assert (first / "checkpoint.pt").read_bytes() == before


def test_a_run_that_diverges_is_no_error(command: Any, text: str, tmp_path: Path) -> None:
    code, out, _ = command(text, "--model", "lstm:4", "-m", "torch:SGD", "--set", "lr=1e38", "--out", "run")
    assert code == 0
    assert "diverged: no loss and gradient of epoch" in out
    assert "not finite in" in out
    assert metrics(tmp_path / "run")["status"] == "diverged"
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


WRONG = {
    "a dataset": (("digit",), "did you mean 'digits'"),
    "a method": (("digits", "-m", "erla"), "did you mean 'elra'"),
    "an optimizer": (("digits", "-m", "torch:Adm"), "'Adam'"),
    "a minimizer": (("digits", "-m", "scipy:BFGS"), "needs the whole objective"),
    "a parameter": (("digits", "--set", "alpa0=1"), "did you mean 'alpha0'"),
    "an optimizer's parameter": (("digits", "-m", "torch:Adam", "--set", "ler=1"), "did you mean 'lr'"),
    "an owner": (("digits", "--set", "modle.x=1"), "did you mean 'model'"),
    "a model": (("digits", "--model", "mpl:64"), "did you mean 'mlp'"),
    "an option of the model": (("digits", "--model", "cnn:4", "--set", "model.pol=max"), "did you mean 'pool'"),
    "an option of the data": (("digits", "--set", "data.prepro=scaled"), "'preprocessing'"),
    "a value": (("digits", "--set", "alpha0=-1"), "outside its range"),
    "an optimizer's value": (("digits", "-m", "torch:Adam", "--set", "lr=-1"), "Invalid learning rate"),
    "a reading": (("digits", "--limiting", "mean"), "choose one of 'batch_mean'"),
    "limiting of others": (("digits", "-m", "torch:Adam", "--limiting", "median"), "not with torch:Adam"),
    "a count": (("digits", "--epochs", 0), "--epochs = 0"),
    "a batch": (("digits", "--batch-size", 0), "--batch-size = 0"),
    "a seed": (("digits", "--seed", -1), "--seed = -1"),
    "a device": (("digits", "--device", "abacus"), "--device abacus"),
    "a device that cannot": (("digits", "--device", "meta"), "runs on cpu and cuda"),
    "a setting": (("digits", "--set", "alpha0"), "key=value"),
    "files that it has not": (("digits", "--data-dir", "here"), "digits needs no files from elsewhere"),
    "an output": (("digits", "--out", "rhyme.txt/run"), "cannot make the folder"),
    "a JSON": (("digits", "--json", "rhyme.txt/all.json"), "cannot make the folder"),
}


@together("what", WRONG)
def test_what_is_wrong_is_said_before_any_work(
    what: str, command: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("the data were read")

    monkeypatch.setattr(datasets, "load", load)
    arguments, message = WRONG[what]
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("*.pt"))


def test_settings_go_to_whom_they_are_for() -> None:
    given = settings_of(
        ["gd", "torch:SGD", "elra"],
        ["lr=0.1", "gd.lr=2", "momentum=0.9", "model.a=(1, 2)", "data.b=text", "weight_decay=1e-4"],
    )
    assert given.methods == {
        "gd": {"lr": 2, "weight_decay": 1e-4},
        "torch:SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
        "elra": {"weight_decay": 1e-4},
    }
    assert given.sections == {"model": {"a": (1, 2)}, "data": {"b": "text"}}
    with pytest.raises(UnknownName, match="parameter of gd or elra named 'kapa'; did you mean 'kappa'"):
        settings_of(["gd", "elra"], ["kapa=1"])
    with pytest.raises(UnknownName, match="parameter of gd named 'kappa'"):
        settings_of(["gd", "elra"], ["gd.kappa=1"])
    with pytest.raises(BadValue, match="key=value"):
        settings_of(["elra"], ["kappa"])
    with pytest.raises(BadValue, match="epochs is not a parameter of a method but an option of the run"):
        settings_of(["elra"], ["epochs=3"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_data_are_read(
    number: int, code: int, command: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(datasets, "load", lambda *_, **__: signal.raise_signal(number))
    before = signal.getsignal(signal.SIGTERM)
    assert command(text)[0] == code
    assert signal.getsignal(signal.SIGTERM) is before


def test_images_through_a_convolutional_network(command: Any, tmp_path: Path) -> None:
    arguments = ("digits", "--model", "cnn:4-8", "-m", "torch:Adam", "--set", "lr=0.01", "--epochs", 4, "--out", "run")
    assert command(*arguments)[0] == 0
    losses = [epoch["test_loss"] for epoch in metrics(tmp_path / "run")["epochs"]]
    assert np.all(np.diff(losses) < 0)
    assert metrics(tmp_path / "run")["epochs"][-1]["accuracy"] > 0.8  # 0.93 when this was written
