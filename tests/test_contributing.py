"""CONTRIBUTING.md keeps its word: its examples are parts that work, and the tests take them as they are."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(
    r"^```python\n# (?P<extend>at the end of )?(?P<path>(flowopt|tests)/\S+\.py)\n(?P<code>.*?)^```$", re.M | re.S
)

SCRIPT = """
import numpy as np
import flowopt

assert "sign_flow" in [line.name for line in flowopt.listing("systems")]
assert "midpoint" in [line.name for line in flowopt.listing("integrators")]
assert "robbins_monro" in [line.name for line in flowopt.listing("controllers")]
assert "trid" in [line.name for line in flowopt.listing("problems")]
assert "sign_descent" in [line.name for line in flowopt.listing("methods")]

problem = flowopt.problem("trid", dim=3)
assert np.isclose(problem(problem.minimisers[0]), problem.minimum, atol=1e-12)

path = flowopt.minimize(problem, method="sign_descent", h0=0.05, max_steps=3)
assert np.allclose(path.h[1:, 0], [0.05 / (1 + k / 100) for k in range(3)], rtol=1e-14, atol=0)
assert np.allclose(path.x[1, 0], 0.05 * 6 * np.ones(3), rtol=1e-14, atol=0)  # the gradient at 0 is (-2, -2, -2)

from flowopt.controllers import Fixed
from flowopt.integrators import Midpoint, SymplecticEuler
from flowopt.systems import GradientFlow, HeavyBall
from flowopt.transforms import Restart

h = 0.1  # Trid is quadratic with Hessian H, so one step of a second-order scheme multiplies by 1 - h H + (h H)^2 / 2
H = 2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1)
path = flowopt.minimize(problem, method=flowopt.Method(GradientFlow(), Midpoint(), Fixed(h)), max_steps=1)
best = np.array(problem.minimisers[0])
assert np.allclose(path.final_x[0], best - (np.eye(3) - h * H + h * H @ (h * H) / 2) @ best, rtol=1e-14, atol=0)

for transforms, ends_well in (((), False), ((Restart(),), True)):  # without friction only the restarts lose energy
    method = flowopt.Method(HeavyBall(mass=1.0, friction=0.0), SymplecticEuler(), Fixed(h), transforms)
    assert flowopt.minimize(problem, method=method, max_steps=500).converged.all() == ends_well
"""


NAMES = ("sign_flow", "midpoint", "robbins_monro", "restart", "sign_descent", "trid")
WHOLE = ("test_registry", "test_problems", "test_roles", "test_parameters", "test_arrows")
"""Files whose tests go over whatever there is; of others those tests that try each thing, with the new ones alone."""
GO_OVER = re.compile(r"\b(METHODS|PARTS|SYSTEMS|INTEGRATORS|CONTROLLERS|NAMES|LIBRARY|discover|listing|textbook)\b")
"""What a file has in it that goes over methods, parts or problems; no file has to be told here."""


def with_a_loop(path: Path) -> Iterator[str]:
    """The tests of a file that go over methods, parts or problems in a loop of their own."""
    for test in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            loops = [node.iter for node in ast.walk(test) if isinstance(node, ast.For | ast.comprehension)]
            if any(GO_OVER.search(ast.unparse(loop)) for loop in loops):
                yield test.name


@pytest.fixture
def applied(tmp_path: Path) -> Path:
    """A copy of the library and its tests with all examples in their places."""
    for folder in ("flowopt", "tests", "docs", "examples", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "pyproject.toml", *ROOT.glob("*.md")):
        shutil.copy(file, tmp_path)
    examples = list(EXAMPLE.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert len(examples) == 14
    for example in examples:
        path = tmp_path / example["path"]
        assert path.exists() == bool(example["extend"])
        with path.open("a", encoding="utf-8") as file:
            file.write(example["code"])
    page = python("-m", "flowopt.methods.parameter_table", folder=tmp_path)
    (tmp_path / "docs" / "parameters.md").write_text(page, encoding="utf-8")
    return tmp_path


def python(*arguments: str, folder: Path) -> str:
    """What Python prints in the copy."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_examples_are_parts_that_work(applied: Path) -> None:
    python("-c", SCRIPT, folder=applied)


@pytest.mark.slow
def test_the_tests_know_the_examples_without_being_told(applied: Path) -> None:
    """Contract tests of parts, methods and problems pass, and no table of theirs needed a line."""
    files = [path for path in (applied / "tests").glob("test_*.py") if GO_OVER.search(path.read_text(encoding="utf-8"))]
    files = [path for path in files if path.name != Path(__file__).name]
    loops = [name for path in files for name in with_a_loop(path)]
    chosen = " or ".join((*NAMES, *WHOLE, "together", *loops))
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow or together", "-k", chosen, "--cases", ",".join(NAMES))
    told = python("-m", "pytest", *options, *map(str, sorted(files)), folder=applied)
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    assert int(passed[1]) > 150, told  # tests; many of them try several of these names
