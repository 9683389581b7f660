"""Every method against something written by somebody else, or once more from its equations: slow, obvious, NumPy.

A straight-line reference is a generator: it says where one step leads, is told where the run really went, and goes on
from there. So every one of a hundred steps is judged to the last digits, also where a run is chaotic.
"""

import math
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import walk
from scipy.integrate import solve_ivp

from flowopt import Method, Trajectory, method, minimize, problem
from flowopt.controllers.fixed import Fixed
from flowopt.core.noise import normal
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.systems.heavy_ball import HeavyBall

Vector = np.ndarray[Any, Any]
Function = Callable[[Vector], tuple[float, Vector]]
Reference = Generator[dict[str, Any], dict[str, Any], None]
Direction = Callable[[Vector], Vector]
"""Where an optimizer with a memory of its own goes from a point: it is asked once a step."""

STARTS = {"rosenbrock": [-1.2, 1.0], "zakharov": [1.0, -0.5, 0.7]}
on_both = pytest.mark.parametrize("name", STARTS)


def function(name: str) -> Function:
    """f and its gradient at a point, as the library's problem measures them."""
    given = problem(name, dim=len(STARTS[name]))

    def measured(x: Vector) -> tuple[float, Vector]:
        value, grad = given.value_and_gradient(torch.from_numpy(x[None]))
        return float(value), grad[0].numpy().copy()

    return measured


def follow(reference: Reference, name: str, chosen: Any, steps: int = 120, seed: int = 0, rel: float = 1e-12) -> None:
    """Check each of that many steps of the run, or those until it converges, against what the reference says of it."""
    given = problem(name, dim=len(STARTS[name]))
    run = walk(chosen, given, torch.tensor([STARTS[name]], dtype=torch.float64), steps, [seed])
    next(run)
    said = next(reference)
    for k, (carry, report) in enumerate(run, start=1):
        assert report is not None
        state = carry.point.state
        ours = {"x": state["q"][0].numpy(), "h": float(report.h[0]), "accepted": bool(report.taken[0])}
        if "p" in state:
            ours["p"] = state["p"][0].numpy()
        assert np.isfinite(ours["x"]).all()
        for part, expected in said.items():
            size = np.abs(expected).max()
            assert ours[part] == pytest.approx(expected, rel=rel, abs=rel * size), f"{part} after step {k}"
        if np.abs(function(name)(ours["x"])[1]).max() < 1e-7:
            assert k > 15, "too short to say anything"
            return
        said = reference.send(ours)


# --- torch.optim ---


def by_torch(name: str, steps: int, decay: dict[str, Any] | None = None, **options: Any) -> Vector:
    f = function(name)
    x = torch.nn.Parameter(torch.tensor([STARTS[name]], dtype=torch.float64))
    optimizer = torch.optim.SGD([x], **options)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, **(decay or {"step_size": steps + 1}))
    path = [x.detach()[0].numpy().copy()]
    for _ in range(steps):
        x.grad = torch.from_numpy(f(path[-1])[1][None])
        optimizer.step()
        scheduler.step()
        path.append(x.detach()[0].numpy().copy())
    return np.array(path)


def ours(name: str, chosen: Any, steps: int, **parameters: Any) -> Trajectory:
    return minimize(problem(name, dim=len(STARTS[name])), STARTS[name], chosen, max_steps=steps, gtol=0.0, **parameters)


@on_both
def test_gradient_descent_is_torch_sgd_bit_for_bit(name: str) -> None:
    assert np.array_equal(ours(name, "gd", 200, lr=1e-3).x[:, 0], by_torch(name, 200, lr=1e-3))


@on_both
@pytest.mark.parametrize(("factor", "every"), [(0.3, 7), (0.9, 1)])
def test_step_decay_is_torch_sgd_with_step_lr_bit_for_bit(name: str, factor: float, every: int) -> None:
    expected = by_torch(name, 200, {"step_size": every, "gamma": factor}, lr=1e-3)
    assert np.array_equal(ours(name, "step_decay", 200, lr=1e-3, factor=factor, every=every).x[:, 0], expected)


