"""TLR over any torch optimizer: the rates of our own controller, eq 8 read anew, and what training loops expect."""

import copy
import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from together import together
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from flowopt import BadValue, minimize, problem
from flowopt.networks._trainable_lr import TrainableLR

BOWL = problem("quadratic", spectrum=(1.0, 10.0, 100.0))


def on_the_bowl(make: Any, steps: int, **options: Any) -> np.ndarray:
    """The rates after each step of a run from (1, 1, 1)."""
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = TrainableLR(make([x]), **options)
    rates = []
    for _ in range(steps):
        x.grad = BOWL.value_and_gradient(x.detach().reshape(1, -1))[1].reshape(-1)
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return np.array(rates)


# --- the rule ---


@together(
    ("K", "schedule", "guard", "momentum"),
    list(itertools.product((1, 2, 5, 17), ("in_step", "lagged"), (True, False), (0.0, 0.9))),
)
def test_over_sgd_it_has_the_rates_of_our_own_controller(K: int, schedule: Any, guard: bool, momentum: float) -> None:
    """Bit for bit, for 100 steps, also where the run is chaotic or diverges."""
    options = {"K": K, "schedule": schedule, "guard": guard}
    name, flow = ("tlr_gdm", {"beta": momentum}) if momentum else ("tlr", {})
    seen: set[float] = set()
    for lr in (1e-9, 1e-3, 1e-2):
        rates = on_the_bowl(lambda params: SGD(params, lr=lr, momentum=momentum), 100, **options)  # noqa: B023
        own = minimize(BOWL, [1.0, 1.0, 1.0], name, max_steps=100, gtol=0.0, lr=lr, **flow, **options).h[:, 0]
        # ours chooses a rate once the gradient after a step is known; the wrapper only waits for it if K = 1
        own = own[1:] if K == 1 and schedule == "in_step" else own[2:]
        assert np.isfinite(own).all()
        assert np.array_equal(rates[: len(own)], own)
        seen.update(own)
    assert len(seen) > 5


class History:
    """A run of a network of two parameter groups with full-batch gradients, every step written down in NumPy."""

    def __init__(self, make: Any, steps: int, **options: Any) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        x = torch.randn(20, 3, dtype=torch.float64)
        y = x.prod(1, keepdim=True)
        groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 3e-3}]
        optimizer = TrainableLR(make(groups, lr=1e-2), **options)
        self.w, self.g, self.rates = [flat(model.parameters())], [], []
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            self.g.append(flat(p.grad for p in model.parameters()))
            optimizer.step()
            self.w.append(flat(model.parameters()))
            self.rates.append([group["lr"] for group in optimizer.param_groups])
        assert np.allclose([b / a for a, b in self.rates], 0.3, rtol=1e-12), "all groups change by the same factor"
        self.alpha = [1e-2] + [a for a, _ in self.rates]
        """alpha[t]: the rate after t steps, the larger one."""


def flat(tensors: Any) -> np.ndarray:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy().copy()


def eq_8(before: float, after: float, guard: bool) -> float:
    """1 + 0.33 <u, g_new> / <u, g_old - g_new> from the two products."""
    factor = min(100.0, 1 + 0.33 * after / (before - after))
    return 1.0 if guard and (before - after <= 0 or factor <= 0) else factor


BASES = {
    "SGD": SGD,
    "momentum": lambda groups, lr: SGD(groups, lr, momentum=0.9, weight_decay=1e-2),
    "Adam": Adam,
    "RMSprop": RMSprop,
}


@together("guard", [True, False])
@together("base", BASES.values())
def test_eq_8_by_gradients(base: Any, guard: bool) -> None:
    """K = 1: u from the step, the gradient before and the gradient after it."""
    run = History(base, 60, K=1, guard=guard)
    factors = []
    for t in range(1, 60):
        u = (run.w[t - 1] - run.w[t]) / run.alpha[t]
        factors.append(eq_8(u @ run.g[t - 1], u @ run.g[t], guard))
        assert run.alpha[t + 1] == pytest.approx(run.alpha[t] * factors[-1], rel=1e-11)
    assert len(set(factors)) > 30


