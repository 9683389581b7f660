"""The adaptive flows: their updates against other people's, their fields against the equations, and what eps does."""

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from catalogue import ADAPTIVE, Measured, in_steps, walk
from scipy.integrate import solve_ivp
from test_integrators import step
from test_oracles import (
    STARTS,
    Direction,
    Function,
    Reference,
    Vector,
    follow,
    function,
    hypergradient,
    on_both,
    ours,
    tlr,
    tlr_averages,
)
from together import together

from flowopt import Method, Problem, method, minimize, problem, reference
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.lte import LTE
from flowopt.controllers.pi import PI
from flowopt.controllers.step_decay import StepDecay
from flowopt.core.parts import Integrator
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.runge_kutta import RK4, DormandPrince, Heun
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods import METHODS
from flowopt.systems.adabelief import AdaBelief
from flowopt.systems.adagrad import AdaGrad
from flowopt.systems.adam import Adam
from flowopt.systems.adamod import AdaMod
from flowopt.systems.adamomentum import AdaMomentum
from flowopt.systems.adaptive_flow import AdaptiveFlow
from flowopt.systems.amsgrad import AMSGrad
from flowopt.systems.diffgrad import DiffGrad
from flowopt.systems.eadam import EAdam
from flowopt.systems.madgrad import MADGRAD
from flowopt.systems.rmsprop import RMSprop

STEPS = 500

# --- the published updates: other people's ---


def adam_of(optimizer: Any, **fixed: Any) -> Callable[..., Any]:
    """A class with Adam's signature, called by our names."""

    def make(x: Any, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, **options: Any) -> Any:
        betas = (beta1, beta2, *(options[name] for name in ("beta3",) if name in options))
        return optimizer(x, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, **fixed)

    return make


def madgrad_library(x: Any, lr: float, beta1: float, eps: float, weight_decay: float, dual_averaging: bool) -> Any:
    """The library takes lr + eps for lr."""
    assert dual_averaging
    decay = {"weight_decay": weight_decay, "weight_decouple": False}
    return pytorch_optimizer.MADGRAD(x, lr - eps, momentum=beta1, eps=eps, **decay)


LIBRARY: dict[str, Callable[..., Any]] = {
    "adagrad": torch.optim.Adagrad,
    "rmsprop": lambda x, beta2, **options: torch.optim.RMSprop(x, alpha=beta2, **options),
    "adam": adam_of(torch.optim.Adam),
    "adamw": adam_of(torch.optim.AdamW),
    "amsgrad": adam_of(torch.optim.Adam, amsgrad=True),
    "adabelief": adam_of(pytorch_optimizer.AdaBelief, weight_decouple=False),
    "diffgrad": adam_of(pytorch_optimizer.DiffGrad, weight_decouple=False),
    "adamod": adam_of(pytorch_optimizer.AdaMod, weight_decouple=False),
    "madgrad": madgrad_library,
}
"""Where another library has the formula that we have."""

GENTLE = {"adagrad": 1e-2, "rmsprop": 3e-4, "adamod": 1e-2, "madgrad": 1e-4}
"""Learning rates (1e-3 for the others) at which a whole run is smooth: rounding does not grow."""

SETTINGS: list[dict[str, Any]] = [
    {"weight_decay": 0.0},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "beta1": 0.7, "beta2": 0.99, "beta3": 0.98, "eps": 1e-5},
]


def named(setting: dict[str, Any]) -> str:
    return ", ".join(map(str, setting.values()))


def options_of(chosen: str, setting: dict[str, Any], lr: float) -> dict[str, Any]:
    """All the parameters of a named method, in the library's form."""
    known = METHODS[chosen].defaults
    given = {"lr": lr, "form": "library"} | setting
    return known | {name: value for name, value in given.items() if name in known}


def library(name: str, chosen: str, options: dict[str, Any]) -> Reference:
    """The library's optimizer, which is told before each step where the run is; its memories are its own."""
    f = function(name)
    x = torch.nn.Parameter(torch.tensor(STARTS[name], dtype=torch.float64))
    optimizer = LIBRARY[chosen]([x], **options)
    while True:
        x.grad = torch.from_numpy(f(x.detach().numpy())[1])
        optimizer.step()
        told = yield {"x": x.detach().numpy().copy()}
        with torch.no_grad():
            x.copy_(torch.from_numpy(told["x"]))


def alone(run: Reference, steps: int) -> Vector:
    """Where a reference goes if nobody tells it anything else, without the start."""
    path = [next(run)["x"]]
    while len(path) < steps:
        path.append(run.send({"x": path[-1]})["x"])
    return np.array(path)