GDM = method("gdm", lr=1e-3, beta=0.9)
HEAVY_BALL = Method(HeavyBall(mass=1e-3, friction=1 - 0.9), SymplecticEuler(), Fixed(1e-3))


@on_both
@pytest.mark.parametrize("chosen", [GDM, HEAVY_BALL], ids=["momentum", "heavy ball"])
def test_momentum_is_torch_sgd_bit_for_bit(name: str, chosen: Method) -> None:
    expected = by_torch(name, 200, lr=1e-3, momentum=0.9)
    assert np.array_equal(ours(name, chosen, 200).x[:, 0], expected)


@on_both
def test_look_ahead_is_torch_sgd_nesterov_to_rounding(name: str) -> None:
    """The same numbers added in another order: not bit for bit."""
    lr, beta = 1e-3, 0.9
    chosen = Method(HeavyBall(mass=lr, friction=1 - beta), Lookahead(), Fixed(lr))
    expected = by_torch(name, 200, lr=lr, momentum=beta, nesterov=True)
    assert ours(name, chosen, 200).x[:, 0] == pytest.approx(expected, rel=1e-12)


# --- gradient flows ---


def nesterov(f: Function, x: Vector, s: float) -> Reference:
    y = x
    for k in count():
        x_new = y - s * f(y)[1]
        y = x_new + k / (k + 3) * (x_new - x)
        x = x_new
        yield {"x": y}


@on_both
def test_nesterov(name: str) -> None:
    follow(nesterov(function(name), np.array(STARTS[name]), 5e-4), name, method("nesterov", lr=5e-4))


def rosenbrock_hessian(x: Vector) -> Vector:
    a, b = x
    return np.array([[1200 * a * a - 400 * b + 2, -400 * a], [-400 * a, 200]])


@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_newton(damping: float) -> None:
    f, x = function("rosenbrock"), np.array(STARTS["rosenbrock"])
    path = [x]
    for _ in range(6):
        x = x - np.linalg.solve(rosenbrock_hessian(x) + damping * np.eye(2), f(x)[1])
        path.append(x)
    run = minimize("rosenbrock", method="newton", damping=damping, max_steps=6, gtol=0.0)
    assert run.x[:, 0] == pytest.approx(np.array(path)[: len(run.x)])


def steepest(f: Function) -> Direction:
    return lambda x: f(x)[1]


def with_momentum(f: Function, beta: float) -> Direction:
    p: Any = 0.0

    def direction(x: Vector) -> Vector:
        nonlocal p
        p = beta * p + f(x)[1]
        return p

    return direction


def hypergradient(f: Function, x: Vector, alpha: float, beta: float, form: str, direction: Direction) -> Reference:
    while True:
        u = direction(x)
        told = yield {"x": x - alpha * u, "h": alpha}
        x, alpha = told["x"], told["h"]
        g_new = f(x)[1]
        along = np.dot(g_new, u)
        cosine = along / np.linalg.norm(u) / np.linalg.norm(g_new)
        alpha = alpha + beta * along if form == "additive" else alpha * (1 + beta * cosine)


@on_both
@pytest.mark.parametrize(("form", "beta"), [("additive", 1e-9), ("multiplicative", 2e-2)])
def test_hypergradient(name: str, form: Any, beta: float) -> None:
    f = function(name)
    reference = hypergradient(f, np.array(STARTS[name]), 2e-4, beta, form, steepest(f))
    follow(reference, name, method("hypergradient", lr=2e-4, hyper_lr=beta, rule=form))


def polyak(f: Function, x: Vector, f_star: float, scale: float, h_max: float) -> Reference:
    while True:
        value, g = f(x)
        h = min(scale * (value - f_star) / (g @ g), h_max)
        x = (yield {"x": x - h * g, "h": h})["x"]


@on_both
def test_polyak(name: str) -> None:
    reference = polyak(function(name), np.array(STARTS[name]), -0.1, 0.3, 0.01)
    follow(reference, name, method("polyak", f_star=-0.1, scale=0.3, h_max=0.01))


def sps(f: Function, x: Vector, f_star: float, c: float, growth: float, last: float, h_max: float) -> Reference:
    """SPS_max of Loizou et al. 2021, smoothed."""
    while True:
        value, g = f(x)
        h = min((value - f_star) / (c * (g @ g)), growth * last, h_max)
        told = yield {"x": x - h * g, "h": h}
        x, last = told["x"], told["h"]