@together(("schedule", "ends"), [("in_step", range(5, 61, 5)), ("lagged", range(6, 61, 5))])
@together("guard", [True, False])
@together("base", BASES.values())
def test_eq_8_by_directions(base: Any, guard: bool, schedule: Any, ends: range) -> None:
    """K = 5: mean directions over five steps, and nothing changes before there are two."""
    run = History(base, 60, K=5, guard=guard, schedule=schedule)
    start = [0] if schedule == "in_step" else []
    marks = start + list(ends)
    expected, old = run.alpha[0], None
    changed = 0
    for t in range(1, 61):
        if t in marks[1:]:
            u = (run.w[marks[marks.index(t) - 1]] - run.w[t]) / expected
            if old is not None:
                expected *= eq_8(old @ old, old @ u, guard)
                changed += 1
            old = u
        assert run.alpha[t] == pytest.approx(expected, rel=1e-11)
        expected = run.alpha[t]
    assert changed == len(ends) - 1 - (schedule == "lagged")


def test_unguarded_the_rate_becomes_negative_over_momentum_and_adam() -> None:
    """As with the authors' code (62 of 200 steps with momentum, 40 with Adam in a prototype; it depends on K)."""

    def negative(make: Any, **options: Any) -> int:
        return int((on_the_bowl(make, 200, **options) < 0).sum())

    def heavy(params: Any) -> Optimizer:
        return SGD(params, 1e-3, momentum=0.9)

    assert 30 <= negative(heavy, K=1, guard=False) <= 100
    assert negative(Adam, K=2, guard=False) >= 20
    assert negative(heavy, K=1) == negative(Adam, K=2) == 0
    assert negative(lambda params: SGD(params, 1e-3), K=1, guard=False) == 0, "<u, g_old> is positive without momentum"


def test_period() -> None:
    assert TrainableLR(network()[1], batches_per_epoch=89).rule.period == 17
    assert TrainableLR(network()[1], p=1 / 3, batches_per_epoch=100).rule.period == 33
    assert TrainableLR(network()[1], K=4).rule.period == 4


def test_max_factor() -> None:
    rates = on_the_bowl(lambda params: SGD(params, 1e-9), 30, K=1, gamma=1.0, max_factor=3.0)
    assert rates[1:8] == pytest.approx(1e-9 * 3.0 ** np.arange(1, 8))


# --- an optimizer as any other ---


def network(make: Any = Adam, seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)
    return model, make(model.parameters(), **({"lr": 1e-2} | options))


def batch(t: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(t)
    return torch.randn(8, 4, generator=generator).to(dtype), torch.randint(2, (8,), generator=generator)


def train(model: nn.Module, optimizer: Optimizer, steps: range, use_closure: bool = False) -> None:
    for t in steps:
        x, y = batch(t, next(model.parameters()).dtype)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        if use_closure:
            assert torch.isfinite(optimizer.step(closure))
        else:
            closure()
            optimizer.step()


def parameters(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


VARIANTS = [{"K": 1}, {"K": 3}, {"K": 3, "schedule": "lagged"}, {"K": 1, "schedule": "lagged", "guard": False}]
variants = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))


@variants
@pytest.mark.parametrize("make", [SGD, Adam])
def test_resume_is_bit_exact(options: Any, make: Any, tmp_path: Path) -> None:
    """Through torch.save and weights_only=True, at every place within a period."""
    whole, base = network(make)
    straight = TrainableLR(base, **options)
    train(whole, straight, range(30))
    for cut in range(1, 13):
        model, base = network(make)
        optimizer = TrainableLR(base, **options)
        train(model, optimizer, range(cut))
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "saved.pt")
        train(model, optimizer, range(cut, cut + 2))  # going on does not change what was saved
        saved = torch.load(tmp_path / "saved.pt", weights_only=True)
        model, base = network(make, seed=1, lr=0.5)
        optimizer = TrainableLR(base, **options)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        train(model, optimizer, range(cut, 30))
        assert_same(model, whole)
        assert optimizer.param_groups[0]["lr"] == straight.param_groups[0]["lr"] != 1e-2


@variants
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_alike_and_apart(options: Any, copied: Any) -> None:
    model, base = network()
    optimizer = TrainableLR(base, **options)
    train(model, optimizer, range(7))
    model2, optimizer2 = copied((model, optimizer))
    start = parameters(model)
    train(model2, optimizer2, range(7, 20))
    assert all(map(torch.equal, start, parameters(model)))
    train(model, optimizer, range(7, 20))
    assert_same(model, model2)


