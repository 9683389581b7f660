"""What a newcomer meets first: the import, help and version, mistyped commands."""

import importlib
import subprocess
import sys
import types
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import flowopt

HEAVY = ("torch", "numpy", "scipy", "matplotlib", "sklearn")

COMMANDS = ("list", "explore", "compare", "train", "epsilon", "heatmap", "reproduce", "cite")
HELPED = ("--version", "--help", "-h", *(f"{command} --help" for command in COMMANDS))
MISTYPED = ("explor", "--versoin", "explore", "explore ackley --stepps 3", "train digits --seed x")
RUN_ALL = f"""
import sys
from flowopt.cli.main import main

for line in sys.argv[1:]:
    sys.argv = ["flowopt", *line.split()]
    try:
        main()
    except SystemExit as done:
        print("ended:", line, done.code, [name for name in {HEAVY} if name in sys.modules])
"""


def python(code: str, *arguments: str, folder: Path) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_version_and_mistyped_commands_wait_for_nothing(tmp_path: Path) -> None:
    ended = [line for line in python(RUN_ALL, *HELPED, *MISTYPED, folder=tmp_path).splitlines() if "ended: " in line]
    assert ended == [f"ended: {line} {2 if line in MISTYPED else 0} []" for line in (*HELPED, *MISTYPED)]


def test_the_import_waits_for_nothing_and_has_every_name(tmp_path: Path) -> None:
    code = f"""
import sys
import flowopt
assert not set({HEAVY}) & set(sys.modules)
import flowopt.functions.comparison, flowopt.training  # what a module imports must not hide a name of the door
from flowopt import *
assert set(flowopt.__all__) <= set(globals()) & set(dir(flowopt))
for name in flowopt.__all__:
    assert getattr(flowopt, name) is globals()[name], name
assert flowopt.training.fit is flowopt.training._fit.fit
assert flowopt.diagnostics.suggest_epsilon  # a folder that nothing has imported yet
"""
    python(code, folder=tmp_path)


def test_no_public_name_is_a_module_too() -> None:
    """Importing such a module would put it in the place of the function."""
    for package in ("flowopt", "flowopt.show", "flowopt.functions", "flowopt.networks", "flowopt.problems"):
        wing = importlib.import_module(package)
        public = [name for name in dir(wing) if not isinstance(getattr(wing, name), types.ModuleType)]
        assert [name for name in public if PathFinder.find_spec(f"{package}.{name}", wing.__path__)] == []


def test_a_name_that_is_not_there() -> None:
    for name in ("minimise", "_hidden", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"No flowopt attribute {name}"):
            getattr(flowopt, name)