@on_both
@pytest.mark.parametrize("setting", SETTINGS, ids=named)
@pytest.mark.parametrize("chosen", LIBRARY)
def test_a_run_is_the_librarys(chosen: str, setting: dict[str, Any], name: str) -> None:
    options = options_of(chosen, setting, GENTLE.get(chosen, 1e-3))
    expected = alone(library(name, chosen, options), STEPS)
    found = ours(name, chosen, STEPS, **options).x[1:, 0]
    assert np.abs(expected[-1] - STARTS[name]).max() > 0.05, "it went somewhere"
    assert np.all(np.abs(found - expected).max(-1) <= 1e-12 * np.abs(expected).max(-1))


# MADGRAD finds the minimiser 0 of Zakharov's function as a difference of numbers of size 1: to 1e-16, and no digit more
JUDGED = [(chosen, name) for chosen in LIBRARY for name in STARTS if (chosen, name) != ("madgrad", "zakharov")]


@together("setting", [SETTINGS[0], SETTINGS[-1]])
@together(("chosen", "name"), JUDGED)
def test_every_step_is_the_librarys_also_in_a_chaotic_run(chosen: str, name: str, setting: dict[str, Any]) -> None:
    options = options_of(chosen, setting, 0.05)
    follow(library(name, chosen, options), name, method(chosen, **options))


@on_both
@pytest.mark.parametrize("chosen", ["adam", "amsgrad", "rmsprop"])
def test_a_scheduler_changes_the_steps_and_not_the_memories(chosen: str, name: str) -> None:
    """As torch's StepLR does it."""
    f, every, factor = function(name), 20, 0.7
    x = torch.nn.Parameter(torch.tensor(STARTS[name], dtype=torch.float64))
    options = options_of(chosen, {}, 1e-3)
    optimizer = LIBRARY[chosen]([x], **options)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, every, factor)
    expected = []
    for _ in range(STEPS):
        x.grad = torch.from_numpy(f(x.detach().numpy())[1])
        optimizer.step()
        scheduler.step()
        expected.append(x.detach().numpy().copy())
    scheduled = Method(method(chosen, **options).system, SymplecticEuler(), StepDecay(1e-3, factor, every))
    found = ours(name, scheduled, STEPS).x[1:, 0]
    assert np.all(np.abs(found - expected).max(-1) <= 1e-12 * np.abs(expected).max(-1))


# --- the published updates: once more, from Table 5 of the epsilon paper, with eps added in every step ---


def table_5(f: Function, x: Vector, chosen: str, lr: float, eps: float, w: float = 0.0, **betas: float) -> Reference:
    """Straight-line: m, v, s as printed; the move is alpha_t times the corrected momentum."""
    beta1, beta2, beta3 = (betas.get(name, 0.0) for name in ("beta1", "beta2", "beta3"))
    m, v, s, rates = (np.zeros_like(x) for _ in range(4))
    g_old = np.zeros_like(x)
    for t in count(1):
        g = f(x)[1] + w * x
        if chosen == "madgrad":  # from t = 0: lambda_t = alpha sqrt(t + 1)
            weighted = lr * math.sqrt((t - 1) + 1) * g
            v = v + weighted * g
            m = beta1 * m + (1 - beta1) * weighted
            move = m / (v ** (1 / 3) + eps)
        else:
            m = beta1 * m + (1 - beta1) * g
            m_hat = m / (1 - beta1**t)
            averaged = {"adabelief": g - m, "adamomentum": m}.get(chosen, g) ** 2
            v = beta2 * v + (1 - beta2) * averaged
            s = beta2 * s + (1 - beta2) * averaged + eps
            v_hat, s_hat = v / (1 - beta2**t), s / (1 - beta2**t)
            alpha = {
                "adabelief": lr / (np.sqrt(s_hat) + eps),
                "eadam": lr / np.sqrt(s_hat),
                "adamomentum": lr / np.sqrt(s_hat),
                "diffgrad": lr / (1 + np.exp(-np.abs(g_old - g))) / (np.sqrt(v_hat) + eps),
                "adamod": lr / (np.sqrt(v_hat) + eps),
            }[chosen]
            if chosen == "adamod":
                rates = beta3 * rates + (1 - beta3) * alpha
                alpha = np.minimum(alpha, rates)
            move = alpha * m_hat
        g_old = g
        x = (yield {"x": x - move})["x"]