@variants
def test_a_closure_is_called_once_and_gives_the_same_run(options: Any) -> None:
    one, base = network()
    train(one, TrainableLR(base, **options), range(20))
    two, base = network()
    train(two, TrainableLR(base, **options), range(20), use_closure=True)
    assert_same(one, two)

    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        return two(batch(0)[0]).sum()

    TrainableLR(base, **options).step(closure)
    assert calls == 1


def test_a_base_that_evaluates_several_times_a_step() -> None:
    """Only the gradient at the start of a step is compared with that of the step before."""
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = TrainableLR(torch.optim.LBFGS([x], lr=0.1, max_iter=4), K=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (x**4).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert optimizer.rate == 0.1
    optimizer.step(closure)
    assert optimizer.rate > 0.1


@variants
def test_until_the_first_change_it_is_its_base(options: Any) -> None:
    first = {1: 1, 3: 2 * 3}[options["K"]] if options.get("schedule") is None else 3 * options["K"] + 1
    plain, base = network()
    train(plain, base, range(first))
    wrapped, base = network()
    optimizer = TrainableLR(base, **options)
    train(wrapped, optimizer, range(first))
    assert_same(plain, wrapped)
    train(wrapped, optimizer, range(first, first + 1))
    assert optimizer.rate != 1e-2


def test_gradients_are_not_touched_and_the_loss_is_returned() -> None:
    model, base = network()
    optimizer = TrainableLR(base, K=1)
    loss = model(batch(0)[0]).sum()
    loss.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    optimizer.step()
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), grads, strict=True))
    assert optimizer.step(lambda: 7.5) == 7.5
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_it_is_an_optimizer_with_the_groups_and_the_state_of_its_base() -> None:
    model, base = network()
    optimizer = TrainableLR(base, K=2)
    assert isinstance(optimizer, Optimizer)
    train(model, optimizer, range(5))
    assert optimizer.param_groups is base.param_groups
    assert optimizer.state is base.state
    assert optimizer.defaults is base.defaults
    assert "lr: " in repr(optimizer)
    assert optimizer.state_dict()["state"].keys() == base.state_dict()["state"].keys()


def test_hooks() -> None:
    model, base = network()
    optimizer = TrainableLR(base, K=2)
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda owner, args, kwargs: seen.append(("before", owner)))
    optimizer.register_step_post_hook(lambda owner, args, kwargs: seen.append(("after", owner)))
    base.register_step_post_hook(lambda owner, args, kwargs: seen.append(("base", owner)))
    optimizer.register_state_dict_pre_hook(lambda owner: seen.append(("saved", owner)))
    optimizer.register_load_state_dict_post_hook(lambda owner: seen.append(("loaded", owner)))
    train(model, optimizer, range(1))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == [("before", optimizer), ("base", base), ("after", optimizer), ("saved", base), ("loaded", base)]


