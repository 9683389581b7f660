"""Methods, parts and problems of a package that is installed beside flowopt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import flowopt

PYPROJECT = """
    [build-system]
    requires = ["setuptools"]
    build-backend = "setuptools.build_meta"

    [project]
    name = "flowopt-beside"
    version = "1.2"

    [tool.setuptools]
    py-modules = ["beside", "beside_broken"]

    [project.entry-points."flowopt.methods"]
    swift = "beside:swift"
    cited = "beside:cited"
    gd = "beside:swift"
    broken = "beside_broken:anything"
    number = "beside:NUMBER"

    [project.entry-points."flowopt.parts"]
    swift_flow = "beside:SwiftFlow"
    misnamed = "beside:SwiftFlow"
    no_part = "beside:swift"

    [project.entry-points."flowopt.problems"]
    slope = "beside:slope"
    hill = "beside:hill"
"""

BESIDE = '''
    from dataclasses import dataclass

    import flowopt
    from flowopt.controllers import Fixed
    from flowopt.methods import named
    from flowopt.problems import Problem
    from flowopt.systems import GradientFlow

    NUMBER = 3

    @dataclass(frozen=True)
    class SwiftFlow(GradientFlow):
        """Gradient flow, twice as fast."""

        name = "swift_flow"
        source = "ours"
        provides = frozenset({"descent"})

        def rate(self, state, evaluation, measure):
            return {"q": -2 * evaluation.grad}

    def swift(h=0.01):
        """Swift descent."""
        return flowopt.Method(SwiftFlow(), "forward_euler", Fixed(h))

    @named("Somebody", "@misc{somebody}", "their reading")
    def cited(h=0.01):
        """Cited descent."""
        return flowopt.Method("gradient_flow", "forward_euler", Fixed(h))

    def slope(dim=2, tilt=1.0):
        """A bowl that leans."""
        return Problem("slope", lambda x: x.square().sum(-1) + tilt * x[..., 0], dim, start=(1.0,) * dim)

    def hill(x):
        """A hill upside down."""
        return x.square().sum(-1)
'''


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the package is installed."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    (source / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
    (source / "beside.py").write_text(textwrap.dedent(BESIDE))
    (source / "beside_broken.py").write_text("raise RuntimeError('half installed')\n")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def run(beside: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Python with flowopt and the package beside it."""
    path = os.pathsep.join([str(beside), str(Path(flowopt.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, cwd=beside, check=False
    )


USES = """
import json, sys, warnings
import flowopt

first = flowopt.minimize("rosenbrock", method="gd", lr=1e-3, max_steps=2)
assert "beside" not in sys.modules, "loaded, and nobody asked for it"
assert flowopt.method("gd").system.name == "gradient_flow", "ours wins"
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    swift = flowopt.method("swift", h=0.1)
    cited = flowopt.method("cited")
    formula = flowopt.method("swift_flow x forward_euler [fixed]", h=0.1)
    run = flowopt.minimize(flowopt.problem("slope", dim=3, tilt=2.0), method="swift", h=0.1, max_steps=3)
    hill = flowopt.minimize("hill", [1.0, 2.0], method="swift_flow x forward_euler [fixed]", h=0.25, max_steps=1)
    dims = flowopt.minimize("slope", [1.0, 2.0, 3.0], method="gd", max_steps=1).final_x.shape
    names = {kind: [line.name for line in flowopt.listing(kind)] for kind in ("methods", "systems", "problems")}
    sources = {line.name: line.source for line in flowopt.listing("methods")}
    refused = {}
    for name in ("swit", "broken", "number"):
        try:
            flowopt.method(name)
        except flowopt.UnknownName as error:
            refused[name] = str(error)
print(json.dumps({
    "swift": [swift.name, swift.formula, swift.settings], "cited": [cited.citation, cited.reading],
    "same": formula.parts == swift.parts, "hill": hill.final_x.tolist(), "dims": dims, "x": run.final_x.tolist(),
    "names": names, "sources": sources, "refused": refused, "warned": [str(one.message) for one in warned],
}))
"""


@pytest.mark.slow
def test_a_package_beside_brings_methods_parts_and_problems(beside: Path) -> None:
    done = run(beside, "-c", USES)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    settings = {"swift_flow.weight_decay": 0.0, "fixed.h": 0.1}
    assert found["swift"] == ["swift", "swift_flow x forward_euler [fixed]", settings]
    assert found["cited"] == ["@misc{somebody}", "their reading"]
    assert found["same"]
    assert found["hill"] == [[0.0, 0.0]]
    assert found["dims"] == [1, 3]
    assert len(found["x"][0]) == 3
    assert {"swift", "cited", "gd"} < set(found["names"]["methods"])
    assert not {"broken", "number"} & set(found["names"]["methods"])
    assert "swift_flow" in found["names"]["systems"]
    assert {"slope", "hill", "rosenbrock"} < set(found["names"]["problems"])
    assert found["sources"]["swift"] == "flowopt-beside 1.2"
    assert found["sources"]["cited"] == "Somebody"
    assert "did you mean 'swift'" in found["refused"]["swit"]
    for name, reason in {
        "gd": "flowopt has one of that name, which stays",
        "broken": "RuntimeError: half installed",
        "number": "number is 3; a method is a Method",
        "misnamed": "the part calls itself 'swift_flow'",
        "no_part": "it is not the class of a system",
    }.items():
        (warning,) = [text for text in found["warned"] if f"announces {name} =" in text]
        assert warning.startswith("flowopt: flowopt-beside 1.2 announces"), warning
        assert reason in warning


@pytest.mark.slow
def test_the_command_line_knows_them(beside: Path) -> None:
    listed = run(beside, "-m", "flowopt", "list", "methods")
    assert listed.returncode == 0, listed.stderr
    assert "flowopt-beside 1.2" in listed.stdout
    assert "half installed" in listed.stderr
    explored = run(
        beside, "-m", "flowopt", "explore", "slope", "--method", "swift", "--set", "problem.tilt=3", "--steps", "3"
    )
    assert explored.returncode == 0, explored.stderr
    addresses = ("beside:slope", "--dim", "3", "--method", "beside:swift")
    own = run(beside, "-m", "flowopt", "explore", *addresses, "--steps", "3")
    assert own.returncode == 0, own.stderr
    cited = run(beside, "-m", "flowopt", "cite", "cited")
    assert "@misc{somebody}" in cited.stdout