@on_both
@pytest.mark.parametrize(("growth", "batches", "h_max"), [(1.2, 1, 1e-2), (4.0, 10, 1.0), (math.inf, 1, 1e-2)])
def test_sps(name: str, growth: float, batches: int, h_max: float) -> None:
    reference = sps(function(name), np.array(STARTS[name]), -0.1, 0.7, growth ** (1 / batches), 1e-4, h_max)
    options = {"epoch_growth": growth, "batches_per_epoch": batches, "h_max": h_max}
    follow(reference, name, method("sps", f_star=-0.1, c=0.7, h0=1e-4, **options))


def sls(f: Function, x: Vector, h: float, c: float, shrink: float, tries: int, growth: float, top: float) -> Reference:
    """SGD + Armijo of Vaswani et al. 2019: the step is searched for, and then made."""
    while True:
        value, g = f(x)
        for _ in range(tries):
            if f(x - h * g)[0] <= value - c * h * (g @ g):
                break
            h *= shrink
        told = yield {"x": x - h * g, "h": h}
        x, h = told["x"], min(growth * told["h"], top)


@on_both
@pytest.mark.parametrize(
    ("tries", "growth", "batches", "h_max"),
    [(100, 1.3, 1, 0.5), (100, 8.0, 10, 0.5), (2, 1.0, 1, 0.5), (100, math.inf, 1, 0.01)],
)
def test_sls(name: str, tries: int, growth: float, batches: int, h_max: float) -> None:
    h0, c, shrink = (0.3 if tries > 2 else 5e-3), 0.2, 0.7
    per_step = growth ** (1 / batches)
    reference = sls(function(name), np.array(STARTS[name]), min(h0, h_max), c, shrink, tries, per_step, h_max)
    options = {"epoch_growth": growth, "batches_per_epoch": batches, "h_max": h_max}
    follow(reference, name, method("sls", h0=h0, c1=c, backtrack=shrink, tries=tries, **options))


def armijo(f: Function, x: Vector, h: float, c: float, shrink: float, grow: float) -> Reference:
    while True:
        value, g = f(x)
        trial = x - h * g
        good = f(trial)[0] <= value - c * h * (g @ g)
        told = yield {"x": trial if good else x, "h": h, "accepted": good}
        x, h = told["x"], told["h"] * (grow if good else shrink)


@on_both
def test_armijo(name: str) -> None:
    reference = armijo(function(name), np.array(STARTS[name]), 0.3, 1e-2, 0.6, 1.7)
    follow(reference, name, method("armijo", h0=0.3, c1=1e-2, backtrack=0.6, grow=1.7))


def ecco(f: Function, x: Vector, eta: float, scaling: str, difference: str, normalise: str | None) -> Reference:
    """ECCO-DNN: eqs 8 to 10, 14, 15."""
    g_old, d_old, alpha = None, np.zeros_like(x), math.nan
    while True:
        g = f(x)[1]
        z = np.ones_like(x)
        if scaling == "curvature":
            z = np.maximum(g * (rosenbrock_hessian(x) @ g), 1)
        elif scaling == "gradient_difference" and g_old is not None:
            change = (g_old - g) / alpha if difference == "divide" else (g_old - g) * alpha
            z = np.sqrt(np.maximum(1, g * change))
        if normalise == "max":
            z = z / z.max()
        elif normalise == "mean":
            z = z / z.mean()
        d = z * g
        change = np.abs(d_old - d).max()
        alpha = 1.0 if change == 0 else min(2 * eta / change, 1.0)
        told = yield {"x": x - alpha * d, "h": alpha}
        g_old, d_old, x, alpha = g, d, told["x"], told["h"]


@on_both
@pytest.mark.parametrize("difference", ["divide", "multiply"])
@pytest.mark.parametrize("normalise", [None, "max", "mean"])
def test_ecco(name: str, difference: Any, normalise: Any) -> None:
    reference = ecco(function(name), np.array(STARTS[name]), 1e-2, "gradient_difference", difference, normalise)
    follow(reference, name, method("ecco", eta=1e-2, difference=difference, normalise=normalise))