@on_both
@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        ("eadam", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
        ("eadam", {"lr": 0.05, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3}),
        ("adamomentum", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16}),
        ("adamomentum", {"lr": 0.05, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3}),
        ("adabelief", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16}),
        ("adabelief", {"lr": 0.05, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3}),
        ("diffgrad", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
        ("diffgrad", {"lr": 0.05, "beta1": 0.7, "beta2": 0.95, "eps": 1.0}),
        ("adamod", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "beta3": 0.9999, "eps": 1e-8}),
        ("adamod", {"lr": 0.05, "beta1": 0.7, "beta2": 0.95, "beta3": 0.9, "eps": 1.0}),
        ("madgrad", {"lr": 1e-2, "beta1": 0.9, "eps": 1e-6}),
        ("madgrad", {"lr": 1e-3, "beta1": 0.5, "eps": 0.3}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value["lr"]),
)
def test_table_5(chosen: str, options: dict[str, float], name: str) -> None:
    """The rougher settings have a weight decay as well."""
    more = {"dual_averaging": False} if chosen == "madgrad" else {}
    w = 0.1 if options["eps"] >= 1e-3 else 0.0
    run = table_5(function(name), np.array(STARTS[name]), chosen, w=w, **options)
    follow(run, name, method(chosen, weight_decay=w, **options, **more), STEPS)


# --- where formulas differ on purpose: by how much ---

SLOPE = 1e-3


def slope(size: float = SLOPE) -> Problem:
    """A plane with a constant gradient, on which every memory is a closed form."""
    return Problem("slope", lambda q: size * q.sum(-1), 1)


def moves(chosen: str, steps: int, size: float = SLOPE, **options: Any) -> Vector:
    """How far each step goes down the slope, over its learning rate."""
    run = minimize(slope(size), [0.0], chosen, max_steps=steps, gtol=0.0, **options)
    return -np.diff(run.x[:, 0, 0]) / run.h[1:, 0]


def test_diffgrad_adds_eps_after_the_correction_or_before_it() -> None:
    """The library's eps is that of the paper over sqrt(1 - beta2^k): 32 times as large in the first step."""
    eps, beta2 = 1e-3, 0.999
    k = np.arange(1, 31)
    friction = np.where(k == 1, 1 / (1 + math.exp(-SLOPE)), 0.5)
    weight = np.sqrt(1 - beta2**k)
    assert 1 / weight[0] == pytest.approx(31.6, abs=0.1)
    for form, added in (("paper", eps), ("library", eps / weight)):
        found = moves("diffgrad", 30, eps=eps, form=form)
        assert found == pytest.approx(friction * SLOPE / (SLOPE + added), rel=1e-11)


def test_adamod_averages_the_rates_with_or_without_the_correction_of_m() -> None:
    """With it the rates start at 1 / (1 - beta1) times as much, and m, which they multiply, at 1 - beta1 as little."""
    beta1, beta3 = 0.9, 0.99
    k = np.arange(1, 41)
    options = {"beta1": beta1, "beta3": beta3, "eps": 1e-300}
    weight = 1 - beta1**k
    averaged = [(1 - beta3) * sum(beta3 ** (j - i) / weight[i - 1] for i in range(1, j + 1)) for j in k]
    paper, printed = moves("adamod", 40, form="paper", **options), 1 - beta3**k
    assert paper == pytest.approx(printed, rel=1e-11)
    theirs = moves("adamod", 40, form="library", **options)
    assert theirs == pytest.approx(weight * np.minimum(1 / weight, averaged), rel=1e-11)
    assert theirs[0] == pytest.approx(paper[0], rel=1e-11)
    assert (theirs / paper)[[1, 9, 39]] == pytest.approx([1.45, 2.13, 1.55], abs=0.005)


def test_adamod_adds_eps_after_the_correction_or_before_it() -> None:
    eps, beta2, beta3 = 1e-3, 0.999, 0.9
    for form, added in (("paper", eps), ("library", eps / math.sqrt(1 - beta2))):
        (first,) = moves("adamod", 1, eps=eps, beta3=beta3, form=form)
        assert first == pytest.approx((1 - beta3) * SLOPE / (SLOPE + added), rel=1e-11)


def test_madgrad_takes_lr_where_the_library_takes_lr_plus_eps() -> None:
    """Which is (1 + eps / lr)^(2/3) times as far in the first step where eps does not count otherwise."""
    lr, eps, beta1 = 1e-2, 1e-3, 0.9
    size = 1e6
    x = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    x.grad = torch.full_like(x, size)
    pytorch_optimizer.MADGRAD([x], lr, momentum=beta1, eps=eps).step()
    theirs = -float(x.detach())
    for rate in (lr, lr + eps):
        (mine,) = rate * moves("madgrad", 1, size, lr=rate, beta1=beta1, eps=eps)
        assert mine == pytest.approx((1 - beta1) * rate * size / ((rate * size**2) ** (1 / 3) + eps), rel=1e-13)
        assert (mine / theirs == pytest.approx(1, rel=1e-13)) == (rate == lr + eps)
    assert theirs / moves("madgrad", 1, size, lr=lr, beta1=beta1, eps=eps)[0] / lr == pytest.approx(
        (1 + eps / lr) ** (2 / 3), rel=1e-5
    )


