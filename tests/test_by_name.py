"""Methods and parts by name, by formula and by ``module:name``, wherever a method stands."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from together import together

import flowopt
from flowopt.cli import main as command_line
from flowopt.controllers import PI, Fixed
from flowopt.core.errors import BadValue, FlowoptError, UnknownName
from flowopt.integrators import Heun, SymplecticEuler
from flowopt.methods import METHODS, entry, method
from flowopt.systems import Adam, HeavyBall
from flowopt.transforms import DecoupledDecay, IterateAveraging, MomentumRotation

FORMULA = "heavy_ball x heun [pi]"


def close_by(value: Any) -> Any:
    """Another number of the same kind, in the same range; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, float) or not math.isfinite(value):
        return value
    return value * (1 - 1e-3)


@together("name", METHODS)
def test_a_formula_with_its_settings_is_the_method_again(name: str) -> None:
    built = method(name)
    assert method(built.formula, **built.settings).parts == built.parts
    other = dataclasses.replace(  # no number is its default, so that each must be carried over
        built,
        system=dataclasses.replace(built.system, **{k: close_by(v) for k, v in built.system.parameters.items()}),
        controller=dataclasses.replace(
            built.controller, **{k: close_by(v) for k, v in built.controller.parameters.items()}
        ),
    )
    again = method(other.formula, **other.settings)
    assert again.parts == other.parts
    assert again.formula == again.name == built.formula


def test_parameters_a_row_come_back_too() -> None:
    built = flowopt.Method("gradient_flow", "forward_euler", Fixed(torch.tensor([0.1, 0.2], dtype=torch.float64)))
    again = method(built.formula, **built.settings)
    assert torch.equal(again.controller.parameters["h"], built.controller.parameters["h"])


def test_names_stand_where_parts_stand() -> None:
    named = flowopt.Method("heavy_ball", "heun", PI(rtol=1e-4), ["iterate_averaging"])
    assert named.parts == (HeavyBall(), Heun(), PI(rtol=1e-4), IterateAveraging())
    assert named.name == "heavy_ball x heun [pi] + iterate_averaging"


def test_a_formula_is_read_with_any_spacing_and_with_transforms() -> None:
    made = method(
        "separable_hamiltonian  x symplectic_euler[fixed]+ momentum_rotation +energy_projection", h=0.1, nu=0.5
    )
    assert made.formula == "separable_hamiltonian x symplectic_euler [fixed] + momentum_rotation + energy_projection"
    assert made.transforms[0] == MomentumRotation(0.5)
    assert made.name == made.formula


def test_parameters_go_by_name_or_by_part_and_name() -> None:
    assert method(FORMULA, mass=2.0).parts == method(FORMULA, **{"heavy_ball.mass": 2.0}).parts
    both = "gradient_flow x backtracking_euler [armijo]"
    made = method(both, **{"armijo.c1": 0.2, "backtracking_euler.c1": 0.3}, h0=0.5)
    assert (made.controller.parameters["c1"], made.integrator.parameters["c1"]) == (0.2, 0.3)
    assert {"armijo.c1", "backtracking_euler.c1", "h0"} < set(entry(both).defaults)


REFUSED = {
    "a controller is missing": ("heavy_ball x heun", {}, "SYSTEM x INTEGRATOR"),
    "a sign too many": ("heavy_ball x heun [pi] +", {}, "is not a formula"),
    "an unknown part": ("heavy_bal x heun [pi]", {}, "no system named 'heavy_bal'; did you mean 'heavy_ball'"),
    "a part in another's place": ("heun x heun [pi]", {}, r"name of another kind of part \(integrator\)"),
    "a parameter is missing": ("heavy_ball x heun [fixed]", {}, "needs h: there is no default"),
    "an unknown parameter": (
        FORMULA,
        {"rtl": 1},
        f"parameter of {re.escape(FORMULA)} named 'rtl'; did you mean 'rtol'",
    ),
    "an unknown part of a parameter": (FORMULA, {"lte.rtol": 1}, "parameter of"),
    "an ambiguous one": (
        "gradient_flow x backtracking_euler [armijo]",
        {"c1": 0.1},
        "backtracking_euler.c1 or armijo.",
    ),
    "twice": (FORMULA, {"mass": 1.0, "heavy_ball.mass": 2.0}, "mass is given twice"),
    "out of range": (FORMULA, {"rtol": -1.0}, f"{re.escape(FORMULA)}: pi: rtol = -1.0 is outside"),
    "the same transform twice": ("gradient_flow x heun [pi] + shrink + shrink", {"factor": 0.5}, "shrink twice"),
    "parts that do not fit": ("adam x symplectic_euler [pi]", {}, "pi needs"),
    "a part's name alone": ("heavy_ball", {}, r"that is the name of a part \(system\); a formula"),
    "near a method's name": ("eco", {}, "did you mean 'ecco'.*a formula .* and module:function are taken as well"),
    "somebody else's": ("torch:Adam", {}, "is not a flow of ours"),
    "no such module": ("no_such_module:build", {}, "cannot import"),
    "not a method": ("math:pi", {}, "a method is a Method, or a function that builds one"),
    "builds something else": ("os:getcwd", {}, "must build a Method"),
}


