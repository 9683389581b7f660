"""README.md tells the truth: its commands run, its links lead somewhere, its picture is what its command makes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import flowopt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
SHELL = [block["text"] for block in FENCED.finditer(README) if not block["language"]]
LINES = [line.partition("  #")[0].strip() for block in SHELL for line in block.splitlines() if line]
INLINE = [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", FENCED.sub("", README))]
OURS = ("flowopt ", "python -m flowopt")
COMMANDS = list(dict.fromkeys(text for text in LINES if text.startswith(OURS)))
SETTING_UP = ("make ", "python3 -m venv ", ".venv/bin/", "PIP_EXTRA_INDEX_URL")
QUICK = ("flowopt list", "flowopt cite")
PICTURE = "flowopt compare rosenbrock"


def run(command: str, folder: Path) -> str:
    """Run one of our commands, as it stands there, without a screen."""
    program, *arguments = shlex.split(command)
    module = ["-m", "flowopt"] if program == "flowopt" else []
    done = subprocess.run(
        [sys.executable, *module, *arguments],
        cwd=folder,
        env=os.environ
        | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(flowopt.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            command,
            marks=() if command.startswith(QUICK) else pytest.mark.slow,
            id=" ".join(command.split()[:4]),
        )
        for command in COMMANDS
        if command != PICTURE
    ],
)
def test_a_command_does_what_it_says(command: str, tmp_path: Path) -> None:
    printed = run(command, tmp_path)
    assert printed.strip()
    for file in re.findall(r"^wrote (\S+)$", printed, re.M):
        assert (tmp_path / file).stat().st_size > 0


def read(picture: Path) -> tuple[tuple[int, int], set[str]]:
    """The size of a picture, and what is written in it without its numbers: the last digits are the processor's."""
    with Image.open(picture) as image:
        return image.size, set(re.findall(r"[^\W\d_][\w:-]+", image.text["Description"]))


@pytest.mark.slow
def test_the_picture_is_what_its_command_makes(tmp_path: Path) -> None:
    assert f"![The papers' methods on Rosenbrock's valley](docs/rosenbrock.png)\n\n*Made by `{PICTURE}`" in README
    run(PICTURE, tmp_path)
    made, shown = tmp_path / "flowopt-out" / "rosenbrock-compare.png", ROOT / "docs" / "rosenbrock.png"
    assert read(made) == read(shown), f"make it again: {PICTURE}"


def test_every_line_of_the_shell_is_known() -> None:
    """Either it is run above, or it sets something up: a target of the Makefile, an environment, a benchmark."""
    unknown = [line for line in LINES if not line.startswith((*OURS, *SETTING_UP))]
    assert unknown == []
    targets = set(re.findall(r"\bmake ([a-z]+)", "\n".join((*LINES, *INLINE))))
    defined = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert targets
    assert targets <= defined


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_files_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(r"\b(?:benchmarks|examples|notebooks|docs|tests)/[\w/]+\.\w+", text)
    assert [path for path in (*linked, *named) if not (ROOT / path).exists()] == []
