"""Ensembles: members equal runs of their own, do not see each other, and end by themselves."""

import math
import os
import signal

import numpy as np
import pytest
import torch
from together import together
from torch import Tensor, nn

from flowopt.controllers.fixed import Fixed
from flowopt.core._rounding import common_length, nudged
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.method import Method
from flowopt.core.state import Status
from flowopt.integrators.runge_kutta import Heun
from flowopt.methods import METHODS
from flowopt.networks import evaluation, tasks
from flowopt.networks._batches import batches
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.ensemble._ensemble import Ensemble
from flowopt.networks.ensemble._stacked_model import OutputsFirst
from flowopt.systems.newton_flow import NewtonFlow
from flowopt.training import models

MEMBERS = 3
SEEDS = [5, 1, 9]
EPOCHS, SIZE = 6, 16  # 54 steps
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(144, 8, dtype=torch.float64, generator=GENERATOR)
TARGETS = (INPUTS[:, :3] + 0.3 * INPUTS[:, 3:6]).argmax(-1)


def perceptron(seed: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def rectified(seed: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


def seeded(model_fn, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_fn(seed).double()


def vector(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def distance(a: nn.Module, b: nn.Module) -> float:
    """Largest difference of two networks' parameters, relative to the largest parameter."""
    return float((vector(a) - vector(b)).abs().max() / vector(b).abs().max())


def from_nudged_starts(model_fn):
    """The same networks, every parameter moved by one ulp."""

    def build(seed: int) -> nn.Module:
        model = model_fn(seed).double()
        for parameter in model.parameters():
            parameter.data = nudged(parameter.data, seed)
        return model

    return build


def rounding(one: nn.Module, replayed: nn.Module) -> float:
    """How far rounding in every step may take a network: a thousand times as far as one ulp at its start took it."""
    bound = 1000 * max(distance(one, replayed), torch.finfo(torch.float64).eps)
    assert bound < 1e-6, "one ulp decides where this training goes: a comparison says nothing"
    return bound


PER_MEMBER = {
    "gd": {"lr": [0.05, 0.3, 1.0], "weight_decay": [0.0, 1e-3, 1e-1]},
    "gdm": {"lr": [0.01, 0.03, 0.1], "beta": [0.0, 0.5, 0.9]},
    "nesterov": {"lr": [0.003, 0.01, 0.03]},
    "ecco": {"eta": [0.01, 0.1, 1.0]},
    "ecco_stable": {"eta": [0.001, 0.1, 10.0]},
    "ecdsep": {"exponent": [1.0, 2.0, 1.5], "nu": [1e-5, 1e-3, 1e-2], "weight_decay": [0.0, 1e-4, 1e-3]},
    "ecdsep_strang": {"dt": [0.1, 0.2, 0.4], "nu": 1e-3},
    "bbi": {"dt": [0.01, 0.03, 0.1]},
    "elra": {"alpha0": [1e-3, 1e-2, 1e-1], "kappa": [1.0, 0.9, 1.1], "shrink": [1.0, 0.999, 0.99]},
    "tlr": {"lr": [0.01, 0.03, 0.1], "K": 5},
    "tlr_gdm": {"lr": [0.003, 0.01, 0.03], "beta": [0.0, 0.5, 0.9]},
    "hypergradient": {"lr": [0.01, 0.03, 0.1], "hyper_lr": [0.0001, 0.001, 0.01]},
    "armijo": {"h0": [1.0, 3.0, 10.0]},
    "polyak": {"h_max": [0.1, 0.3, 1.0]},
    "bb": {"h0": [1e-3, 1e-2, 1e-1]},
    "flow": {"rtol": [1e-2, 1e-3, 1e-4], "atol": 1e-3},
    "newton": {"dt": [0.01, 0.03, 0.1], "damping": 1.0},
}
"""Hyperparameters one a member, as far as a method has them; a name that is not here runs with its defaults."""


@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph=True")
@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_member_moves_as_an_optimizer_of_its_own(name):
    given = PER_MEMBER.get(name, {})
    epochs = 1 if METHODS[name].build().needs_hvp else EPOCHS
    ensemble, replay = (
        Ensemble(model_fn, MEMBERS, name, given, seeds=SEEDS, dtype=torch.float64, chunk=2)
        for model_fn in (perceptron, from_nudged_starts(perceptron))
    )
    for each in (ensemble, replay):
        each.fit(INPUTS, TARGETS, epochs=epochs, batch_size=SIZE, seed=4)
    assert ensemble.steps == epochs * len(INPUTS) // SIZE
    for row, seed in enumerate(SEEDS):
        own = {key: value[row] if isinstance(value, list) else value for key, value in given.items()}
        model, steps, losses = trained_alone(name, own, seed, epochs)
        assert ensemble.status[row] == Status.RUNNING
        ours, replayed = (
            torch.tensor(np.stack([each.record.h[:, row], each.record.loss[:, row]], -1)) for each in (ensemble, replay)
        )
        length = common_length(replayed, ours, rtol=1e-10, atol=0)
        assert length >= len(INPUTS) // SIZE
        alone = torch.stack([steps, losses], -1)
        torch.testing.assert_close(ours[:length], alone[:length], rtol=1e-7, atol=0, equal_nan=True)
        if length == len(ours):
            assert distance(ensemble.member(row), model) < rounding(ensemble.member(row), replay.member(row))


def trained_alone(name: str, own: dict, seed: int, epochs: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network trained by FlowOptimizer as a member is: its model at the last accepted parameters, h and losses."""
    model = seeded(perceptron, seed)
    optimizer = FlowOptimizer(model.parameters(), name, seed=seed, **own)
    twice = optimizer.method.needs_hvp
    steps, losses = [], []

    for epoch in range(epochs):
        for batch in batches(len(INPUTS), SIZE, seed=4, epoch=epoch):

            def closure(batch=batch):
                optimizer.zero_grad()
                loss = tasks.cross_entropy(model(INPUTS[batch]), TARGETS[batch])
                loss.backward(create_graph=twice)
                return loss

            optimizer.step(closure)
            steps.append(optimizer.last_step.h)
            losses.append(optimizer.last_step.loss)
    with optimizer.accepted():
        nn.utils.vector_to_parameters(vector(model), (result := seeded(perceptron, seed)).parameters())
    return result, torch.tensor(steps, dtype=torch.float64), torch.tensor(losses, dtype=torch.float64)


def test_momentum_in_own_orders_is_torch_sgd():
    lr, beta, decay = [0.01, 0.1, 0.03], [0.9, 0.0, 0.5], [0.0, 0.01, 0.1]
    given = {"lr": lr, "beta": torch.tensor(beta, dtype=torch.float64), "weight_decay": decay}
    ensemble = Ensemble(perceptron, MEMBERS, "gdm", given, seeds=SEEDS, dtype=torch.float64, chunk=2)
    ensemble.fit(INPUTS, TARGETS, epochs=2, batch_size=SIZE, seed=None)
    ensemble.fit(INPUTS, TARGETS, epochs=1, batch_size=SIZE, seed=None)  # goes on with the next epoch
    for row, seed in enumerate(SEEDS):
        model = seeded(perceptron, seed)
        sgd = torch.optim.SGD(model.parameters(), lr=lr[row], momentum=beta[row], weight_decay=decay[row])
        for epoch in range(3):
            for batch in batches(len(INPUTS), SIZE, seed=seed, epoch=epoch):
                sgd.zero_grad()
                nn.functional.cross_entropy(model(INPUTS[batch]), TARGETS[batch]).backward()
                sgd.step()
        assert distance(ensemble.member(row), model) < 1e-12


@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph=True")
def test_a_method_of_parts_has_the_hessian_at_every_stage():
    flow = Method(NewtonFlow(damping=1.0), Heun(), Fixed(torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)))
    given = {"weight_decay": [0.0, 0.5, 0.1]}
    ensemble = Ensemble(lambda seed: nn.Linear(8, 3), MEMBERS, flow, given, seeds=SEEDS, dtype=torch.float64)
    ensemble.fit(INPUTS, TARGETS, epochs=1, batch_size=48, seed=4)
    model = seeded(lambda seed: nn.Linear(8, 3), SEEDS[1])
    alone = Method(NewtonFlow(damping=1.0), Heun(), Fixed(0.3))
    optimizer = FlowOptimizer(model.parameters(), alone, weight_decay=0.5)
    for batch in batches(len(INPUTS), 48, seed=4, epoch=0):

        def closure(batch=batch):
            optimizer.zero_grad()
            loss = tasks.cross_entropy(model(INPUTS[batch]), TARGETS[batch])
            loss.backward(create_graph=True)
            return loss

        optimizer.step(closure)
    assert distance(ensemble.member(1), model) < 1e-12


# members do not see each other


@pytest.mark.parametrize("name", ["elra", "ecdsep", "flow"])
def test_any_order_and_any_chunk_of_members_gives_the_same(name):
    def train(seeds, chunk, model_fn=perceptron):
        ensemble = Ensemble(model_fn, len(seeds), name, seeds=seeds, dtype=torch.float64, chunk=chunk)
        ensemble.fit(INPUTS, TARGETS, epochs=2, batch_size=SIZE)
        return [ensemble.member(row) for row in range(len(seeds))]

    together = train([0, 1, 2, 3, 4], None)
    reversed_ = train([4, 3, 2, 1, 0], 2)[::-1]
    alone = [train([seed], None)[0] for seed in range(5)]
    replayed = train([0, 1, 2, 3, 4], None, from_nudged_starts(perceptron))
    for row in range(5):
        bound = rounding(together[row], replayed[row])
        assert distance(reversed_[row], together[row]) < bound
        assert distance(alone[row], together[row]) < bound
    assert distance(together[0], together[1]) > 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [None, 2])
def test_a_member_that_diverges_leaves_the_others_bitwise_unchanged(dtype, chunk):
    def train(third):
        ensemble = Ensemble(rectified, 5, "gdm", {"lr": [0.1, 0.03, third, 0.01, 0.2]}, dtype=dtype, chunk=chunk)
        ensemble.fit(INPUTS, TARGETS, epochs=3, batch_size=SIZE)
        return ensemble

    sound, broken = train(0.1), train(1e30)
    assert broken.status == [Status.RUNNING] * 2 + [Status.DIVERGED] + [Status.RUNNING] * 2
    assert 1 < broken.endings[2].step < 10
    assert broken.endings[2].bad_parameter.endswith(("weight", "bias"))
    others = [0, 1, 3, 4]
    for row in others:
        assert torch.equal(vector(sound.member(row)), vector(broken.member(row)))
    for ours, theirs in zip(sound.record, broken.record, strict=True):
        torch.testing.assert_close(ours[:, others], theirs[:, others], rtol=0, atol=0, equal_nan=True)
    ended = broken.endings[2].step
    assert not broken.record.accepted[ended - 1 :, 2].any()
    assert torch.tensor(broken.record.loss[ended:, 2]).isnan().all()


# how members end


def poisoned(ensemble: Ensemble, row: int) -> None:
    """One step on which a member alone sees a NaN."""
    inputs = INPUTS[:SIZE].expand(len(ensemble), -1, -1).clone()
    inputs[row, 3, 2] = torch.nan
    ensemble.step(inputs, TARGETS[:SIZE].expand(len(ensemble), -1), shared=False)


def test_a_nan_ends_a_member_at_its_last_accepted_parameters():
    ensemble = Ensemble(perceptron, MEMBERS, "ecco_stable", dtype=torch.float64)
    twin = Ensemble(perceptron, MEMBERS, "ecco_stable", dtype=torch.float64)
    ensemble.step(INPUTS, TARGETS)
    twin.step(INPUTS, TARGETS)
    measured = twin.member(1)  # what the poisoned step measures: the last trial, for others the accepted point
    before = Ensemble(perceptron, MEMBERS, "ecco_stable", dtype=torch.float64).member(1)
    poisoned(ensemble, 1)
    ensemble.step(INPUTS, TARGETS)
    ending = ensemble.endings[1]
    assert (ending.status, ending.step, ending.bad_parameter) == (Status.NONFINITE, 2, "0.weight")
    assert math.isnan(ending.loss)
    what = "the objective or its gradient was not a finite number at the trial"
    assert str(ending) == f"nonfinite at step 2 (loss nan): {what}, first in 0.weight"
    assert torch.equal(vector(ensemble.member(1)), vector(before))
    assert distance(ensemble.member(1), measured) > 0
    assert ensemble.record.loss.shape == (3, MEMBERS)
    assert ensemble.status == [Status.RUNNING, Status.NONFINITE, Status.RUNNING]


def test_a_start_that_is_not_finite_ends_at_once():
    def model_fn(seed):
        model = perceptron(seed)
        if seed == 1:
            nn.init.constant_(model[2].bias, torch.inf)
        return model

    ensemble = Ensemble(model_fn, MEMBERS, "ecdsep")
    ensemble.fit(INPUTS, TARGETS, epochs=1)
    assert ensemble.endings[1].step == 1
    assert ensemble.status[0] == ensemble.status[2] == Status.RUNNING
    assert torch.isinf(ensemble.member(1)[2].bias).all()


def test_a_method_that_can_go_back_survives_a_nan():
    ensemble = Ensemble(perceptron, MEMBERS, "armijo", {"h0": 0.1}, dtype=torch.float64)
    for _ in range(3):
        ensemble.step(INPUTS, TARGETS)
    accepted = vector(ensemble.member(1))
    poisoned(ensemble, 1)
    assert ensemble.status == [Status.RUNNING] * MEMBERS
    assert ensemble.record.accepted[-1].tolist() == [True, False, True]
    assert torch.equal(vector(ensemble.member(1)), accepted)
    ensemble.step(INPUTS, TARGETS)
    assert ensemble.record.h[-1, 1] == ensemble.record.h[-2, 1] / 2


def test_a_member_sent_back_for_ever_ends():
    ensemble = Ensemble(perceptron, 2, "armijo", {"backtrack": [1e-9, 0.5]}, dtype=torch.float64)
    ensemble.step(INPUTS, TARGETS)
    for _ in range(4):
        ensemble.step(INPUTS * torch.nan, TARGETS)
    assert ensemble.status == [Status.STEP_TOO_SMALL, Status.RUNNING]
    assert ensemble.endings[0].step == 5


def test_a_member_below_f0_ends_and_stays():
    ensemble = Ensemble(perceptron, MEMBERS, "ecdsep", {"F0": [0.0, 0.7, -1.0]}, dtype=torch.float64)
    while not ensemble.endings:
        assert ensemble.step(INPUTS, TARGETS).isfinite().all()
    ending = ensemble.endings[1]
    assert ensemble.status == [Status.RUNNING, Status.BELOW_F0, Status.RUNNING]
    assert (ending.step, ending.bad_parameter) == (ensemble.steps, "")
    assert ending.loss == ensemble.record.loss[-1, 1] < 0.7
    left = vector(ensemble.member(1))
    assert ensemble.evaluate(INPUTS, TARGETS)["loss"][1] == ending.loss  # it stays where F0 was passed
    for _ in range(5):
        assert ensemble.step(INPUTS, TARGETS).isfinite().tolist() == [True, False, True]
    assert torch.equal(vector(ensemble.member(1)), left)
    for column in ensemble.record[:4]:
        assert torch.tensor(column[-5:, 1]).isnan().all()
    assert not ensemble.record.accepted[-5:, 1].any()


def test_a_gradient_too_large_to_square_is_divergence():
    task = tasks.Task(lambda output, target: 1e25 * tasks.cross_entropy(output, target), {})
    ensemble = Ensemble(perceptron, MEMBERS, "gd", task=task)
    ensemble.step(INPUTS, TARGETS)
    assert ensemble.status == [Status.DIVERGED] * MEMBERS
    assert ensemble.endings[0].loss == pytest.approx(1e25, rel=1)
    assert ensemble.endings[0].bad_parameter == "0.weight"


def test_when_all_have_ended_nothing_more_is_done():
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x) * torch.nan

    ensemble = Ensemble(lambda seed: Counted(8, 3), MEMBERS, "gd")
    ensemble.fit(INPUTS, TARGETS, epochs=5, batch_size=SIZE)
    assert ensemble.steps == 1
    assert ensemble.status == [Status.NONFINITE] * MEMBERS
    assert ensemble.step(INPUTS, TARGETS).isnan().all()
    assert len(calls) == 1


# dropout, normalisation, and other modules


def dropping(seed: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))


def test_dropout_is_a_members_own():
    def train(seeds, chunk=None):
        ensemble = Ensemble(dropping, len(seeds), "gd", {"lr": 0.1}, seeds=seeds, dtype=torch.float64, chunk=chunk)
        ensemble.fit(INPUTS, TARGETS, epochs=2, batch_size=SIZE)
        return ensemble

    together = train([3, 4, 5])
    for row, seed in enumerate([3, 4, 5]):
        assert distance(train([seed]).member(0), together.member(row)) < 1e-12
    member = together.member(0)
    assert type(member[1]) is nn.Dropout
    with torch.no_grad():
        loss = nn.functional.cross_entropy(member.eval()(INPUTS), TARGETS)
    torch.testing.assert_close(together.evaluate(INPUTS, TARGETS)["loss"][0], loss)  # without dropout


def test_dropout_has_the_right_mean_and_is_new_in_every_step_layer_and_member():
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.scale = nn.Dropout(0.3), nn.Dropout(0.3), nn.Parameter(torch.ones(()))

        def forward(self, x):
            ones = torch.ones_like(x)
            return self.scale * torch.stack([self.first(ones), self.second(ones)], 1)

    task = tasks.Task(lambda output, layer: (output * layer).mean() * 2, {})
    x, means = torch.zeros(40, 50), []
    for layer in torch.eye(2):
        ensemble = Ensemble(lambda seed: Seen(), 2, "gd", {"lr": 1e-12}, task=task, dtype=torch.float64)
        means += [ensemble.step(x, layer.view(1, 2, 1).expand(40, 2, 50)) for _ in range(2)]
    means = torch.stack(means).flatten()  # over 2000 numbers each, of both layers, steps and members
    assert len(set(means.tolist())) == 8
    error = math.sqrt(0.3 / 0.7 / 2000)
    assert (means - 1).abs().max() < 4 * error
    assert (means - 1).square().mean().sqrt() > error / 4


@together(
    ("module", "wanted"),
    [
        (lambda: nn.BatchNorm1d(8), "track_running_stats=False"),
        (lambda: nn.InstanceNorm1d(8, track_running_stats=True), "GroupNorm"),
        (lambda: nn.LSTM(8, 8), "fused=False"),
        (lambda: nn.GRU(8, 8), "nn.GRUCell"),
        (lambda: nn.AlphaDropout(0.5), "nn.Dropout"),
        (lambda: nn.LazyLinear(3), "lazy"),
        (lambda: nn.Embedding(8, 3, sparse=True), "sparse=False"),
        (lambda: nn.Linear(8, 3, dtype=torch.bfloat16), "float32 or float64"),
        (lambda: nn.Linear(8, 3).requires_grad_(False), "no parameter to train"),
        (lambda: "net", "torch.nn.Module"),
    ],
)
def test_networks_that_cannot_be_stacked_are_refused(module, wanted):
    with pytest.raises(BadValue, match=wanted):
        Ensemble(lambda seed: module(), MEMBERS, "gd")


class Functional(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.linear, self.operation = nn.Linear(8, 3), operation

    def forward(self, x):
        return self.operation(self.linear(x))


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [(lambda x: nn.functional.dropout(x, 0.5), "only the module nn.Dropout"), (lambda x: x * x.sum().item(), "vmap")],
)
def test_operations_that_cannot_run_side_by_side_are_refused(operation, wanted):
    ensemble = Ensemble(lambda seed: Functional(operation), MEMBERS, "gd")
    with pytest.raises(BadValue, match=wanted):
        ensemble.step(INPUTS, TARGETS)


def test_an_error_of_the_network_itself_is_its_own():
    ensemble = Ensemble(perceptron, MEMBERS, "gd")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ensemble.step(INPUTS[:, :5], TARGETS)


def test_batch_norm_without_running_statistics_runs():
    def model_fn(seed):
        return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))

    with pytest.raises(BadValue, match="1 is BatchNorm1d"):
        Ensemble(model_fn, MEMBERS, "gd")
    ensemble = Ensemble(lambda seed: torch.func.replace_all_batch_norm_modules_(model_fn(seed)), MEMBERS, "gd")
    ensemble.fit(INPUTS, TARGETS, epochs=1)
    assert ensemble.status == [Status.RUNNING] * MEMBERS


IMAGES = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(2))
SERIES = torch.randn(12, 5, 3, generator=torch.Generator().manual_seed(3))
TOKENS = torch.arange(108).view(12, 9) % 7


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    ("spec", "task", "inputs", "targets", "outputs", "options"),
    [
        ("cnn:4-6", "classification", IMAGES, torch.arange(12) % 4, 4, {}),
        ("lstm:8", "regression", SERIES, SERIES[:, -1, :2].sin(), 2, {"fused": False}),
        ("lstm:8x2", "language", TOKENS, TOKENS.roll(1, 1), 7, {"fused": False, "tie": True}),
        ("transformer:16x1", "language", TOKENS, TOKENS.roll(1, 1), 7, {}),
    ],
)
def test_networks_of_every_kind(spec, task, inputs, targets, outputs, options):
    def model_fn(seed):
        shape = inputs.shape[1:]
        return models.build(spec, input_shape=shape, outputs=outputs, task=task, seed=seed, **options)

    ensemble, replay = (
        Ensemble(make, 2, "elra", seeds=SEEDS[:2], task=task, dtype=torch.float64)
        for make in (model_fn, from_nudged_starts(model_fn))
    )
    found = {"loss": [], **{name: [] for name in tasks.metrics_for(task)}}
    inputs, targets = (x.double() if x.is_floating_point() else x for x in (inputs, targets))
    for _ in range(4):
        ensemble.step(inputs, targets)
        replay.step(inputs, targets)
    bounds = [rounding(ensemble.member(row), replay.member(row)) for row in range(2)]
    for row, seed in enumerate(SEEDS[:2]):
        model = seeded(model_fn, seed)
        optimizer = FlowOptimizer(model.parameters(), "elra", seed=seed)
        for _ in range(4):
            optimizer.zero_grad()
            loss = tasks.loss_for(task)(model(inputs), targets)
            loss.backward()
            optimizer.step(loss=loss)
        with optimizer.accepted():
            assert distance(ensemble.member(row), model) < bounds[row]
            alone = evaluation.evaluate(model, inputs, targets, tasks.task(task))
        assert [name for name, _ in ensemble.member(row).named_parameters()] == [n for n, _ in model.named_parameters()]
        for name, value in alone.items():
            found[name].append(value)
    ours = ensemble.evaluate(inputs, targets)
    assert ours.keys() == found.keys()
    for name, column in ours.items():
        torch.testing.assert_close(column, torch.tensor(found[name], dtype=torch.float64), rtol=max(bounds), atol=0)


def test_frozen_parameters_and_buffers_are_a_members_own_and_stay():
    def model_fn(seed):
        model = perceptron(seed)
        model[0].requires_grad_(False)
        model.register_buffer("offset", torch.full((2, 3), float(seed)))
        return model

    ensemble = Ensemble(model_fn, MEMBERS, "gd", {"lr": 0.1}, seeds=SEEDS)
    ensemble.fit(INPUTS, TARGETS, epochs=1)
    for row, seed in enumerate(SEEDS):
        start, end = seeded(model_fn, seed).float(), ensemble.member(row)
        assert torch.equal(end.offset, start.offset)
        assert torch.equal(end[0].weight, start[0].weight)
        assert not torch.equal(end[2].weight, start[2].weight)
        assert not end[0].weight.requires_grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (4,)])
def test_outputs_first_is_linear(bias, shape):
    plain = nn.Linear(4, 3, bias=bias, dtype=torch.float64)
    ours = OutputsFirst(4, 3, bias=bias, dtype=torch.float64)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(ours(x), plain(x))
    for layer in (ours, plain):
        layer(x).sin().sum().backward()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


# what an ensemble tells


def test_results_and_table_by_hyperparameters():
    given = {"lr": torch.tensor([0.1, 0.1, 1e30], dtype=torch.float64), "beta": 0.5}
    ensemble = Ensemble(rectified, MEMBERS, "gdm", given, seeds=10)
    ensemble.fit(INPUTS, TARGETS, epochs=2, batch_size=SIZE)
    found = ensemble.evaluate(INPUTS, TARGETS)
    results = ensemble.results(INPUTS, TARGETS)
    assert [result["seed"] for result in results] == ensemble.seeds == [10, 11, 12]
    assert results[1] == {
        "member": 1,
        "seed": 11,
        "lr": 0.1,
        "beta": 0.5,
        "status": "running",
        "loss": float(found["loss"][1]),
        "accuracy": float(found["accuracy"][1]),
    }
    assert [result["status"] for result in results] == ["running", "running", "diverged"]
    columns = {column.header: list(column.cells) for column in ensemble.table(INPUTS, TARGETS).columns}
    assert columns["lr"] == ["0.1", "1e+30"]
    assert columns["members"] == ["2", "1"]
    assert columns["ended"] == ["0", "1"]
    accuracy = found["accuracy"][:2]
    assert columns["accuracy"][0] == f"{accuracy.mean():.4g} ± {accuracy.std(correction=0):.4g}"
    assert "beta" not in columns


def test_evaluation_goes_over_all_samples_whatever_they_weigh():
    ensemble = Ensemble(perceptron, MEMBERS, "gd", seeds=SEEDS, dtype=torch.float64)
    inputs, targets = INPUTS.repeat(5, 1), TARGETS.repeat(5)
    assert len(inputs) > evaluation.AT_A_TIME
    found = ensemble.evaluate(inputs.numpy(), targets.numpy())
    for row, seed in enumerate(SEEDS):
        alone = evaluation.evaluate(seeded(perceptron, seed), INPUTS, TARGETS, tasks.task("classification"))
        assert found["loss"][row].item() == pytest.approx(alone["loss"], rel=1e-12)
        assert found["accuracy"][row].item() == pytest.approx(alone["accuracy"], rel=1e-12)


@pytest.mark.parametrize(("every", "kept"), [(0, 0), (1, 9), (4, 3)])
def test_every_nth_step_is_recorded(every, kept):
    ensemble = Ensemble(perceptron, MEMBERS, "elra", record_every=every)
    full = Ensemble(perceptron, MEMBERS, "elra")
    for run in (ensemble, full):
        run.fit(INPUTS, TARGETS, epochs=1, batch_size=SIZE)
    assert ensemble.record.loss.shape == (kept, MEMBERS)
    if every:
        torch.testing.assert_close(ensemble.record.h, full.record.h[::every], rtol=0, atol=0, equal_nan=True)


def test_ctrl_c_ends_between_two_steps():
    steps = []

    class Interrupting(nn.Linear):
        def forward(self, x):
            steps.append(1)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)

    ensemble = Ensemble(lambda seed: Interrupting(8, 3), MEMBERS, "gd")
    ensemble.fit(INPUTS, TARGETS, epochs=2, batch_size=SIZE)
    assert ensemble.steps == 3
    assert ensemble.epochs == 0
    assert ensemble.status == [Status.RUNNING] * MEMBERS


def test_torchs_random_numbers_go_on_as_if_nothing_had_been_built():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    ensemble = Ensemble(dropping, MEMBERS, "ecdsep")
    ensemble.fit(INPUTS, TARGETS, epochs=1)
    assert torch.equal(torch.rand(3), expected)


# what is refused


@together(
    ("arguments", "wanted"),
    [
        ({"members": 0}, "members = 0"),
        ({"members": 2.5}, "members = 2.5"),
        ({"chunk": 0}, "chunk = 0"),
        ({"record_every": -1}, "record_every = -1"),
        ({"hyperparameters": {"lr": [0.1, 0.2]}}, r"lr has shape \(2,\), but there are 3 members"),
        ({"hyperparameters": {"lr": [0.1, "a", 0.2]}}, "one a member"),
        ({"hyperparameters": {"lr": [0.1, 0.2, -0.1]}}, "outside its range"),
        ({"hyperparameters": {"weight_decay": [0.1, 0.2, -0.1]}}, "weight_decay"),
        ({"seeds": [1, 2]}, "3 whole numbers"),
        ({"seeds": [1, 2, -3]}, ">= 0"),
        ({"seeds": [1.5, 2.0, 3.0]}, "whole numbers"),
        ({"seeds": "abc"}, "seeds = 'abc'"),
        ({"method": "torch:Adam"}, "a network at a time"),
    ],
)
def test_bad_arguments_are_refused_before_a_network_is_built(arguments, wanted):
    def never(seed):
        raise AssertionError("built")

    with pytest.raises(BadValue, match=wanted):
        Ensemble(**({"model_fn": never, "members": MEMBERS, "method": "gd"} | arguments))


def test_unknown_names_are_refused():
    with pytest.raises(UnknownName, match="parameter of gd"):
        Ensemble(perceptron, MEMBERS, "gd", {"eta": 0.1})
    with pytest.raises(UnknownName, match="no method"):
        Ensemble(perceptron, MEMBERS, "gdx")
    with pytest.raises(UnknownName, match="no task"):
        Ensemble(perceptron, MEMBERS, "gd", task="ranking")


def test_members_must_be_alike():
    with pytest.raises(BadValue, match=r"member 2"):
        Ensemble(lambda seed: nn.Linear(8, 3 + (seed == 2)), MEMBERS, "gd")


@together(
    ("inputs", "targets", "shared", "wanted"),
    [
        ((5, 8), (4,), True, "as many samples"),
        ((0, 8), (0,), True, "as many samples"),
        ((), (), True, "as many samples"),
        ((2, 5, 8), (2, 5), False, r"\(3, N, \.\.\.\)"),
        ((3, 5, 8), (3, 4), False, "as many samples"),
        ((3,), (3,), False, "as many samples"),
    ],
)
def test_samples_must_fit(inputs, targets, shared, wanted):
    ensemble = Ensemble(perceptron, MEMBERS, "gd")
    with pytest.raises(BadValue, match=wanted):
        ensemble.step(torch.zeros(inputs), torch.zeros(targets, dtype=torch.int64), shared=shared)


def test_there_is_no_such_member():
    ensemble = Ensemble(perceptron, MEMBERS, "gd")
    assert torch.equal(vector(ensemble.member(-1)), vector(ensemble.member(2)))
    with pytest.raises(BadValue, match="no member 3"):
        ensemble.member(3)
