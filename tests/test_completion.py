"""Shell completion: the names are those that exist, they come without torch, and shells get them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

import flowopt
from flowopt.cli import _completion as names
from flowopt.cli.main import app
from flowopt.functions.baselines.scipy_minimizers import MINIMIZERS
from flowopt.methods import METHODS
from flowopt.networks.limiting._crossings import READINGS
from flowopt.problems import problems
from flowopt.reproduce import EXPERIMENTS
from flowopt.show._listing import KINDS
from flowopt.training.datasets import DATASETS
from flowopt.training.models import MODELS, build

HEAVY = ("torch", "numpy", "scipy", "matplotlib")
PROGRAM = f"""
import sys

sys.argv[0] = "flowopt"
from flowopt.cli.main import main

try:
    main()
finally:
    assert not set({HEAVY}) & set(sys.modules)
"""


def completed(line: str, shell: str, folder: Path) -> list[str]:
    """What a shell is told of a line, the last word of which is not finished."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = os.environ | {"PYTHONPATH": str(Path(flowopt.__file__).parents[1])} | asked
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"_FLOWOPT_COMPLETE": f"complete_{shell}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "shell", "expected"),
    [
        ("flowopt expl", "bash", ["explore"]),
        ("flowopt explore rosen", "bash", ["rosenbrock"]),
        ("flowopt compare ackley -m torch:Adam", "bash", ["torch:Adam", "torch:Adamax", "torch:AdamW"]),
        ("flowopt explore ackley --method scipy:BF", "fish", ["scipy:BFGS"]),
        ("flowopt train ci", "fish", ["cifar10", "cifar100"]),
        ("flowopt train digits --model mlp", "zsh", ["_arguments", "'*:", """:(("mlp\\\\:64-32"))'"""]),
    ],
)
def test_shells_are_told_names_without_waiting_for_torch(
    line: str, shell: str, expected: list[str], tmp_path: Path
) -> None:
    assert completed(line, shell, tmp_path) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("begin", ["source <(_FLOWOPT_COMPLETE=source_bash flowopt)", "flowopt --install-completion"])
def test_bash_takes_what_readme_says(begin: str, tmp_path: Path) -> None:
    assert f"\n{begin} " in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    program = tmp_path / "flowopt"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}")
    program.chmod(0o755)
    script = f"""
        {begin}
        if [ -f ~/.bashrc ]; then source ~/.bashrc; fi
        complete -p flowopt
        COMP_WORDS=(flowopt train digits -m ec) COMP_CWORD=4
        _flowopt_completion flowopt
        echo "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(flowopt.__file__).parents[1]),
    }
    done = subprocess.run(["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=True)
    *_, declared, found = done.stdout.splitlines()
    assert declared == "complete -o default -F _flowopt_completion flowopt"
    assert found.split() == sorted(name for name in METHODS if name.startswith("ec"))


def test_the_names_are_those_that_exist() -> None:
    optimizers = {
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in names.NOT_FOR_DENSE
    }
    named = set(METHODS)
    assert set(names.methods("")) >= named
    assert set(names.network_methods("")) >= named | {f"torch:{name}" for name in optimizers}
    assert set(names.function_methods("")) == {
        *names.network_methods(""),
        *(f"scipy:{name}" for name in MINIMIZERS),
    }
    assert set(names.problems("")) >= set(problems())
    assert set(names.datasets("")) == {name.replace("FILE", "") for name in DATASETS}
    assert [spec.partition(":")[0] for spec in names.models("")] == list(MODELS)
    assert set(names.lists("")) == set(KINDS)
    assert set(names.papers("")) == {*EXPERIMENTS, "all"}
    assert set(names.readings("")) == set(READINGS)
    build(names.models("")[0], input_shape=(4,), outputs=2, task="classification", seed=0)


def test_names_of_other_packages_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "else-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: else\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[flowopt.methods]\ntheirs = a:b\n[flowopt.problems]\nhill = a:c\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "theirs" in names.methods("")
    assert "hill" in names.problems("")


def test_whatever_takes_a_name_completes_it() -> None:
    commands = typer.main.get_command(app)
    context = commands.make_context("flowopt", ["list"], resilient_parsing=True)
    takers = {
        (command, parameter.name)
        for command, group in commands.commands.items()
        for parameter in group.params
        if parameter.shell_complete(context, "")
    }
    assert takers == {
        ("list", "kind"),
        ("explore", "problem"),
        ("explore", "method"),
        ("compare", "problem"),
        ("compare", "method"),
        ("compare", "format_"),
        *((command, "dataset") for command in ("train", "epsilon", "heatmap")),
        *((command, "model") for command in ("train", "epsilon", "heatmap")),
        *((command, "method") for command in ("train", "epsilon", "heatmap")),
        *((command, "device") for command in ("train", "epsilon", "heatmap")),
        ("train", "limiting"),
        ("reproduce", "paper"),
        ("cite", "method"),
    }