def test_madgrad_with_dual_averaging_and_without() -> None:
    """With it the position is where the sum of the gradients, divided at last, puts it; without it every step stays,
    as large as its own divisor made it: down a slope that leads half as far again.
    """
    lr, eps, steps = 1e-2, 1e-6, 30
    roots = np.sqrt(np.arange(1, steps + 1))
    divisor = (lr * roots.cumsum() * SLOPE**2) ** (1 / 3) + eps
    options = {"lr": lr, "eps": eps, "beta1": 0.0}
    dual = lr * moves("madgrad", steps, **options).cumsum()
    plain = lr * moves("madgrad", steps, dual_averaging=False, **options).cumsum()
    assert dual == pytest.approx(lr * roots.cumsum() * SLOPE / divisor, rel=1e-11)
    assert plain == pytest.approx((lr * roots * SLOPE / divisor).cumsum(), rel=1e-11)
    assert dual[0] == pytest.approx(plain[0], rel=1e-13)
    assert 1.4 < plain[-1] / dual[-1] < 1.5


# --- the fields ---

STEP, BETA1, BETA2, BETA3 = 0.05, 0.9, 0.98, 0.95
T1, T2, T3 = (STEP / (1 - beta) for beta in (BETA1, BETA2, BETA3))
EPS, DECAY = 1e-2, 0.1
SHARED: dict[str, Any] = {"step": STEP, "eps": EPS, "weight_decay": DECAY}
AVERAGES = SHARED | {"beta1": BETA1, "beta2": BETA2}
FIELDS: dict[str, AdaptiveFlow] = {
    "adagrad": AdaGrad(**SHARED),
    "rmsprop": RMSprop(beta2=BETA2, **SHARED),
    "adam": Adam(**AVERAGES),
    "amsgrad": AMSGrad(**AVERAGES),
    "diffgrad": DiffGrad(**AVERAGES),
    "adamod": AdaMod(beta3=BETA3, **AVERAGES),
    "adabelief": AdaBelief(**AVERAGES),
    "eadam": EAdam(**AVERAGES),
    "adamomentum": AdaMomentum(**AVERAGES),
    "madgrad": MADGRAD(beta1=BETA1, **SHARED),
    "madgrad without dual averaging": MADGRAD(beta1=BETA1, dual_averaging=False, **SHARED),
}


def quotient(average: Vector, weight: float, begins: Vector) -> Vector:
    return begins if weight == 0 else average / weight


def by_hand(name: str, t: float, y: Vector, gradient: Callable[[Vector], Vector], q_0: Vector) -> Vector:
    """d/dt of position, m or s, v, and the fourth that some have, as the equations say it of time."""
    q, m, v, other = y.reshape(4, -1)
    g = gradient(q) + DECAY * q
    c1, c2 = -np.expm1(-t / T1), -np.expm1(-t / T2)
    zero = np.zeros_like(q)
    if name == "adagrad":
        return np.concatenate([-g / (np.sqrt(v) + EPS), zero, g * g / STEP, zero])
    if name == "rmsprop":
        return np.concatenate([-g / (np.sqrt(v) + EPS), zero, (g * g - v) / T2, zero])
    if name.startswith("madgrad"):
        k = t / STEP
        v_dot, root = math.sqrt(k) * g * g, np.cbrt(v) + EPS
        if "without" in name:
            return np.concatenate([-m / STEP / root, (STEP * math.sqrt(k) * g - m) / T1, v_dot, zero])
        return np.concatenate([(q_0 - m / root - q) / T1, math.sqrt(k) * g, v_dot, zero])
    averaged = {"adabelief": (g - m) ** 2, "adamomentum": m * m}.get(name, g * g)
    m_hat, v_hat = quotient(m, c1, g), quotient(v, c2, averaged)
    eps_sum = EPS / (1 - BETA2)
    other_dot = zero
    if name in ("eadam", "adamomentum"):
        a = 1 / np.sqrt(v_hat + eps_sum)
    elif name == "adabelief":
        a = 1 / (np.sqrt(v_hat + eps_sum) + EPS)
    elif name == "amsgrad":
        a = 1 / (np.sqrt(quotient(np.maximum(v, other), c2, averaged)) + EPS)
        other_dot = np.maximum(v - other, 0) / STEP
    else:
        a = 1 / (np.sqrt(v_hat) + EPS)
        if name == "diffgrad":
            a = a / 2
        elif name == "adamod":  # the average of the rates, over the step
            other_dot = (a - other) / T3
            a = np.minimum(a, other)
    return np.concatenate([-a * m_hat, (g - m) / T1, (averaged - v) / T2, other_dot])


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_is_the_one_of_the_equations(name: str) -> None:
    """Time constants step / (1 - beta), corrections 1 - exp(-t / (time constant)), and all that from t = 0."""
    f, x0, t_end = function("zakharov"), np.array(STARTS["zakharov"]), 1.5
    start = np.concatenate([x0, np.zeros(3 * len(x0))])
    tight: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-13}
    exact = solve_ivp(
        lambda t, y: by_hand(name, t, y, lambda q: f(q)[1], x0), (0, t_end), start, "DOP853", dense_output=True, **tight
    )
    assert exact.success
    found = reference(problem("zakharov", dim=3), x0, t_end, FIELDS[name], **tight, t_eval=np.linspace(0, t_end, 31))
    expected = exact.sol(found.t[:, 0])[: len(x0)].T
    assert np.abs(expected[-1] - x0).max() > 0.2
    assert np.abs(found.x[:, 0] - expected).max() < 2e-8


