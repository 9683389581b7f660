"""What a release holds: the sdist everything, the wheel the package and nothing else."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import flowopt

ROOT = Path(__file__).parents[1]
NOT_RELEASED = {".ci", ".git", ".venv", "build", "dist", "flowopt-out"}
MADE = ("__pycache__", "*.egg-info", ".*_cache", ".hypothesis", ".ipynb_checkpoints", "out", "PKG-INFO", "setup.cfg")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the project in ``project``, and what `python -m build` makes of it in ``dist``."""
    folder = tmp_path_factory.mktemp("release")
    made = shutil.ignore_patterns(*MADE)
    shutil.copytree(
        ROOT,
        folder / "project",
        ignore=lambda where, names: {*made(where, names), *(NOT_RELEASED if Path(where) == ROOT else ())},
    )
    shutil.copytree(folder / "project", folder / "copy")  # to build in: that leaves files behind
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_sdist_holds_the_whole_project(built: Path) -> None:
    (archive,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        top = f"flowopt-{flowopt.__version__}/"
        names = {member.name.removeprefix(top) for member in tar.getmembers() if member.isfile()}
    assert files_of(built / "project") - names == set()
    added = {name for name in names - files_of(built / "project") if ".egg-info/" not in name}
    assert added == {"PKG-INFO", "setup.cfg"}


def test_the_wheel_holds_the_typed_package_and_nothing_else(built: Path) -> None:
    (wheel,) = (built / "dist").glob("*.whl")
    assert wheel.name == f"flowopt-{flowopt.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = message_from_string(archive.read(f"flowopt-{flowopt.__version__}.dist-info/METADATA").decode())
        started = archive.read(f"flowopt-{flowopt.__version__}.dist-info/entry_points.txt").decode()
    package = {f"flowopt/{name}" for name in files_of(built / "project" / "flowopt")}
    assert "flowopt/py.typed" in package
    assert {name for name in names if ".dist-info/" not in name} == package
    assert "flowopt = flowopt.cli.main:main" in started
    assert about["Description-Content-Type"] == "text/markdown"
    assert about.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
