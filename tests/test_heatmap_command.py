"""``flowopt heatmap``: what it prints and writes, what it refuses before any work; that it is `heat_map`."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from together import together
from torch import Tensor

from flowopt.cli._heatmap_axes import parse_axis
from flowopt.core.errors import BadValue
from flowopt.networks._batches import batches
from flowopt.training import _heat_map as heatmap
from flowopt.training import datasets, models
from flowopt.training._heat_map import HeatMap, heat_map

TINY = (
    "digits",
    "--model",
    "mlp:4",
    "--epochs",
    1,
    "--batch-size",
    512,
    "--x",
    "lr=1e-2:1e-1:2",
    "--y",
    "eps=1e-8,1e-2",
)


@pytest.fixture
def command(cli: Any) -> Any:
    """The command in an empty folder."""
    return partial(cli, "heatmap")


def test_it_is_heat_map_with_a_face(command: Any, tmp_path: Path) -> None:
    code, out, err = command(
        *("digits", "--model", "mlp:6", "--method", "adam", "--x", "lr=1e-3:1e-1:3", "--y", "1-beta2=1e-3,0.1"),
        *("--seeds", 2, "--epochs", 2, "--batch-size", 256, "--out", "run", "--json", "new/map.json"),
        *("--set", "beta1=0.8", "--set", "model.activation=tanh", "--set", "data.preprocessing=scaled"),
    )
    assert (code, err) == (0, "")
    data = datasets.load("digits", preprocessing="scaled")
    shape: Any = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    expected = heat_map(
        lambda seed: models.build("mlp:6", **shape, seed=seed, activation="tanh"),
        "adam",
        ("lr", (1e-3, 1e-2, 1e-1)),
        ("1-beta2", (1e-3, 0.1)),
        data,
        epochs=2,
        seeds=(0, 1),
        batch_size=256,
        hyperparameters={"beta1": 0.8},
    )
    found = HeatMap.load(tmp_path / "run" / "heatmap.npz")
    assert np.array_equal(found.curves, expected.curves)
    assert (found.x, found.y, found.seeds) == (expected.x, expected.y, (0, 1))
    assert found.about.items() >= {"model": "mlp:6", "batch_size": 256, "hyperparameters": {"beta1": 0.8}}.items()
    assert imread(tmp_path / "run" / "heatmap.png").shape[0] > 400
    assert json.loads((tmp_path / "new" / "map.json").read_text(), parse_constant=pytest.fail) == found.to_dict()
    assert "adam: 3 x 2 cells x 2 seeds of mlp:6 on digits, cpu, in run" in out
    assert found.summary() in out
    for file in ("run/heatmap.npz", "run/heatmap.png", "new/map.json"):
        assert f"wrote {file}" in out


def test_a_recurrent_network_needs_no_option(command: Any, text: str, tmp_path: Path) -> None:
    code, out, _ = command(
        *(text, "--model", "lstm:3", "--set", "data.length=8", "--epochs", 1, "--batch-size", 16),
        *("--x", "lr=0.01,0.1", "--y", "eps=1e-8,1", "--out", "run", "--bounds", "1e-9,1e-7", "--ridge"),
    )
    assert code == 0
    found = HeatMap.load(tmp_path / "run" / "heatmap.npz")
    assert found.metric == "perplexity"
    assert "best test perplexity of 1 epoch" in out
    code, _, err = command(text, "--model", "lstm:3", "--set", "model.fused=True", "--set", "data.length=8")
    assert code == 2
    assert "torch.vmap cannot run" in err


def test_the_length_of_an_epoch_is_known_to_the_method(command: Any, tmp_path: Path) -> None:
    run = ("digits", "--model", "mlp:4", "-m", "tlr", "--x", "lr=1e-3,1e-2", "--y", "gamma=0.2,0.3", "--epochs", 1)
    assert command(*run, "--batch-size", 500, "--out", "run")[0] == 0
    about = HeatMap.load(tmp_path / "run" / "heatmap.npz").about
    assert about["hyperparameters"] == {"batches_per_epoch": 3}


def test_every_run_has_a_folder_of_its_own(command: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert command(*TINY)[0] == 0
    names = {path.name for path in (tmp_path / "flowopt-out").iterdir()}
    assert names == {"digits-mlp-4-adam-heatmap", "digits-mlp-4-adam-heatmap-2"}
    folder = tmp_path / "flowopt-out" / "digits-mlp-4-adam-heatmap"
    before = (folder / "heatmap.npz").read_bytes()
    code, _, err = command(*TINY, "--out", folder)
    assert code == 2
    assert "holds a heat map already" in err
    assert (folder / "heatmap.npz").read_bytes() == before


def test_ctrl_c_keeps_what_is_there(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, epoch: int, **options: Any) -> tuple[Tensor, ...]:
        if epoch == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return batches(*arguments, epoch=epoch, **options)

    monkeypatch.setattr(heatmap, "batches", interrupted)
    stop = 2
    code, out, err = command(*TINY, "--epochs", 4, "--out", "run")
    assert (code, err) == (130, "flowopt: interrupted; 2 of 4 epochs were finished\n")
    assert HeatMap.load(tmp_path / "run" / "heatmap.npz").curves.shape == (2, 2, 2, 1)
    assert (tmp_path / "run" / "heatmap.png").exists()
    stop = 0
    code, out, err = command(*TINY, "--out", "none")
    assert (code, err) == (130, "flowopt: interrupted; 0 of 1 epochs were finished\n")
    assert "no epoch was finished" in out
    assert not (tmp_path / "none" / "heatmap.png").exists()


WRONG = {
    "a dataset": (("digit",), "did you mean 'digits'"),
    "a method": (("digits", "-m", "adm"), "did you mean"),
    "an optimizer": (("digits", "-m", "torch:Adam"), "torch:Adam is not a flow of ours"),
    "a parameter": (("digits", "--x", "lrr=1,2"), "did you mean 'lr'"),
    "a parameter of others": (("digits", "-m", "gd"), "no parameter of gd named 'eps'"),
    "a text": (("digits", "--x", "lr"), "an axis is NAME=FIRST:LAST:COUNT"),
    "no number": (("digits", "--x", "lr=1,b"), "an axis is NAME=FIRST:LAST:COUNT"),
    "two ends only": (("digits", "--x", "lr=1e-3:1"), "an axis is NAME=FIRST:LAST:COUNT"),
    "half a value": (("digits", "--x", "lr=1e-3:1:2.5"), "an axis is NAME=FIRST:LAST:COUNT"),
    "an end at zero": (("digits", "--y", "eps=0:1:3"), "FIRST and LAST must be different numbers above 0"),
    "equal ends": (("digits", "--y", "eps=1:1:3"), "FIRST and LAST must be different numbers above 0"),
    "an infinite end": (("digits", "--y", "eps=1:inf:3"), "FIRST and LAST must be different numbers above 0"),
    "one value": (("digits", "--y", "eps=1e-3:1:1"), "COUNT must be from 2"),
    "too many values": (("digits", "--y", "eps=1e-3:1:100000"), "COUNT must be from 2"),
    "a value twice": (("digits", "--y", "eps=1,1"), "two or more different finite numbers"),
    "a value out of range": (("digits", "--y", "beta2=0.5,2"), "beta2 = 2.0 is outside its range"),
    "a value below 0": (("digits", "--x", "lr=-1,2"), "outside its range"),
    "a parameter on both axes": (("digits", "--x", "eps=1,2"), "can be given once"),
    "a parameter on an axis and set": (("digits", "--set", "eps=1"), "can be given once"),
    "a setting": (("digits", "--set", "bta1=0.5"), "did you mean 'beta1'"),
    "a set value": (("digits", "--set", "beta1=2"), "beta1 = 2 is outside its range"),
    "a model": (("digits", "--model", "mpl:64"), "did you mean 'mlp'"),
    "an option of the model": (("digits", "--model", "cnn:4", "--set", "model.pol=max"), "did you mean 'pool'"),
    "a count": (("digits", "--epochs", 0), "--epochs = 0"),
    "seeds": (("digits", "--seeds", 0), "--seeds = 0"),
    "a batch": (("digits", "--batch-size", 0), "--batch-size = 0"),
    "bounds": (("digits", "--bounds", "1e-3"), "--bounds are LOWER,UPPER"),
    "bounds upside down": (("digits", "--bounds", "1,1e-3"), "0 < LOWER < UPPER"),
    "bounds beside the axis": (("digits", "--bounds", "10,100"), "no eps on the axis lies between"),
    "bounds without eps": (("digits", "--y", "beta2=0.5,0.9", "--bounds", "1,10"), "axis for the bounds named 'eps'"),
    "a ridge without lr": (("digits", "--x", "beta2=0.5,0.9", "--ridge"), "axis for the ridge named 'lr'"),
    "a device": (("digits", "--device", "abacus"), "--device abacus"),
    "an output": (("digits", "--out", "rhyme.txt/run"), "cannot make the folder"),
    "a JSON": (("digits", "--json", "rhyme.txt/all.json"), "cannot make the folder"),
}


@together("what", WRONG)
@pytest.mark.usefixtures("text")
def test_what_is_wrong_is_said_before_any_work(
    what: str, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("the data were read")

    monkeypatch.setattr(datasets, "load", load)
    arguments, message = WRONG[what]
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("*.npz"))


def test_a_network_that_no_ensemble_can_hold_is_refused_before_the_run_is_announced(command: Any) -> None:
    code, out, err = command("digits", "--model", "resnet18", "--epochs", 1, "--x", "lr=1e-3,1e-2")
    assert (code, out) == (2, "")
    assert "running statistics, which many members cannot update at once" in err


def test_axes_as_typed() -> None:
    assert parse_axis("lr=1e-5:1:6", "adam").values == (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    assert parse_axis("eps=1:1e-8:9", "adam").values == tuple(float(f"1e{k}") for k in range(-8, 1))
    assert parse_axis("lr=0.3,0.1", "adam").values == (0.1, 0.3)
    axis = parse_axis("1-beta2=1e-3:1:4", "adam")
    assert (axis.parameter, axis.settings) == ("beta2", (0.999, 0.99, 0.9, 0.0))
    assert parse_axis("weight_decay=0,0.1", "gd").values == (0.0, 0.1)
    np.testing.assert_allclose(parse_axis("lr=1e-3:1e-2:3", "adam").values, (1e-3, 10**-2.5, 1e-2), rtol=1e-11)
    with pytest.raises(BadValue, match="not 'lr=1:2:0': COUNT must be from 2 to 200"):
        parse_axis("lr=1:2:0", "adam")