@pytest.mark.parametrize("scaling", ["identity", "curvature"])
def test_ecco_with_other_scalings(scaling: Any) -> None:
    """The exact curvature diverges on Rosenbrock, as it should: it is followed as long as its steps can be told."""
    reference = ecco(function("rosenbrock"), np.array(STARTS["rosenbrock"]), 1e-4, scaling, "divide", None)
    steps = 60 if scaling == "curvature" else 120
    follow(reference, "rosenbrock", method("ecco", eta=1e-4, scaling=scaling), steps, rel=1e-10)


def ecco_stable(f: Function, x: Vector, eta: float, safety: float, h_max: float) -> Reference:
    g = f(x)[1]
    h = min(2 * eta / np.abs(g).max(), h_max)
    while True:
        told = yield {"x": x - h * g, "h": h}
        x_new, g_new = told["x"], f(told["x"])[1]
        lipschitz = np.linalg.norm(g_new - g) / np.linalg.norm(x_new - x)
        h = min(2 * eta / np.abs(g_new - g).max(), safety * 2 / lipschitz, h_max)
        x, g = x_new, g_new


@on_both
def test_ecco_stable(name: str) -> None:
    reference = ecco_stable(function(name), np.array(STARTS[name]), 0.01, 0.1, 0.05)
    follow(reference, name, method("ecco_stable", eta=0.01, safety=0.1, h_max=0.05))


def elra(f: Function, x: Vector, alpha: float, kappa: Any, gamma_max: float, printed: bool, epoch: Any) -> Reference:
    """ELRA, sections 3.1 and 3.2, with its soft restarts."""
    value, g = f(x)
    bound = value + 0.1 * abs(value)
    seen: list[float] = []
    while True:
        trial = x - alpha * g
        value_new, g_new = f(trial)
        good = value_new <= bound
        told = yield {"x": trial if good else x, "h": alpha, "accepted": good}
        x, alpha = told["x"], told["h"]
        if not good:
            slope = alpha * (np.linalg.norm(g) if printed else g @ g)
            alpha = np.clip(0.5 * alpha * slope / (value_new - value + slope), 1e-8, 1e6)
            continue
        value_new, g_new = f(x)
        denominator = g @ g - g @ g_new
        ratio = g @ g / denominator if denominator > 0 else gamma_max
        k = 1 + 0.15 / (1 + alpha**2) if kappa == "auto" else kappa
        alpha = np.clip(alpha * min(gamma_max, ratio * k), 1e-8, 1e6)
        value, g = value_new, g_new
        seen.append(value)
        if epoch is not None and len(seen) == epoch:
            bound = np.mean(seen) + 5 * np.std(seen)
            seen = []


@on_both
@pytest.mark.parametrize("printed", [False, True])
@pytest.mark.parametrize(("kappa", "gamma_max"), [(0.5, 1e6), (0.6, 2.0), ("auto", 10.0)])
@pytest.mark.parametrize("epoch", [None, 7])
def test_elra(name: str, kappa: Any, gamma_max: float, printed: bool, epoch: int | None) -> None:
    reference = elra(function(name), np.array(STARTS[name]), 1e-2, kappa, gamma_max, printed, epoch)
    chosen = method(
        "elra",
        alpha0=1e-2,
        kappa=kappa,
        gamma_max=gamma_max,
        retrace_formula="printed" if printed else "corrected",
        retrace="initial" if epoch is None else "epoch",
        epoch_length=epoch,
    )
    follow(reference, name, chosen)


def tlr(f: Function, x: Vector, alpha: float, gamma: float, direction: Direction) -> Reference:
    """TLR, eq 8."""
    while True:
        g = f(x)[1]
        told = yield {"x": x - alpha * direction(x), "h": alpha}
        u = x - told["x"]
        x, alpha = told["x"], told["h"]
        g_new = f(x)[1]
        if u @ (g - g_new) > 0:
            factor = min(100.0, 1 + gamma * (u @ g_new) / (u @ (g - g_new)))
            alpha = alpha * factor if factor > 0 else alpha


