"""CONTRIBUTING.md keeps its word: each of its examples is one new file, and together they are a method that works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import flowopt

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(
    r"^```python\n# (?P<extend>at the end of )?(?P<path>flowopt/\S+\.py)\n(?P<code>.*?)^```$", re.M | re.S
)

SCRIPT = """
import numpy as np
import flowopt

assert "sign_flow" in flowopt.list_systems()
assert "midpoint" in flowopt.list_integrators()
assert "robbins_monro" in flowopt.list_controllers()
assert "trid" in flowopt.list_problems()
assert "sign_descent" in flowopt.list_methods()

problem = flowopt.problem("trid", dim=3)
assert np.isclose(problem(problem.minimisers[0]), problem.minimum, atol=1e-12)

path = flowopt.minimize(problem, method="sign_descent", h0=0.05, max_steps=3)
assert np.allclose(path.h[1:, 0], [0.05 / (1 + k / 100) for k in range(3)], rtol=1e-14, atol=0)
assert np.allclose(path.x[1, 0], 0.05 * 6 * np.ones(3), rtol=1e-14, atol=0)  # the gradient at 0 is (-2, -2, -2)

from flowopt.controllers.fixed import Fixed
from flowopt.integrators.midpoint import Midpoint
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.transforms.restart import Restart

h = 0.1  # Trid is quadratic with Hessian H, so one step of a second-order scheme multiplies by 1 - h H + (h H)^2 / 2
H = 2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1)
path = flowopt.minimize(problem, method=flowopt.Method(GradientFlow(), Midpoint(), Fixed(h)), max_steps=1)
best = np.array(problem.minimisers[0])
assert np.allclose(path.final_x[0], best - (np.eye(3) - h * H + h * H @ (h * H) / 2) @ best, rtol=1e-14, atol=0)

for transforms, ends_well in (((), False), ((Restart(),), True)):  # without friction only the restarts lose energy
    method = flowopt.Method(HeavyBall(mass=1.0, friction=0.0), SymplecticEuler(), Fixed(h), transforms)
    assert flowopt.minimize(problem, method=method, max_steps=500).converged.all() == ends_well
"""


def test_the_examples_are_parts_that_work(tmp_path: Path) -> None:
    shutil.copytree(Path(flowopt.__file__).parent, tmp_path / "flowopt", ignore=shutil.ignore_patterns("__pycache__"))
    examples = list(EXAMPLE.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert len(examples) == 7
    for example in examples:
        path = tmp_path / example["path"]
        assert path.exists() == bool(example["extend"])
        with path.open("a", encoding="utf-8") as file:
            file.write(example["code"])

    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