@together("name", ADAPTIVE)
def test_the_field_is_finite_at_the_start(name: str) -> None:
    """Where all memories are 0; also where there is no slope."""
    system = ADAPTIVE[name]()
    measure = Measured(lambda q: (0.5 * q.square().sum(-1), q))
    q = torch.tensor([[3.0, -1e-3, 0.0]], dtype=torch.float64)
    state = system.start(q, measure(q), measure)
    slopes = system.rate(state, measure(q), measure)
    assert set(slopes) >= {"q", "v"}
    for slope in slopes.values():
        assert torch.isfinite(slope).all()
    assert float(slopes["q"][0, 2]) == 0


def test_adams_field_begins_with_the_slope_over_its_size() -> None:
    """The limit of m^ / (sqrt(v^) + eps) as t goes to 0, where both are 0 over 0."""
    system, measure = Adam(eps=0.1), Measured(lambda q: (0.5 * q.square().sum(-1), q))
    q = torch.tensor([[3.0, -0.1, 0.0]], dtype=torch.float64)
    slope = system.rate(system.start(q, measure(q), measure), measure(q), measure)["q"]
    assert slope[0].tolist() == pytest.approx([-3 / 3.1, 0.5, 0], rel=1e-14)


@pytest.mark.parametrize("name", [name for name in FIELDS if not name.startswith("madgrad")])
def test_the_lyapunov_function_falls_along_the_flow(name: str) -> None:
    """And f alone does not, where there is momentum."""
    system = FIELDS[name]
    path = reference("rosenbrock", [-1.2, 1.0], 3.0, system, rtol=1e-9, atol=1e-11, t_eval=np.linspace(0, 3, 301))
    assert np.all(np.diff(path.energy[:, 0]) <= 1e-9)
    lowered = path.f[:, 0] + DECAY / 2 * (path.x[:, 0] ** 2).sum(-1)
    assert path.energy[0, 0] == pytest.approx(lowered[0], rel=1e-14)
    assert np.all(path.energy[:, 0] >= lowered - 1e-12)
    if isinstance(system, Adam):
        assert np.diff(lowered).max() > 1e-4
    else:
        assert np.array_equal(path.energy[:, 0], lowered)


# --- steps and flow ---


def orders(errors: list[float]) -> Vector:
    return -np.diff(np.log2(errors))


BEGINNINGS = [(system, 1.0) for name, system in FIELDS.items() if name not in ("adagrad", "rmsprop")] + [
    (AdaGrad(step=STEP, eps=100.0), 1.0),
    (RMSprop(step=STEP, eps=100.0, beta2=BETA2), 1.0),
    (AdaGrad(step=STEP, eps=1e-8), 0.5),
]
"""With the order from the start. Where v begins at 0 uncorrected the field begins like 1 / sqrt(t) unless eps is large;
from a later time on the order is 1 again (tests/test_integrators.py).
"""


@pytest.mark.parametrize(("system", "order"), BEGINNINGS)
def test_the_update_follows_the_field_to_first_order(system: AdaptiveFlow, order: float) -> None:
    """From the start of both, with the betas that keep the time constants: see `in_steps`."""
    errors = []
    for steps in (200, 400):
        published, _ = in_steps(system, 0.6 / steps)
        exact = reference(
            problem("zakharov", dim=3), STARTS["zakharov"], steps * published.step, published, rtol=1e-10, t_eval=[]
        )
        run = ours("zakharov", Method(published, SymplecticEuler(), Fixed(published.step)), steps)
        errors.append(float(np.abs(run.final_x[0] - exact.final_x[0]).max()))
    assert errors[-1] > 1e-6
    assert orders(errors) == pytest.approx(order, abs=0.15), errors


