"""The adaptive methods on networks are the optimizers of their names: torch's own, and those of pytorch_optimizer."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from catalogue import NAMES
from networks import ADAPTIVE, assert_same, build, closure, loss_of, network, train, vector
from together import together
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer, lr_scheduler

from flowopt import method
from flowopt.core.errors import BadValue, UnknownName
from flowopt.networks._optimizer import FlowOptimizer

Make = Callable[..., Optimizer]
EXACT = {"rtol": 1e-12, "atol": 1e-14}


class DiffGrad(pytorch_optimizer.DiffGrad):
    """pytorch_optimizer's without the 1e-15 that it adds to v before the root, which DiffGrad does not have.

    With them its first step on the tiny network is off by 2e-10.
    """

    def apply_ams_bound_foreach(self, *args: Any) -> Any:  # type: ignore[override]
        return super().apply_ams_bound_foreach(*args, exp_avg_sq_eps=0.0)


LR = 0.01
THEIRS: dict[str, Make] = {
    "adagrad": torch.optim.Adagrad,
    "rmsprop": lambda p, **k: torch.optim.RMSprop(p, alpha=0.99, **k),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "amsgrad": lambda p, **k: torch.optim.Adam(p, amsgrad=True, **k),
    "adabelief": lambda p, **k: pytorch_optimizer.AdaBelief(p, weight_decouple=False, eps=1e-16, **k),
    "diffgrad": lambda p, **k: DiffGrad(p, weight_decouple=False, **k),
    "adamod": lambda p, **k: pytorch_optimizer.AdaMod(p, weight_decouple=False, betas=(0.9, 0.999, 0.9), **k),
    "madgrad": lambda p, lr=LR, **k: pytorch_optimizer.MADGRAD(p, lr=lr - 1e-6, **k),  # which adds eps to it
}
OPTIONS: dict[str, dict[str, Any]] = {"diffgrad": {"form": "library"}, "adamod": {"form": "library", "beta3": 0.9}}
OF_TORCH = ["adagrad", "rmsprop", "adam", "adamw", "amsgrad"]


def twins(name: str, **given: Any) -> tuple[nn.Sequential, FlowOptimizer, nn.Sequential, Optimizer]:
    """The same network twice, under our method and under theirs; two groups of different lr and weight decay."""
    ours, theirs = network(), network()
    shift = 1e-6 if name == "madgrad" else 0.0
    mine = FlowOptimizer(groups(ours, 0.0), name, lr=LR, weight_decay=1e-3, **OPTIONS.get(name, {}), **given)
    return ours, mine, theirs, THEIRS[name](groups(theirs, shift), lr=LR, weight_decay=1e-3, **given)


def groups(model: nn.Sequential, shift: float) -> list[dict[str, Any]]:
    return [
        {"params": model[0].parameters(), "lr": 0.02 - shift, "weight_decay": 1e-2},
        {"params": model[2].parameters()},
    ]


def gradient(model: nn.Module, optimizer: Optimizer, number: int) -> Tensor:
    optimizer.zero_grad()
    loss = loss_of(model, number)
    loss.backward()
    return loss


@pytest.mark.parametrize("name", THEIRS)
def test_500_steps_are_those_of_the_optimizer_of_that_name(name: str) -> None:
    """To 1e-12 in float64, with bias corrections, two groups and weight decay."""
    ours, mine, theirs, other = twins(name)
    for number in range(500):
        for model, optimizer in ((ours, mine), (theirs, other)):
            gradient(model, optimizer, number)
            optimizer.step()
        torch.testing.assert_close(vector(ours), vector(theirs), **EXACT)
    assert loss_of(ours).item() < 0.3 * loss_of(network()).item()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # SequentialLR's own
@together("name", OF_TORCH)
@together("maximize", [False, True])
@together("kind", ["StepLR", "OneCycleLR", "SequentialLR"])
def test_schedulers_clipping_and_accumulation(name: str, maximize: bool, kind: str) -> None:
    make: dict[str, Callable[[Optimizer], Any]] = {
        "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 30, 0.7),
        "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, [0.05, 0.02], 60, cycle_momentum=False),
        "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
            optimizer, [lr_scheduler.LinearLR(optimizer, 0.1, 1, 20), lr_scheduler.ExponentialLR(optimizer, 0.98)], [20]
        ),
    }
    ours, mine, theirs, other = twins(name, maximize=maximize)
    everything = [(ours, mine, make[kind](mine)), (theirs, other, make[kind](other))]
    for number in range(60):
        for model, optimizer, scheduler in everything:
            optimizer.zero_grad()
            for part in (2 * number, 2 * number + 1):
                ((-1 if maximize else 1) * loss_of(model, part) / 2).backward()
            clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
        torch.testing.assert_close(vector(ours), vector(theirs), **EXACT)


@together("name", OF_TORCH)
def test_parameters_without_a_gradient_wait_and_late_ones_begin_afresh(name: str) -> None:
    """Each has bias corrections of its own, counted in its own steps; a group may be added on the way."""
    ours, theirs = network(), network()
    decay = {"weight_decay": 1e-2}
    mine = FlowOptimizer(ours[0].parameters(), name, lr=LR, **decay)
    other = THEIRS[name](theirs[0].parameters(), lr=LR, **decay)
    for number in range(40):
        for model, optimizer in ((ours, mine), (theirs, other)):
            if number == 7:
                optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.03, "weight_decay": 0.0})
            model.zero_grad()
            loss_of(model, number).backward()
            absent = [model[0].bias] if number < 5 or 9 < number < 12 else []
            for parameter in (*absent, *(model[2].parameters() if number % 7 == 3 else ())):
                parameter.grad = None
            optimizer.step()
        torch.testing.assert_close(vector(ours), vector(theirs), **EXACT)
    assert not torch.equal(ours[2].bias, network()[2].bias)


ELEMENTWISE = [name for name in ADAPTIVE if not method(name).controller.adaptive]


@together("name", ELEMENTWISE)
def test_a_late_layer_moves_as_under_an_optimizer_of_its_own(name: str) -> None:
    together, apart = network(), network()
    one = build(together.parameters(), name)
    layers = {0: build(apart[0].parameters(), name)}
    for number in range(20):
        for model in (together, apart):
            model[2].requires_grad_(number >= 5)
        if number == 5:
            layers[2] = build(apart[2].parameters(), name)
        one.step(closure(together, one, number))
        apart.zero_grad()
        loss_of(apart, number).backward()
        for optimizer in layers.values():
            optimizer.step()
        assert_same(together, apart)


@pytest.mark.slow
@together("name", ELEMENTWISE)
def test_the_corrections_do_not_get_stuck_in_low_precision(name: str) -> None:
    """1 - 0.999^k in bfloat16 would stop at 1/4, after 288 steps; the state is loaded back as it was."""
    model, steps = network(torch.bfloat16), 330
    optimizer = build(model.parameters(), name)
    train(model, optimizer, steps)
    counters = {key: leaf for key, leaf in optimizer.state["flow"].items() if key.startswith("trial.")}
    for key, leaf in counters.items():
        beta = getattr(optimizer.method.system, f"beta{1 if key.endswith('m_weight') else 2}", None)
        expected = steps if beta is None or key.endswith(".k") else 1 - beta**steps
        torch.testing.assert_close(leaf, torch.full_like(leaf, expected), rtol=1e-3, atol=0.0)
    other = build(network(torch.bfloat16).parameters(), name)
    other.load_state_dict(optimizer.state_dict())
    for key, leaf in counters.items():
        assert torch.equal(other.state["flow"][key], leaf)


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_weight_decay_of_a_group_is_the_one_of_the_optimizer(name: str) -> None:
    """adamw's is decoupled, and 1e-2 by default as in torch; adam's is a term of the objective, and 0."""
    default = FlowOptimizer(network().parameters(), name).param_groups[0]["weight_decay"]
    assert default == THEIRS[name](network().parameters()).param_groups[0]["weight_decay"]
    given = FlowOptimizer(network().parameters(), name, weight_decay=0.3)
    assert given.param_groups[0]["weight_decay"] == 0.3
    assert given.method.formula.endswith("+ decoupled_decay") == (name == "adamw")


def test_decoupled_decay_goes_with_any_flow() -> None:
    """Of a method that is built by hand the rate of the transform is the default of the groups."""
    from flowopt import Method
    from flowopt.controllers.fixed import Fixed
    from flowopt.integrators.euler import ForwardEuler
    from flowopt.systems.gradient_flow import GradientFlow
    from flowopt.transforms.decoupled_decay import DecoupledDecay

    model, by_hand = network(), network()
    chosen = Method(GradientFlow(), ForwardEuler(), Fixed(0.1), (DecoupledDecay(0.5),))
    optimizer = FlowOptimizer(model.parameters(), chosen)
    for number in range(5):
        gradient(model, optimizer, number)
        optimizer.step()
        loss_of(by_hand, number).backward()
        with torch.no_grad():
            for p in by_hand.parameters():
                p.sub_(0.1 * (p.grad + 0.5 * p))
                p.grad = None
        torch.testing.assert_close(vector(model), vector(by_hand), **EXACT)


def test_a_step_that_looks_back_sees_the_decay_too() -> None:
    """TLR over AdamW: the move that it judges is the one that was made, decay and all."""
    from flowopt import Method, minimize
    from flowopt.controllers.newton_step import NewtonStep
    from flowopt.integrators.symplectic import SymplecticEuler
    from flowopt.systems.adam import Adam
    from flowopt.transforms.decoupled_decay import DecoupledDecay

    chosen = Method(Adam(step=0.1), SymplecticEuler(), NewtonStep(0.1, max_factor=1.1), (DecoupledDecay(0.4),))
    run = minimize(lambda x: (x**4 + x**2).sum(-1), [1.0, -2.0], chosen, max_steps=12, gtol=0.0)
    x = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = FlowOptimizer([x], chosen)
    for k in range(13):
        torch.testing.assert_close(x.detach(), torch.from_numpy(run.x[k, 0]), rtol=1e-9, atol=1e-12)
        optimizer.zero_grad()
        (x**4 + x**2).sum().backward()
        optimizer.step()
        if k:
            assert optimizer.last_step.h == pytest.approx(run.h[k, 0], rel=1e-9)


def test_torchs_names_are_hinted_at() -> None:
    with pytest.raises(UnknownName, match="beta1"):
        FlowOptimizer(network().parameters(), "adam", betas=(0.9, 0.999))
    with pytest.raises(BadValue, match="beta2 = 1"):
        FlowOptimizer(network().parameters(), "adam", beta2=1)


def test_every_adaptive_method_is_here() -> None:
    assert set(ADAPTIVE) == {*THEIRS, "eadam", "adamomentum", "tlr_adam", "hypergradient_adam"}
    assert set(ADAPTIVE) <= set(NAMES)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "amsgrad"])
def test_squares_beyond_float16_do_not_become_nan(name: str) -> None:
    """A gradient of 3000 has a square that float16 cannot hold: v stays at the largest number that it can."""
    x = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    optimizer = FlowOptimizer([x], name, lr=1e-3, compile=False)
    for _ in range(20):
        x.grad = torch.full_like(x, 3000.0)
        optimizer.step()
    assert torch.isfinite(x).all()
    assert (x < 0).all()
    assert optimizer.state[x]["trial.v"].max() == torch.finfo(torch.float16).max


def test_what_pytorch_optimizers_diffgrad_adds() -> None:
    """1e-15 under the root: nothing where gradients are large, threefold at 1e-7."""
    for g, expected in ((1e-2, 1.0), (1e-7, 3.17)):
        moves = []
        for make in (
            lambda p: FlowOptimizer(p, "diffgrad", form="library"),
            lambda p: pytorch_optimizer.DiffGrad(p, weight_decouple=False),
        ):
            x = nn.Parameter(torch.zeros(1, dtype=torch.float64))
            x.grad = torch.full_like(x, g)
            make([x]).step()
            moves.append(x.item())
        assert moves[0] / moves[1] == pytest.approx(expected, rel=1e-2)


def test_eps_of_zero_and_a_bad_lr_are_refused_by_their_names() -> None:
    with pytest.raises(BadValue, match=r"^adam: eps = 0"):
        FlowOptimizer(network().parameters(), "adam", eps=0.0)
    with pytest.raises(BadValue, match=r"^adamw: lr = -1"):
        FlowOptimizer(network().parameters(), "adamw", lr=-1.0)
    with pytest.raises(BadValue, match=r"beta2 = 1.0 is outside its range \[0, 1\)"):
        FlowOptimizer(network().parameters(), "adam", beta2=1.0)