def test_a_scheduler_that_multiplies_goes_with_it() -> None:
    model, base = network(SGD)
    optimizer = TrainableLR(base, K=3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
    changed = []
    for t in range(30):
        before = optimizer.rate
        train(model, optimizer, range(t, t + 1))
        after = optimizer.rate
        scheduler.step()
        assert optimizer.rate == (0.5 * after if t % 10 == 9 else after)
        if after != before:
            changed.append(t + 1)
    assert set(changed) <= set(range(6, 31, 3))
    assert len(changed) > 5


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("K", [1, 3])
def test_grad_scaler(K: int, fused: bool) -> None:
    """A power of two as the scale changes nothing; a step that it skips is no step, of the rule neither."""
    plain, base = network(Adam, fused=fused)
    train(plain, TrainableLR(base, K=K), range(12))

    model, base = network(Adam, fused=fused)
    optimizer = TrainableLR(base, K=K)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for t in [0, 1, 2, 3, -1, 4, 5, 6, 7, -1, -1, 8, 9, 10, 11]:
        x, y = batch(abs(t))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y) * (math.inf if t == -1 else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert_same(model, plain)


@pytest.mark.parametrize("K", [1, 2])
def test_unused_and_frozen_parameters_and_added_groups(K: int) -> None:
    torch.manual_seed(0)
    used, unused, frozen = (nn.Linear(4, 2) for _ in range(3))
    alone = copy.deepcopy(used)
    frozen.requires_grad_(False)
    optimizer = TrainableLR(SGD([*used.parameters(), *unused.parameters(), *frozen.parameters()], 1e-2), K=K)
    train(used, optimizer, range(10))
    other = TrainableLR(SGD(alone.parameters(), 1e-2), K=K)
    train(alone, other, range(10))
    assert_same(used, alone)
    assert optimizer.rate == other.rate
    assert frozen.weight not in optimizer._memory

    frozen.requires_grad_(True)
    added = nn.Linear(2, 2)
    optimizer.add_param_group({"params": added.parameters(), "lr": 2 * optimizer.rate})
    train(nn.Sequential(used, added), optimizer, range(10, 20))
    assert optimizer.base.param_groups[1]["lr"] == pytest.approx(2 * optimizer.param_groups[0]["lr"], rel=1e-12)
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("K", [1, 2])
def test_a_rate_in_a_tensor_is_changed_in_place(K: int) -> None:
    lr = torch.tensor(1e-2, dtype=torch.float64)
    model, base = network(lr=lr, capturable=False, foreach=False)
    base.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "lr": base.param_groups[0]["lr"]})
    assert base.param_groups[0]["lr"] is base.param_groups[1]["lr"]
    optimizer = TrainableLR(base, K=K)
    plain, base = network()
    other = TrainableLR(base, K=K)
    train(model, optimizer, range(12))
    train(plain, other, range(12))
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(other.rate, rel=1e-5)
    assert lr.item() != 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("K", [1, 3])
def test_half_precision(dtype: torch.dtype, K: int) -> None:
    """Directions and products are computed in single precision: d/alpha and |u|^2 leave the range of float16."""
    p = nn.Parameter(torch.full((1000,), 1.0, dtype=dtype))
    optimizer = TrainableLR(SGD([p], lr=1e-6), K=K)
    for factor in (500.0, 400.0, 300.0, 250.0, 200.0, 150.0, 100.0):
        p.grad = torch.full_like(p, factor * 100)
        optimizer.step()
        assert p.grad.dtype == dtype
    assert math.isfinite(optimizer.rate)
    assert optimizer.rate > 1e-6


def test_complex_parameters_are_pairs_of_real_ones() -> None:
    z = nn.Parameter(torch.tensor([1.0 + 2.0j, -0.5j], dtype=torch.complex128))
    x = nn.Parameter(torch.view_as_real(z.detach().clone()))
    pair = [(p, TrainableLR(SGD([p], 1e-2), K=1)) for p in (z, x)]
    for _ in range(8):
        for p, optimizer in pair:
            optimizer.zero_grad()
            q = p if p is x else torch.view_as_real(p)
            (torch.tensor([1.0, 10.0]) * q**2).sum().backward()
            optimizer.step()
    assert torch.allclose(torch.view_as_real(z), x, rtol=1e-12)
    assert pair[0][1].rate == pytest.approx(pair[1][1].rate, rel=1e-12)
    assert pair[1][1].rate > 1.1e-2


def test_sparse_gradients() -> None:
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = TrainableLR(SGD(embedding.parameters(), 1e-2), K=1)
    embedding(torch.tensor([1, 3])).sum().backward()
    before = embedding.weight.detach().clone()
    with pytest.raises(BadValue, match="sparse; take K >= 2"):
        optimizer.step()
    assert torch.equal(before, embedding.weight)

    optimizer = TrainableLR(SGD(embedding.parameters(), 1e-2), K=2)
    for _ in range(4):
        optimizer.zero_grad()
        embedding(torch.tensor([1, 3])).square().sum().backward()
        optimizer.step()
    assert optimizer.rate > 1e-2


@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("guard", [True, False])
def test_a_number_that_is_none_is_reported_and_leaves_the_rate(K: int, guard: bool) -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = TrainableLR(SGD([p], 1e-2), K=K, guard=guard)
    for scale in (1.0, 0.9, 0.8, 0.7):
        p.grad = scale * torch.ones(3)
        optimizer.step()
    rate = optimizer.rate
    p.grad = torch.tensor([1.0, math.nan, 1.0])
    for _ in range(K - 1):
        optimizer.step()
    with pytest.warns(RuntimeWarning, match="NaN or infinite, so the rate stays"):
        optimizer.step()
    assert optimizer.rate == rate > 1e-2