@pytest.mark.parametrize(
    ("integrator", "order", "counts"),
    [(ForwardEuler(), 1, (128, 256)), (Heun(), 2, (64, 128)), (RK4(), 4, (32, 64))],
)
def test_the_order_of_other_schemes_on_adams_flow(integrator: Integrator, order: int, counts: tuple[int, int]) -> None:
    """Down Zakharov's function, from where the equations lead in a while."""
    f, x0, t_0, t_1 = function("zakharov"), np.array(STARTS["zakharov"]), 0.3, 0.8

    def flow(start: float, end: float, y: Vector) -> Vector:
        def field(t: float, y: Vector) -> Vector:
            return by_hand("adam", t, y, lambda q: f(q)[1], x0)

        return solve_ivp(field, (start, end), y, "DOP853", rtol=3e-14, atol=1e-15).y[:, -1]

    begun = flow(0.0, t_0, np.concatenate([x0, np.zeros(9)]))
    exact = flow(t_0, t_1, begun)[:3]
    q, m, v, _ = torch.from_numpy(begun).reshape(4, 1, 3)
    weights = {
        f"{name}_weight": torch.tensor([[-math.expm1(-t_0 / t)]], dtype=torch.float64)
        for name, t in (("m", T1), ("v", T2))
    }
    measure = Measured(problem("zakharov", dim=3).value_and_gradient)
    errors = []
    for steps in counts:
        state = {"q": q, "m": m, "v": v} | weights
        for _ in range(steps):
            state = step(FIELDS["adam"], integrator, state, (t_1 - t_0) / steps, measure)
        errors.append(float(np.abs(state["q"][0].numpy() - exact).max()))
    assert errors[-1] > 1e-13
    assert orders(errors) == pytest.approx(order, abs=0.15), errors


@pytest.mark.parametrize(("integrator", "order"), [(Heun(), 2), (RK4(), 3), (DormandPrince(), 3)])
def test_from_the_start_the_order_is_three_at_most(integrator: Integrator, order: int) -> None:
    """Where the corrected averages are 0 over 0."""
    x0, t_end = STARTS["zakharov"], 0.6
    exact = reference(problem("zakharov", dim=3), x0, t_end, FIELDS["adam"], rtol=1e-13, atol=1e-15, t_eval=[])
    runs = [ours("zakharov", Method(FIELDS["adam"], integrator, Fixed(t_end / n)), n) for n in (128, 256)]
    errors = [float(np.abs(run.final_x[0] - exact.final_x[0]).max()) for run in runs]
    assert orders(errors) == pytest.approx(order, abs=0.15), errors


# --- under other step-size rules ---


def test_adams_flow_under_truncation_error_control() -> None:
    """Every step is the one that the error of the last allows."""
    eta, h_max = 1e-3, 0.1
    run = ours("zakharov", Method(FIELDS["adam"], ForwardEuler(), LTE(eta, h_max)), 300)
    h = run.h[1:, 0]
    slopes = np.diff(run.x[:, 0], axis=0) / h[:, None]
    allowed = np.minimum(2 * eta / np.abs(np.diff(slopes, axis=0)).max(-1), h_max)
    assert h[1:] == pytest.approx(allowed, rel=1e-9)
    assert (h == h_max).sum() > 5
    assert (h < h_max).sum() > 5
    assert run.f[-1, 0] < 1e-2 * run.f[0, 0]


@pytest.mark.parametrize("rtol", [1e-4, 1e-7])
def test_adams_flow_to_a_tolerance(rtol: float) -> None:
    x0, t_end = STARTS["zakharov"], 1.0
    exact = reference(problem("zakharov", dim=3), x0, t_end, FIELDS["adam"], t_eval=[]).final_x[0]
    run = ours("zakharov", Method(FIELDS["adam"], DormandPrince(), PI(rtol, 1e-3 * rtol)), 20_000, t_end=t_end)
    assert 1e-3 * rtol < np.abs(run.final_x[0] - exact).max() < 10 * rtol


def adam_direction(f: Function, beta1: float, beta2: float, eps: float) -> Direction:
    m: Any = 0.0
    v: Any = 0.0
    t = 0

    def direction(x: Vector) -> Vector:
        nonlocal m, v, t
        g, t = f(x)[1], t + 1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)

    return direction


BETAS = {"beta1": 0.8, "beta2": 0.99, "eps": 1e-3}