@together("what", REFUSED)
def test_what_cannot_be_read_is_refused_with_what_to_do(what: str) -> None:
    text, parameters, message = REFUSED[what]
    with pytest.raises(FlowoptError, match=message):
        method(text, **parameters)


def test_a_part_by_name_that_needs_a_number_says_so() -> None:
    with pytest.raises(BadValue, match=r"fixed needs h: give the part itself, Fixed\(h=...\)"):
        flowopt.Method("heavy_ball", "heun", "fixed")
    with pytest.raises(UnknownName, match="did you mean 'forward_euler'"):
        flowopt.Method("heavy_ball", "forward_eulr", "pi")


# --- wherever a method stands ---

NETWORK = "adam x symplectic_euler [fixed]"


def test_functions_take_formulas() -> None:
    built = flowopt.Method(HeavyBall(friction=2.0), "heun", PI(rtol=1e-3))
    parameters = {"friction": 2.0, "pi.rtol": 1e-3}
    expected = flowopt.minimize("rosenbrock", method=built, max_steps=20)
    found = flowopt.minimize("rosenbrock", method=FORMULA, max_steps=20, **parameters)
    assert np.array_equal(found.x, expected.x)
    assert found.about["method"] == FORMULA
    compared = flowopt.compare(
        "rosenbrock", methods=["gd", FORMULA], parameters={FORMULA: parameters}, max_evaluations=41, tune=0
    )
    assert compared.rows[1]["name"] == FORMULA
    assert compared.rows[1]["default"]["parameters"]["friction"] == 2.0
    assert compared.rows[1]["default"]["best_f"] == expected.f.min()
    from scipy.optimize import minimize, rosen, rosen_der

    scipy_run = minimize(
        rosen, [-1.2, 1.0], jac=rosen_der, method=flowopt.scipy_method(FORMULA, **parameters), options={"maxiter": 20}
    )
    assert scipy_run.fun == pytest.approx(expected.f.min(), rel=1e-9)
    with pytest.raises(UnknownName, match="parameter of heavy_ball"):
        flowopt.compare("rosenbrock", methods=[FORMULA], parameters={FORMULA: {"rtl": 1}}, tune=0)


def stepped(chosen: Any, **overrides: Any) -> torch.Tensor:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = flowopt.FlowOptimizer(model.parameters(), chosen, **overrides)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(torch.ones(4, 3)).square().mean()
        loss.backward()
        optimizer.step(loss=loss)
    return model.weight.detach()


def test_networks_take_formulas() -> None:
    built = flowopt.Method(Adam(beta1=0.8), SymplecticEuler(), Fixed(0.01))
    assert torch.equal(stepped(NETWORK, h=0.01, beta1=0.8), stepped(built))
    assert torch.equal(
        stepped(NETWORK, **{"fixed.h": 0.01, "adam.beta1": 0.8, "adam.weight_decay": 0.1}),
        stepped(built, weight_decay=0.1),
    )
    assert torch.equal(
        stepped(NETWORK, h=0.01, lr=2.0), stepped(flowopt.Method(Adam(), "symplectic_euler", Fixed(0.02)))
    )
    rule = "gradient_flow x forward_euler [hypergradient]"
    assert torch.equal(stepped(rule, lr=0.01), stepped("hypergradient", lr=0.01))
    assert torch.equal(stepped(rule, **{"hypergradient.lr": 0.01}), stepped("hypergradient", lr=0.01))
    with pytest.raises(BadValue, match="needs lr: there is no default"):
        stepped(rule)


def test_a_decoupled_decay_of_a_formula_is_that_of_the_groups() -> None:
    decayed = f"{NETWORK} + decoupled_decay"
    by_part = flowopt.Method(Adam(), SymplecticEuler(), Fixed(0.01), (DecoupledDecay(0.1),))
    assert torch.equal(stepped(decayed, h=0.01, rate=0.1), stepped(by_part))
    larger = dataclasses.replace(by_part, transforms=(DecoupledDecay(0.5),))
    assert torch.equal(stepped(larger, weight_decay=0.1), stepped(by_part))
    with_both = dataclasses.replace(by_part, system=Adam(weight_decay=0.2))
    assert torch.equal(stepped(decayed, h=0.01, rate=0.1, weight_decay=0.2), stepped(with_both))


def test_ensembles_take_formulas_and_numbers_a_member() -> None:
    def build(seed: int) -> torch.nn.Module:
        return torch.nn.Linear(3, 1)

    x, y = torch.ones(4, 3), torch.zeros(4, 1)
    found = []
    for chosen, numbers in ((NETWORK, {"fixed.h": [0.1, 0.2], "step": 0.001}), ("adam", {"lr": [0.1, 0.2]})):
        ensemble = flowopt.Ensemble(build, 2, chosen, numbers, task="regression")
        ensemble.step(x, y)
        found.append(ensemble.evaluate(x, y)["loss"])
    assert torch.allclose(*found)