@together(
    ("options", "message"),
    [
        ({}, "give batches_per_epoch"),
        ({"K": 0}, "K = 0 must be a whole number"),
        ({"K": 3, "batches_per_epoch": 10}, "not both"),
        ({"K": 3, "gamma": 0.0}, "gamma"),
        ({"p": 1.5, "batches_per_epoch": 10}, "p = 1.5"),
        ({"K": 3, "schedule": "late"}, "schedule"),
        ({"K": 3, "max_factor": -1.0}, "max_factor"),
    ],
)
def test_bad_parameters(options: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        TrainableLR(network()[1], **options)


def test_what_it_cannot_wrap_or_load() -> None:
    model, base = network()
    with pytest.raises(BadValue, match="wraps a torch optimizer"):
        TrainableLR(model.parameters(), K=3)
    with pytest.raises(BadValue, match="'lr'"):
        TrainableLR(Optimizer(model.parameters(), {}), K=3)
    with pytest.raises(BadValue, match="lr = 0"):
        TrainableLR(network(lr=0.0)[1], K=3)

    optimizer = TrainableLR(base, K=1)
    with pytest.raises(BadValue, match="is for `base`"):
        optimizer.load_state_dict(base.state_dict())
    train(model, optimizer, range(2))
    other = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    wrong = TrainableLR(Adam(other.parameters()), K=1)
    before = wrong.state_dict()
    with pytest.raises(BadValue, match="parameter 0 has another shape"):
        wrong.load_state_dict(optimizer.state_dict())
    assert wrong.state_dict() == before


# --- loops of other people ---


def test_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    plain, base = network()
    train(plain, TrainableLR(base, K=3), range(12))
    model, base = network()
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, TrainableLR(base, K=3))
    for t in range(12):
        x, y = batch(t)
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(x), y))
        optimizer.step()
    assert_same(accelerator.unwrap_model(model), plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's own
@pytest.mark.parametrize("K", [1, 3])
def test_lightning(K: int, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.base = network()

        def training_step(self, pair: Any, index: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(pair[0]), pair[1])

        def configure_optimizers(self) -> Optimizer:
            return TrainableLR(self.base, K=K)

    plain, base = network()
    train(plain, TrainableLR(base, K=K), range(12))
    module = Module()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    loader = torch.utils.data.DataLoader([batch(t) for t in range(12)], batch_size=None)
    trainer = lightning.Trainer(max_epochs=1, default_root_dir=tmp_path, **quiet)
    trainer.fit(module, loader)
    assert_same(module.model, plain)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["optimizer_states"][0]["tlr"]["steps"] == 12


# --- the paper's claim ---


@pytest.mark.slow
def test_digits_whatever_the_initial_rate() -> None:
    """One hidden layer of 256, batch 16, K = 17: above 97 %, from 0.1 to 1e-9. Over Adam, 64-32, it fails."""
    assert min(digits(SGD, lr, (256,)) for lr in (0.1, 1e-3, 1e-9)) > 97.0
    assert digits(SGD, 1e-9, (256,), tlr=False) < 30.0
    assert digits(Adam, 1e-3, (64, 32)) < 20.0


def digits(make: Any, lr: float, hidden: tuple[int, ...], tlr: bool = True) -> float:
    """Test accuracy in % after 30 epochs on standardised digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, x_test, y, y_test = map(
        torch.as_tensor, train_test_split(*load_digits(return_X_y=True), test_size=0.2, random_state=0)
    )
    mean, deviation = x.mean(0), x.std(0)
    x, x_test = (((v - mean) / torch.where(deviation > 0, deviation, 1)).float() for v in (x, x_test))
    torch.manual_seed(0)
    layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise((64, *hidden, 10))]
    model = nn.Sequential(*itertools.chain(*layers))[:-1]
    optimizer = make(model.parameters(), lr=lr)
    if tlr:
        optimizer = TrainableLR(optimizer, batches_per_epoch=len(x) // 16)
        assert optimizer.rule.period == 17
    for _ in range(30):
        for rows in torch.randperm(len(x)).split(16)[: len(x) // 16]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return 100 * float((model(x_test).argmax(1) == y_test).double().mean())