@on_both
@pytest.mark.parametrize(("form", "beta"), [("additive", 1e-5), ("multiplicative", 2e-2)])
def test_hypergradient_adam(name: str, form: Any, beta: float) -> None:
    """Adam-HD of Baydin et al. 2018 is the additive form."""
    f = function(name)
    run = hypergradient(f, np.array(STARTS[name]), 1e-3, beta, form, adam_direction(f, **BETAS))
    follow(run, name, method("hypergradient_adam", lr=1e-3, hyper_lr=beta, rule=form, **BETAS), STEPS, rel=1e-11)


@on_both
@pytest.mark.parametrize("gamma", [0.33, 0.02])
def test_tlr_over_adam_every_step(name: str, gamma: float) -> None:
    f = function(name)
    run = tlr(f, np.array(STARTS[name]), 1e-3, gamma, adam_direction(f, **BETAS))
    follow(run, name, method("tlr_adam", lr=1e-3, gamma=gamma, **BETAS), rel=1e-10)


@on_both
@pytest.mark.parametrize("lagged", [False, True])
def test_tlr_over_adam_on_averages(name: str, lagged: bool) -> None:
    f, K, gamma = function(name), 3, 0.05
    run = tlr_averages(np.array(STARTS[name]), 1e-3, gamma, K, lagged, adam_direction(f, **BETAS))
    schedule: Any = "lagged" if lagged else "in_step"
    follow(run, name, method("tlr_adam", lr=1e-3, gamma=gamma, K=K, schedule=schedule, **BETAS), rel=1e-10)


@pytest.mark.parametrize(("K", "growth"), [(1, None), (2, 2.95), (10, 1.36)])
def test_tlr_over_momentum_in_noise(K: int, growth: float | None) -> None:
    """Sums over K steps of a mean with beta1 = 0.9 are correlated by rho with those over the K before, also if what it
    averages is noise: the rate then grows by 1 + gamma rho / (1 - rho) every K steps. K = 1 compares gradients.
    """
    beta, gamma = 0.9, 0.33
    if growth is not None:
        shared = beta * (1 - beta**K) ** 2 / (1 - beta) ** 2
        rho = shared / (K * (1 + beta) / (1 - beta) - 2 * beta * (1 - beta**K) / (1 - beta) ** 2)
        assert growth == pytest.approx(1 + gamma * rho / (1 - rho), rel=5e-3)
    dim, looks = 4000, 8
    dice = torch.Generator().manual_seed(1)

    def noise(q: Any) -> Any:
        return 0 * q.sum(-1), torch.randn(q.shape, generator=dice, dtype=q.dtype)

    silence = Problem("silence", lambda q: 0 * q.sum(-1), dim, value_and_gradient=noise)
    options = {"lr": 1e-9, "beta1": beta, "beta2": 0.99, "gamma": gamma, "K": K}
    run = minimize(silence, np.ones(dim), "tlr_adam", max_steps=60 + looks * K, gtol=0.0, **options)
    rate = run.h[-1, 0] / run.h[-1 - looks * K, 0]
    assert rate ** (1 / looks) == pytest.approx(growth or 1.0, rel=0.1)


@together("power", [-30, 7])
@together("chosen", ["adagrad", "rmsprop", "adam", "amsgrad", "adabelief", "eadam", "adamomentum"])
def test_without_eps_a_run_does_not_feel_the_unit_of_f(chosen: str, power: int) -> None:
    """Bit for bit, if the unit changes by a power of two."""
    given = problem("rosenbrock")
    other = Problem("other", lambda q: given.value(q) * 2.0**power, 2)
    same = Problem("same", given.value, 2)
    one, two = (minimize(of, [-1.2, 1.0], chosen, max_steps=60, gtol=0.0, eps=1e-300) for of in (same, other))
    assert np.array_equal(one.x, two.x)
    assert np.abs(one.final_x - one.x[0]).max() > 1e-3


# --- what eps does ---

NAMED = [name for name in METHODS if isinstance(method(name).system, AdaptiveFlow)]


@together("form", ["paper", "library"])
@together("chosen", NAMED)
def test_a_dead_coordinate_stays_where_it_is(chosen: str, form: str) -> None:
    """With a gradient that is 0 for ever all that it has is eps."""
    options = {"form": form, "weight_decay": 0.0} if "hyper" not in chosen else {}
    known = {name: value for name, value in options.items() if name in METHODS[chosen].defaults}
    run = minimize(lambda q: (q[..., 0] - 1) ** 2, [3.0, 0.7], chosen, max_steps=50, gtol=0.0, **known)
    assert run.steps.tolist() == [50]
    assert np.isfinite(run.x).all()
    assert np.isfinite(run.energy).all()
    assert np.all(run.x[:, 0, 1] == 0.7)
    assert np.ptp(run.x[:, 0, 0]) > 1e-6