@on_both
@pytest.mark.parametrize("gamma", [0.33, 0.02])
def test_tlr_every_step(name: str, gamma: float) -> None:
    f = function(name)
    reference = tlr(f, np.array(STARTS[name]), 1e-3, gamma, steepest(f))
    follow(reference, name, method("tlr", lr=1e-3, gamma=gamma))


def tlr_averages(x: Vector, alpha: float, gamma: float, K: int, lagged: bool, direction: Direction) -> Reference:
    """TLR on the moves over K steps; `lagged` looks after steps K+1, 2K+1, ... as the authors' code."""
    cached, old = (None if lagged else x), None
    for step in count(1):
        told = yield {"x": x - alpha * direction(x), "h": alpha}
        x, alpha = told["x"], told["h"]
        looks = step % K == 0 if not lagged else step > 1 and (step - 1) % K == 0
        if not looks:
            continue
        if cached is not None:
            new = (cached - x) / alpha
            if old is not None and old @ old - old @ new > 0:
                factor = min(100.0, 1 + gamma * (old @ new) / (old @ old - old @ new))
                alpha = alpha * factor if factor > 0 else alpha
            old = new
        cached = x


@on_both
@pytest.mark.parametrize(
    ("K", "lagged", "gamma", "beta"),
    [
        (3, False, 5e-4, 0.0),
        (4, True, 2e-3, 0.0),
        (3, False, 2e-4, 0.5),
        (1, True, 2e-3, 0.5),
        (4, True, 2e-3, 0.5),
    ],
)
def test_tlr_on_averages(name: str, K: int, lagged: bool, gamma: float, beta: float) -> None:
    direction = with_momentum(function(name), beta)
    reference = tlr_averages(np.array(STARTS[name]), 1e-4, gamma, K, lagged, direction)
    options: dict[str, Any] = {"lr": 1e-4, "gamma": gamma, "K": K, "schedule": "lagged" if lagged else "in_step"}
    chosen = method("tlr_gdm", beta=beta, **options) if beta else method("tlr", **options)
    follow(reference, name, chosen, rel=1e-10)  # differences of positions cancel


# --- Hamiltonian systems ---


def ecdsep(
    f: Function,
    x: Vector,
    seed: int = 0,
    eta: float = 1.0,
    dt: float = 0.4,
    nu: float = 0.0,
    F0: float = 0.0,
    dE: float = 0.0,
    s: int = 1,
    w: float = 0.0,
    conserve: bool = True,
    strang: bool = False,
    tune: bool = False,
) -> Reference:
    """ECDSep: Algorithm 1, and with `tune` Algorithm 2; with `strang` the kick is halved around the drift."""

    def base(x: Vector) -> float:
        return f(x)[0] + 0.5 * w * (x @ x) - F0

    def force(x: Vector) -> Vector:
        return -eta / base(x) * (f(x)[1] + w * x)

    def project(p: Vector, x: Vector) -> Vector:
        square, target = p @ p, energy / base(x) ** eta - s
        if conserve and abs(square - target) > 1e-10 and target > 0 and square > 0:
            return p * math.sqrt(target / square)
        return p

    g = f(x)[1]
    dE = 1.0 if s == 0 else dE
    energy = base(x) ** eta * (s + dE)
    p = -math.sqrt(dE) * g / np.linalg.norm(g)
    for k in count():
        V = base(x) ** eta
        if tune and V < 1e-40:
            F0 += 5 * V
        else:
            p = project(p, x)
            p = p + (0.5 * dt if strang else dt) * force(x)
            x = x + 2 * dt * p / (p @ p + s)
            if strang:
                p = p + 0.5 * dt * force(x)
            if nu > 0:
                z = normal(torch.tensor([seed]), torch.tensor([k]), len(x))[0].numpy()
                size = np.linalg.norm(p)
                p = p / size + nu * z
                p = size * p / np.linalg.norm(p)
        held = tune and base(x) ** eta < 1e-40
        told = yield {"x": x, "p": p if held else project(p, x)}
        x, p = told["x"], told["p"]


RENAMED = {
    "eta": "exponent",
    "dE": "delta_energy",
    "w": "weight_decay",
    "conserve": "conserve_energy",
    "tune": "tune_F0",
}


