"""Every example that users are shown runs: the scripts, the notebooks, and the Python in README.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
README = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def run(*arguments: str, folder: Path) -> None:
    """Run Python without a screen; what it writes goes to the folder."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", README)
def test_readme(code: str, tmp_path: Path) -> None:
    run("-c", code, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_example(script: Path, tmp_path: Path) -> None:
    run(str(script), folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebook(notebook: Path, tmp_path: Path) -> None:
    cells = nbformat.read(notebook, as_version=4)
    NotebookClient(cells, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
