"""Training that is stopped from outside: by Ctrl-C, by SIGTERM, by SIGKILL at random moments."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import flowopt

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(flowopt.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals and fork")


def same(a: Any, b: Any) -> bool:
    """Equal in every bit; seconds aside."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a if key != "seconds")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def run_of(folder: Path) -> Any:
    """All that a run leaves, read as anybody would."""
    json.loads((folder / "metrics.json").read_text())
    return [torch.load(folder / name, weights_only=True) for name in ("model.pt", "checkpoint.pt")]


def arguments(folder: Path, *more: object) -> list[str]:
    (folder / "rhyme.txt").write_text("one two buckle my shoe\nthree four knock at the door\n" * 40)
    asked = ("text:rhyme.txt", "--model", "lstm:8", "-m", "ecdsep", "--set", "model.dropout=0.2", "--batch-size", 2)
    return [sys.executable, "-m", "flowopt", "train", *map(str, (*asked, *more))]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_and_the_run_can_be_resumed(number: int, code: int, tmp_path: Path) -> None:
    command = arguments(tmp_path, "--epochs", 100000, "--out", "cut off")
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("    3"):
        assert process.poll() is None, process.stderr
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "--resume --out 'cut off'" in err  # as a shell takes it
    _, checkpoint = run_of(tmp_path / "cut off")
    done, steps = len(checkpoint["history"]["epochs"]), len(checkpoint["history"]["steps"])
    assert checkpoint["history"]["status"] == "interrupted"
    assert json.loads((tmp_path / "cut off" / "metrics.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "cut off" / "curves.png").exists()
    for folder, more in (("cut off", ["--resume"]), ("whole", [])):
        again = arguments(tmp_path, "--epochs", done + 2, "--out", folder, *more)
        subprocess.run(again, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    assert len(torch.load(tmp_path / "cut off" / "checkpoint.pt", weights_only=True)["history"]["steps"]) > steps
    assert same(run_of(tmp_path / "cut off"), run_of(tmp_path / "whole"))


TRAINING = """
    import os, signal, sys, time, warnings
    from pathlib import Path
    import torch
    from torch import nn
    from flowopt.training.datasets import Dataset
    from flowopt.training._fit import fit
    from flowopt.networks._optimizer import FlowOptimizer

    torch.set_num_threads(1)
    out, delays = Path(sys.argv[1]), [float(delay) for delay in sys.argv[2:]]
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 1, 4, 4, generator=generator), torch.arange(60) % 3
    data = Dataset("noise", "classification", x, y, x[:9], y[:9], outputs=3)

    def train(folder, epochs):
        torch.manual_seed(1)
        # wide and with few batches: most of the time goes into writing files, so that is where most kills hit
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 20000), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20000, 3))
        optimizer = FlowOptimizer(model.named_parameters(), "ecdsep", nu=1e-3, seed=1)
        return fit(model, data, optimizer, epochs=epochs, batch_size=40, out=folder, resume=True)

    def check():
        for name in ("model.pt", "checkpoint.pt"):
            if (out / "killed" / name).exists():
                torch.load(out / "killed" / name, weights_only=True)

    train(out / "warm", 1)  # what is imported late would be so in every child
    for delay in delays:
        child = os.fork()
        if child == 0:
            train(out / "killed", 10**9)
            os._exit(0)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        check()
    state = torch.load(out / "killed" / "checkpoint.pt", weights_only=True)
    epochs = len(state["history"]["epochs"]) + 2
    train(out / "killed", epochs)
    train(out / "whole", epochs)
    print(epochs)
"""


def killed(folder: Path, delays: list[float]) -> int:
    """Kill a training process after each of these delays in seconds, and resume it; how many epochs it came to."""
    script = textwrap.dedent(TRAINING)
    command = [sys.executable, "-c", script, str(folder), *map(str, delays)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert same(run_of(folder / "killed"), run_of(folder / "whole"))
    assert not list((folder / "killed").glob(".checkpoint.pt.*"))
    return int(done.stdout)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Nothing is lost beyond the running epoch: what was on disk is gone on from, and the end is the same."""
    moments = random.Random(1)
    assert killed(tmp_path, [moments.uniform(0.0, 0.4) for _ in range(10)]) > 3


@pytest.mark.slow
def test_killed_very_often(tmp_path: Path) -> None:
    moments = random.Random(time.time_ns())
    assert killed(tmp_path, [moments.uniform(0.0, 0.4) for _ in range(25)]) > 3