def z_hat_by_sums(name: str, g: Vector, x_m: Vector, lr: float, beta1: float, beta2: float) -> Vector:
    """Table 5 from all gradients ``(t, D)``, as closed sums; x_m are the averages m after each of them."""
    t = len(g)
    ages = np.arange(t - 1, -1, -1.0)[:, None]
    weights = (1 - beta2) * beta2**ages

    def v(squares: Vector) -> Vector:
        return (weights * squares).sum(0)

    bias = 1 - beta2**t
    if name == "adagrad":
        return np.sqrt((g * g).sum(0))
    if name == "rmsprop":
        return np.sqrt(v(g * g))
    if name == "madgrad":
        return np.cbrt((lr * np.sqrt(t - ages) * g * g).sum(0))
    if name in ("adabelief", "eadam", "adamomentum"):
        averaged = {"adabelief": g - x_m, "eadam": g, "adamomentum": x_m}[name] ** 2
        return (1 - beta2) * v(averaged) / bias
    if name == "amsgrad":
        largest = [((1 - beta2) * beta2 ** ages[-k:] * (g * g)[:k]).sum(0) for k in range(1, t + 1)]
        return np.sqrt(np.max(largest, axis=0) / bias)
    return np.sqrt(v(g * g) / bias)


@on_both
@pytest.mark.parametrize("system", ADAPTIVE.values(), ids=ADAPTIVE)
def test_z_hat_is_that_of_table_5(system: type[AdaptiveFlow], name: str) -> None:
    lr, beta1, beta2, steps = 0.02, 0.8, 0.9, 40
    betas = {key: value for key, value in (("beta1", beta1), ("beta2", beta2)) if hasattr(system, key)}
    made = system(step=lr, **betas)
    run = list(
        walk(
            Method(made, SymplecticEuler(), Fixed(lr)),
            problem(name, dim=len(STARTS[name])),
            torch.tensor([STARTS[name]], dtype=torch.float64),
            steps,
        )
    )
    g = np.array([carry.point.evaluation.grad[0].numpy() for carry, _ in run[:-1]])
    averages = [((1 - beta1) * beta1 ** np.arange(k, -1, -1.0)[:, None] * g[: k + 1]).sum(0) for k in range(steps)]
    expected = z_hat_by_sums(system.name, g, np.array(averages), lr, beta1, beta2)
    assert made.z_hat(run[-1][0].point.state)[0].numpy() == pytest.approx(expected, rel=1e-11)


def plain(f: Function, x: Vector, name: str, rate: float, beta1: float, beta3: float) -> Reference:
    """Momentum SGD, with the mean gradient for momentum; and what DiffGrad, AdaMod and MADGRAD keep beside eps."""
    m, g_old = np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        g = f(x)[1]
        m = beta1 * m + (1 - beta1) * g * (math.sqrt(t) if name == "madgrad" else 1)
        m_hat = m if name == "madgrad" else m / (1 - beta1**t)
        kept = {"adamod": 1 - beta3**t, "diffgrad": 1 / (1 + np.exp(-np.abs(g - g_old)))}.get(name, 1.0)
        g_old = g
        x = (yield {"x": x - rate * kept * m_hat})["x"]


@pytest.mark.parametrize("system", ADAPTIVE.values(), ids=ADAPTIVE)
def test_a_large_eps_leaves_momentum_sgd(system: type[AdaptiveFlow]) -> None:
    """With `plain_rate`, but for a share of z_hat / eps."""
    rate, beta1, beta3 = 1e-3, 0.8, 0.95
    eps = 1e5 if system is AdaBelief else 1e10  # it is added twice there, once as its root
    betas = {key: value for key, value in (("beta1", beta1), ("beta3", beta3)) if hasattr(system, key)}
    made = system(step=rate / system(eps=eps).plain_rate(1.0), eps=eps, **betas)
    assert made.plain_rate(made.step) == pytest.approx(rate, rel=1e-14)
    run = ours("zakharov", Method(made, SymplecticEuler(), Fixed(made.step)), 100)
    x0 = np.array(STARTS["zakharov"])
    expected = alone(plain(function("zakharov"), x0, system.name, rate, betas.get("beta1", 0.0), beta3), 100)
    assert np.abs(expected[-1] - x0).max() > 0.1
    off = np.abs(run.x[1:, 0] - expected).max()
    assert 1e-13 < off < 1e-6
    less = system(step=rate / system(eps=eps / 100).plain_rate(1.0), eps=eps / 100, **betas)
    nearer = ours("zakharov", Method(less, SymplecticEuler(), Fixed(less.step)), 100)
    assert np.abs(nearer.x[1:, 0] - expected).max() > 10 * off