# --- from outside ---

OUTSIDE = """
    from dataclasses import dataclass
    import torch
    import flowopt
    from flowopt.controllers import Fixed
    from flowopt.systems import GradientFlow, HeavyBall

    @dataclass(frozen=True)
    class Faster(GradientFlow):
        "Gradient flow in another time."
        speed: float = 2.0
        name = "faster"
        def rate(self, state, evaluation, measure):
            return {"q": -self.speed * evaluation.grad}

    heavy = HeavyBall(mass=3.0)

    def constant(h=0.25):
        return Fixed(h)

    def nothing():
        return 3

    def descent(h=0.1):
        "My descent."
        return flowopt.Method("gradient_flow", "forward_euler", Fixed(h))

    built = descent(0.05)

    def sgd(params):
        return torch.optim.SGD(params, lr=0.1)

    class MyAdam(torch.optim.Adam):
        pass
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"outside_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(OUTSIDE))
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_parts_and_methods_from_a_module(outside: str) -> None:
    made = flowopt.Method(f"{outside}:Faster", "forward_euler", f"{outside}:constant")
    assert made.settings == {"faster.weight_decay": 0.0, "faster.speed": 2.0, "fixed.h": 0.25}
    formula = f"{outside}:Faster x forward_euler [{outside}:constant]"
    again = method(formula, **{"faster.speed": 3.0, "constant.h": 0.5})
    assert (again.system.parameters["speed"], again.controller) == (3.0, Fixed(0.5))
    assert method(again.name).formula == "faster x forward_euler [fixed]", "its name can be read back"
    assert flowopt.Method(f"{outside}:heavy", "heun", "pi").system == HeavyBall(mass=3.0)
    assert method(f"{outside}:descent", h=0.2).controller == Fixed(0.2)
    assert method(f"{outside}:built").controller == Fixed(0.05)
    for given, message in (
        (lambda: method(f"{outside}:built", h=1.0), "takes no parameters"),
        (lambda: method(f"{outside}:nothing"), r"nothing\(\) must build a Method, not 3"),
        (lambda: flowopt.Method(f"{outside}:nothing", "heun", "pi"), "a system is a part of flowopt.systems"),
        (lambda: flowopt.Method(f"{outside}:constant", "heun", "pi"), "is a controller and stands where a system"),
        (lambda: flowopt.Method(f"{outside}:Slower", "heun", "pi"), "has no 'Slower'"),
        (lambda: method(f"{outside}:MyAdam"), "a method is a Method, or a function that builds one"),
    ):
        with pytest.raises(FlowoptError, match=message):
            given()
    run = flowopt.minimize("rosenbrock", method=f"{outside}:descent", h=1e-3, max_steps=5)
    assert np.array_equal(run.x, flowopt.minimize("rosenbrock", method="gd", lr=1e-3, max_steps=5).x)
    for theirs, parameters in (("sgd", {}), ("MyAdam", {"lr": 0.1})):
        run = flowopt.minimize("rosenbrock", method=f"{outside}:{theirs}", max_steps=5, **parameters)
        same = {"sgd": ("torch:SGD", {"lr": 0.1}), "MyAdam": ("torch:Adam", {"lr": 0.1})}[theirs]
        assert np.array_equal(run.x, flowopt.minimize("rosenbrock", method=same[0], max_steps=5, **same[1]).x)


# --- the command line ---


def command(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["flowopt", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert not ended.value.code


@pytest.mark.slow
def test_explore_takes_formulas_with_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "numbers.json"
    command(
        "explore",
        "rosenbrock",
        "--method",
        FORMULA,
        "--method",
        "gd",
        "--set",
        f"{FORMULA}.pi.rtol=1e-3",
        "--set",
        "friction=2.0",
        "--steps",
        "5",
        "--out",
        str(tmp_path),
        "--json",
        str(out),
        monkeypatch=monkeypatch,
    )
    (first, _) = json.loads(out.read_text())["runs"]
    assert first["method"] == FORMULA
    assert (first["about"]["parts"]["pi"]["rtol"], first["about"]["parts"]["heavy_ball"]["friction"]) == (1e-3, 2.0)
    assert (tmp_path / "rosenbrock-heavy_ball-x-heun-pi.npz").exists()


@pytest.mark.slow
def test_networks_are_trained_by_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ("digits", "--method", NETWORK, "--set", "h=0.01", "--model", "mlp:4", "--epochs", "1")
    command("train", *common, "--out", str(tmp_path / "run"), monkeypatch=monkeypatch)
    command("epsilon", *common, "--out", str(tmp_path / "epsilon"), monkeypatch=monkeypatch)
    command(
        "heatmap",
        "digits",
        "--method",
        NETWORK,
        "--x",
        "h=1e-3:1e-1:2",
        "--y",
        "adam.eps=1e-8,1e-3",
        "--model",
        "mlp:4",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "map"),
        monkeypatch=monkeypatch,
    )