@on_both
@pytest.mark.parametrize("strang", [False, True], ids=["euler", "strang"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dE": 2.0, "eta": 1.5, "F0": -0.1},
        {"s": 0, "eta": 2.0, "dt": 0.02, "F0": -1.0},
        {"dE": 1.0, "w": 0.3, "conserve": False, "dt": 0.1, "F0": -0.2},
        {"dE": 1.0, "w": 0.3, "nu": 0.05, "dt": 0.1, "F0": -0.2},
    ],
    ids=str,
)
def test_ecdsep(name: str, options: dict[str, Any], strang: bool) -> None:
    reference = ecdsep(function(name), np.array(STARTS[name]), seed=11, strang=strang, **options)
    parameters = {"nu": 0.0} | {RENAMED.get(key, key): value for key, value in options.items()}
    chosen = method("ecdsep_strang" if strang else "ecdsep", **parameters)
    follow(reference, name, chosen, seed=11)


def test_ecdsep_tunes_f0() -> None:
    """Algorithm 2 where the minimum lies below F0, as in the authors' notebook."""
    options = {"F0": 0.5, "dE": 1.0, "tune": True, "dt": 0.1}
    reference = ecdsep(function("zakharov"), np.array(STARTS["zakharov"]), **options)
    parameters = {RENAMED.get(key, key): value for key, value in options.items()}
    follow(reference, "zakharov", method("ecdsep", nu=0.0, **parameters), steps=300)
    run = ours("zakharov", "ecdsep", 300, nu=0.0, **parameters)
    held = (run.x[1:] == run.x[:-1]).all(-1)
    assert held.any(), "there was something to tune"


def bbi(f: Function, x: Vector, dt: float, v0: float, dE: float, conserve: bool) -> Reference:
    """BBI: E^2 = V (V + |p|^2), without bounces."""

    def project(p: Vector, x: Vector) -> Vector:
        V = f(x)[0] - v0
        square, target = p @ p, E * E / V - V
        if conserve and abs(square - target) > 1e-10 and target > 0 and square > 0:
            return p * math.sqrt(target / square)
        return p

    value, g = f(x)
    E = value - v0 + dE
    p = -math.sqrt(E * E / (value - v0) - (value - v0)) * g / np.linalg.norm(g)
    while True:
        value, g = f(x)
        V = value - v0
        p = project(p, x)
        p = p - 0.5 * dt * (V / E + E / V) * g
        x = x + dt * (V / E) * p
        told = yield {"x": x, "p": project(p, x)}
        x, p = told["x"], told["p"]


@on_both
@pytest.mark.parametrize("conserve", [True, False])
@pytest.mark.parametrize(("v0", "dE"), [(0.0, 0.0), (-1.0, 0.5)])
def test_bbi(name: str, conserve: bool, v0: float, dE: float) -> None:
    reference = bbi(function(name), np.array(STARTS[name]), 5e-3, v0, dE, conserve)
    follow(reference, name, method("bbi", dt=5e-3, v0=v0, added_energy=dE, conserve_energy=conserve))


# --- SciPy's own solvers ---


@on_both
@pytest.mark.parametrize("rtol", [1e-4, 1e-7, 1e-10])
def test_flow_is_as_good_as_scipys_runge_kutta(name: str, rtol: float) -> None:
    f, x0 = function(name), np.array(STARTS[name])
    t = 0.3

    def reference(solver: str, rtol: float, atol: float) -> Any:
        return solve_ivp(lambda _, x: -f(x)[1], (0, t), x0, method=solver, rtol=rtol, atol=atol)

    exact = reference("DOP853", 1e-13, 1e-15).y[:, -1]
    theirs = reference("RK45", rtol, 1e-3 * rtol)
    run = ours(name, "flow", 10_000, t_end=t, rtol=rtol, atol=1e-3 * rtol)
    assert run.t[-1, 0] == t
    error, their_error = (np.abs(end - exact).max() for end in (run.final_x[0], theirs.y[:, -1]))
    assert error < 10 * rtol
    assert error < 5 * their_error
    assert run.evaluations["gradient"][0] < 2 * theirs.nfev + 30
