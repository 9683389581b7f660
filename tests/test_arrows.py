"""The house stands: imports run downwards only, functions and networks stay apart, and the folders' faces are whole."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowopt
from flowopt.core import Part, discover, parts

HOUSE = Path(flowopt.__file__).parent
FLOORS = (
    {"core"},
    {"systems", "integrators", "controllers", "transforms", "problems"},
    {"methods"},
    {"functions", "networks"},
    {"training"},
    {"diagnostics"},
    {"show"},
    {"testing"},
    {"reproduce"},
    {"cli"},
    {"__main__"},
)
"""From the ground up: a file sees its own wing and the floors below. Wings of one floor do not see each other."""
FLOOR = {wing: number for number, wings in enumerate(FLOORS) for wing in wings}


def imported(file: Path) -> Iterator[str]:
    """The modules and names that a file imports from flowopt, wherever in it: ``systems.adam.Adam``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flowopt":
            yield from (f"{node.module}.{name.name}".removeprefix("flowopt.") for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("flowopt.") for a in node.names if a.name.split(".")[0] == "flowopt")


def files() -> list[Path]:
    return [file for file in sorted(HOUSE.rglob("*.py")) if file.parent != HOUSE or file.name == "__main__.py"]


def test_imports_run_downwards() -> None:
    seen, wrong = set(), []
    for file in files():
        wing = file.relative_to(HOUSE).with_suffix("").parts[0]
        seen.add(wing)
        for name in imported(file):
            other = name.split(".")[0]
            if other != wing and FLOOR[other] >= FLOOR[wing]:
                wrong.append(f"{file.relative_to(HOUSE)} imports {name}")
    assert wrong == []
    assert seen == set(FLOOR), "a folder that stands on no floor"


def test_no_file_stands_in_a_circle() -> None:
    modules = {".".join(file.relative_to(HOUSE).with_suffix("").parts): file for file in files()}
    sees = {
        module: {name if name in modules else name.rpartition(".")[0] for name in imported(file)} & modules.keys()
        for module, file in modules.items()
    }
    standing: set[str] = set()
    while found := {module for module, others in sees.items() if module not in standing and others <= standing}:
        standing |= found
    assert sorted(sees.keys() - standing) == []


def test_people_are_told_to_import_what_is_public() -> None:
    """In README, CONTRIBUTING, examples and notebooks; what stands inside the house may see its own wing's files."""
    told = [*HOUSE.parent.glob("*.md"), *HOUSE.parent.glob("examples/*.py"), *HOUSE.parent.glob("notebooks/*.ipynb")]
    assert len(told) > 10
    for file in told:
        wing = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            if shown := re.match(r"# (?:at the end of )?flowopt/(\w+)/", line):
                wing = shown[1]
            elif line == "```":
                wing = ""
            for name in re.findall(r"(?:from|import) flowopt\.([\w.]+)", line):
                assert "_" not in {part[0] for part in name.split(".")} or name.split(".")[0] == wing, f"{file}: {line}"


@pytest.mark.parametrize("kind", [parts.System, parts.Integrator, parts.Controller, parts.Transform])
def test_the_folders_show_what_the_registry_finds(kind: type[Part]) -> None:
    folder = importlib.import_module(f"flowopt.{kind.__name__.lower()}s")
    shown = {member for member in vars(folder).values() if isinstance(member, type) and "name" in vars(member)}
    assert shown == set(discover(kind).values())


def test_the_problems_are_shown_as_well() -> None:
    assert [name for name in flowopt.problems.problems() if not callable(getattr(flowopt.problems, name, None))] == []


def test_the_door_shows_the_public_names() -> None:
    assert dir(flowopt) == flowopt.__all__
    assert {"minimize", "compare", "FlowOptimizer", "Ensemble", "Method", "method", "systems"} <= set(dir(flowopt))
    assert not [name for name in dir(flowopt) if name.startswith("_")]
