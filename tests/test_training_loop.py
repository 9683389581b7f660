"""The training loop: against loops written out by hand, its records, how it ends, and resuming bit for bit."""

import csv
import json
import math
import signal
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from together import together
from torch import Tensor, nn
from torch.optim import lr_scheduler

from flowopt.core.errors import BadValue
from flowopt.networks import evaluation
from flowopt.networks._batch_size import BatchSizeController
from flowopt.networks._batches import batches
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks._trainable_lr import TrainableLR
from flowopt.networks.evaluation import evaluate
from flowopt.networks.limiting._limiting import ActivationLimiting
from flowopt.networks.tasks import TASKS, Metric
from flowopt.show._training_curves import training_curves
from flowopt.training._fit import fit
from flowopt.training._history import History, Step, summary
from flowopt.training._tensorboard import TensorBoardLogger, summary_writer
from flowopt.training.datasets import Dataset

TRAINING, TEST, BATCH = 70, 30, 16
STEPS = 5
"""An epoch: the last batch has 6 samples."""


def clouds(scale: float = 1.0) -> Dataset:
    """Three classes of points, images of one channel."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(TRAINING + TEST) % 3
    x = torch.randn(TRAINING + TEST, 1, 2, 4, generator=generator) + labels.view(-1, 1, 1, 1)
    x *= scale
    return Dataset(
        "clouds", "classification", x[:TRAINING], labels[:TRAINING], x[TRAINING:], labels[TRAINING:], outputs=3
    )


def perceptron(dropout: float = 0.0, norm: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        middle = nn.BatchNorm1d(12) if norm else nn.Identity()
        return nn.Sequential(nn.Flatten(), nn.Linear(8, 12), middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 3))


def flow(model: nn.Module, name: str, **parameters: Any) -> FlowOptimizer:
    return FlowOptimizer(model.named_parameters(), name, **parameters)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in model.state_dict().values()])


def same(a: Any, b: Any) -> bool:
    """Equal in every bit, NaN included; seconds aside."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a if key != "seconds")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def by_hand(model: nn.Module, optimizer: Any, epochs: int, seed: int = 0, curved: bool = False, scheduler: Any = None):
    """What anybody would write; returns the losses."""
    data, losses = clouds(), []
    torch.manual_seed(seed)
    for epoch in range(epochs):
        model.train()
        for samples in batches(TRAINING, BATCH, seed=seed, epoch=epoch):

            def closure(samples=samples):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(data.train_inputs[samples]), data.train_targets[samples])
                loss.backward(create_graph=curved)
                return loss.detach()

            losses.append(float(optimizer.step(closure)))
        if scheduler is not None:
            scheduler.step()
    return losses


MAKERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "Adam": partial(torch.optim.Adam, lr=0.01),
    "LBFGS": partial(torch.optim.LBFGS, max_iter=3),
    "ecdsep": lambda parameters: FlowOptimizer(parameters, "ecdsep", seed=3, nu=1e-3),
    "elra": lambda parameters: FlowOptimizer(parameters, "elra", seed=3, alpha0=0.5),
    "tlr": lambda parameters: FlowOptimizer(parameters, "tlr", lr=0.05, batches_per_epoch=10),
    "flow": lambda parameters: FlowOptimizer(parameters, "flow", rtol=1e-2, atol=1e-3),
    "ecco, curvature": lambda parameters: FlowOptimizer(parameters, "ecco", scaling="curvature"),
    "trainable lr": lambda parameters: TrainableLR(torch.optim.Adam(parameters, lr=0.01), K=2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_loop_that_one_would_write(name: str) -> None:
    curved = name == "ecco, curvature"
    mine, theirs = perceptron(dropout=0.2), perceptron(dropout=0.2)
    history = fit(mine, clouds(), MAKERS[name](list(mine.parameters())), epochs=3, batch_size=BATCH, seed=4)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        if curved:  # torch warns of the leak that the loop avoids
            warnings.simplefilter("ignore", UserWarning)
        losses = by_hand(theirs, MAKERS[name](list(theirs.parameters())), epochs=3, seed=4, curved=curved)
    assert torch.equal(weights(mine), weights(theirs))
    assert [step.loss for step in history.steps] == losses
    assert [step.size for step in history.steps] == [16, 16, 16, 16, 6] * 3


def test_a_scheduler_steps_once_an_epoch() -> None:
    mine, theirs = perceptron(), perceptron()
    optimizer, other = (torch.optim.SGD(model.parameters(), lr=0.2) for model in (mine, theirs))
    history = fit(
        mine, clouds(), optimizer, epochs=3, batch_size=BATCH, scheduler=lr_scheduler.ExponentialLR(optimizer, 0.5)
    )
    by_hand(theirs, other, epochs=3, scheduler=lr_scheduler.ExponentialLR(other, 0.5))
    assert torch.equal(weights(mine), weights(theirs))
    assert [epoch["h"] for epoch in history.epochs] == [0.2, 0.1, 0.05]


def test_a_plateau_scheduler_looks_at_the_training_loss() -> None:
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)  # the losses stay, but for the order of the samples
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5, eps=0.0)
    history = fit(model, clouds(), optimizer, epochs=3, batch_size=BATCH, scheduler=plateau)
    assert plateau.best == history.epochs[0]["train_loss"]
    assert [epoch["h"] for epoch in history.epochs] == [1e-9, 1e-9, 5e-10]


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")  # torch warns of the leak that the loop avoids
@pytest.mark.parametrize("name", ["SGD", "ecco, curvature"])
def test_the_batch_grows_as_in_the_loop_of_its_controller(name: str) -> None:
    data, losses = clouds(), []
    mine, theirs = perceptron(), perceptron()
    growth = BatchSizeController(m_max=8, gradient_decay=True)
    history = fit(mine, data, MAKERS[name](list(mine.parameters())), epochs=8, batch_size=8, growth=growth)
    controller, optimizer = BatchSizeController(m_max=8, gradient_decay=True), MAKERS[name](list(theirs.parameters()))
    for epoch in range(8):
        for batch in controller.group(batches(TRAINING, 8, seed=0, epoch=epoch, drop_last=True)):

            def closure(batch=batch):
                optimizer.zero_grad()
                found = []
                for samples in batch:
                    loss = nn.functional.cross_entropy(theirs(data.train_inputs[samples]), data.train_targets[samples])
                    (loss * controller.loss_factor).backward(create_graph=name != "SGD")
                    found.append(loss.detach())
                return torch.stack(found).mean()

            losses.append(float(optimizer.step(closure)))
            for _ in batch:
                controller.record(losses[-1])
        controller.end_period()
    assert torch.equal(weights(mine), weights(theirs))
    assert growth.m == controller.m > 1
    assert len({step.size for step in history.steps}) > 1
    assert [step.loss for step in history.steps] == losses


def test_evaluation_is_that_of_all_samples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "AT_A_TIME", 13)
    x, y = torch.randn(40, 6, 8), torch.randint(5, (40, 6))
    model = nn.Sequential(nn.Linear(8, 5), nn.Dropout(0.5))
    found = evaluate(model, x, y, TASKS["language"])
    nats = nn.functional.cross_entropy(model[0](x).flatten(0, 1), y.flatten()).item()
    assert found == pytest.approx(
        {"loss": nats, "perplexity": math.exp(nats), "bits_per_character": nats / math.log(2)}
    )
    assert model.training
    assert not evaluate(model.eval(), x, y, TASKS["language"]).keys() ^ found.keys()
    assert not model.training


def test_a_task_of_ones_own() -> None:
    data = clouds()
    margin = Metric(lambda logits, labels: logits.softmax(-1).gather(-1, labels[:, None]).mean())
    task = replace(TASKS["classification"], loss=lambda o, t: 2 * TASKS["classification"].loss(o, t))
    task = replace(task, metrics={"confidence": margin})
    mine, theirs = perceptron(), perceptron()
    history = fit(mine, data, torch.optim.SGD(mine.parameters(), lr=0.1), epochs=2, batch_size=BATCH, task=task)
    fit(theirs, data, torch.optim.SGD(theirs.parameters(), lr=0.2), epochs=2, batch_size=BATCH)
    assert torch.equal(weights(mine), weights(theirs))
    assert history.metrics == ["confidence"]
    chosen = mine(data.test_inputs).softmax(-1)[torch.arange(TEST), data.test_targets].mean()
    assert history.epochs[-1]["confidence"] == pytest.approx(float(chosen.detach()))


def test_what_is_judged_later_is_evaluated_and_saved_where_it_was_accepted(tmp_path: Path) -> None:
    data, model, apart = clouds(), perceptron(), 0
    optimizer = flow(model, "elra", alpha0=0.5)

    def look(history: History) -> None:
        nonlocal apart
        pending = weights(model).clone()
        with optimizer.accepted():
            point = weights(model).clone()
            found = evaluate(model, data.test_inputs, data.test_targets, TASKS["classification"])
        assert history.epochs[-1]["test_loss"] == found["loss"]
        assert history.epochs[-1]["accuracy"] == found["accuracy"]
        apart += not torch.equal(pending, point)

    fit(model, data, optimizer, epochs=4, batch_size=BATCH, callbacks=[look], out=tmp_path)
    assert apart == 4
    saved = perceptron()
    saved.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    with optimizer.accepted():
        assert torch.equal(weights(saved), weights(model))


def test_the_record_of_an_epoch_is_that_of_its_steps() -> None:
    nan = math.nan
    steps = [
        Step(2, 4, 1.0, 0.1, nan, 3.0, True, False, True),
        Step(2, 4, nan, 0.3, nan, nan, False, False, False),  # sent back
        Step(2, 4, 9.0, 0.2, nan, 5.0, False, True, False),  # held: its gradient was not finite
        Step(2, 1, 2.0, 0.2, nan, 4.0, True, False, True),
    ]
    expected = {
        "epoch": 2,
        "steps": 11,
        "train_loss": (4 * 1.0 + 4 * 9.0 + 2.0) / 9,
        "test_loss": 0.5,
        "accuracy": 0.75,
        "h": 0.2,
        "error": nan,
        "energy": 4.0,
        "accepted": 0.5,
        "retraces": 1,
        "nonfinite": 2,
        "seconds": 7.5,
    }
    found = summary(steps, {"loss": 0.5, "accuracy": 0.75}, 11, 7.5)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, nan_ok=True)


def test_steps_are_what_the_optimizer_tells() -> None:
    model, told = perceptron(), []
    optimizer = flow(model, "ecco_stable")
    optimizer.register_step_post_hook(lambda *_: told.append(optimizer.last_step.to_dict()))
    history = fit(model, clouds(), optimizer, epochs=2, batch_size=BATCH)
    for name in ("loss", "h", "error", "energy", "accepted", "held"):
        np.testing.assert_array_equal([getattr(step, name) for step in history.steps], [one[name] for one in told])
    assert [step.epoch for step in history.steps] == [1] * STEPS + [2] * STEPS
    assert np.isfinite([step.error for step in history.steps[1:]]).all()


def test_files_hold_what_the_history_holds(tmp_path: Path) -> None:
    model = perceptron()
    adam = torch.optim.Adam(model.parameters())
    history = fit(model, clouds(), adam, epochs=2, batch_size=BATCH, out=tmp_path / "new", settings={"who": "we"})
    with (tmp_path / "new" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["", ""]
    number = partial(pytest.approx, nan_ok=True)
    assert [{k: float(v or "nan") for k, v in row.items()} for row in rows] == [
        number(epoch) for epoch in history.epochs
    ]
    with (tmp_path / "new" / "steps.csv").open(newline="") as file:
        steps = list(csv.DictReader(file))
    assert [float(step["loss"]) for step in steps] == [step.loss for step in history.steps]
    assert {step["accepted"] for step in steps} == {"1"}
    kept = json.loads((tmp_path / "new" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert kept == json.loads(json.dumps(history.to_dict()))
    assert kept["status"] == "complete"
    assert kept["epochs"][1]["error"] is None
    assert kept["settings"] | {"who": "we", "optimizer": "Adam", "lr": 1e-3, "betas": [0.9, 0.999]} == kept["settings"]
    table = history.table().splitlines()
    assert len(table) == 3
    assert max(map(len, table)) <= 80
    assert f"{history.epochs[1]['accuracy']:.4g}" in table[2]


def test_random_numbers_of_others_go_on_undisturbed() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    model = perceptron(dropout=0.5)
    fit(model, clouds(), torch.optim.SGD(model.parameters(), lr=0.1), epochs=1)
    assert torch.equal(torch.rand(3), expected)
    seeds = []
    for seed in (0, 0, 1):
        model = perceptron(dropout=0.5)
        fit(model, clouds(), torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, batch_size=TRAINING, seed=seed)
        seeds.append(weights(model))
    assert torch.equal(seeds[0], seeds[1])
    assert not torch.equal(seeds[0], seeds[2])  # one batch of all samples: but for rounding, dropout alone differs


@pytest.mark.parametrize("name", ["SGD", "gd", "elra"])
def test_a_run_that_diverges_ends_and_says_why(name: str, tmp_path: Path) -> None:
    model = perceptron()
    with torch.no_grad():
        model[1].weight *= 1e30
        model[5].weight *= 1e30
    if name == "SGD":
        optimizer: Any = torch.optim.SGD(model.parameters(), lr=1e30)
        history = fit(model, clouds(), optimizer, epochs=9, batch_size=BATCH, out=tmp_path)
    else:
        optimizer = flow(model, name)
        with pytest.warns(UserWarning, match="nonfinite at loss"):
            history = fit(model, clouds(), optimizer, epochs=9, batch_size=BATCH, out=tmp_path)
    assert history.status == "diverged"
    assert len(history.epochs) < 3
    assert history.epochs[-1]["nonfinite"] == STEPS
    first = next(place for place, step in enumerate(history.steps, 1) if not step.finite)
    assert f"step {first}." in history.message
    assert ("1.weight" in history.message) == (name != "SGD")
    assert json.loads((tmp_path / "metrics.json").read_text())["status"] == "diverged"
    again = fit(model, clouds(), optimizer, epochs=9, batch_size=BATCH, out=tmp_path, resume=True)
    assert (again.status, len(again.epochs)) == ("diverged", len(history.epochs))


def test_a_flow_that_comes_to_its_end_says_so() -> None:
    model = perceptron()
    optimizer = flow(model, "ecdsep", F0=50.0)  # above the loss
    with pytest.warns(UserWarning, match="below F0"):
        history = fit(model, clouds(), optimizer, epochs=9, batch_size=BATCH)
    assert (history.status, len(history.epochs)) == ("ended", 1)
    assert optimizer.last_step.ended in history.message


def test_a_callback_stops_the_run_and_it_can_go_on(tmp_path: Path) -> None:
    model, seen = perceptron(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = partial(fit, model, clouds(), optimizer, batch_size=BATCH, out=tmp_path)
    history = run(epochs=9, callbacks=[lambda history: len(history.epochs) == 2, lambda history: seen.append(1)])
    assert (history.status, len(history.epochs), len(seen)) == ("stopped", 2, 2)
    longer = run(epochs=4, resume=True)
    assert (longer.status, len(longer.epochs)) == ("complete", 4)
    assert same(longer.epochs[:2], history.epochs)
    nothing_left = run(epochs=3, resume=True)
    assert (nothing_left.status, len(nothing_left.epochs)) == ("complete", 4)


def interrupting(after: int) -> Any:
    """The classification task; the loss of training is asked for the so-manieth time, and then comes Ctrl-C."""
    calls = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        if calls == after and torch.is_grad_enabled():
            signal.raise_signal(signal.SIGINT)
        return TASKS["classification"].loss(output, target)

    return replace(TASKS["classification"], loss=loss)


def files(folder: Path) -> Any:
    return [torch.load(folder / name, weights_only=True) for name in ("model.pt", "checkpoint.pt")]


def parts(name: str, dropout: float) -> tuple[nn.Module, Any, dict[str, Any]]:
    model = perceptron(dropout=dropout, norm=name not in ("ecco, curvature", "limited"))
    if name == "limited":
        return model, FlowOptimizer(model.parameters(), "ecco", limiting=ActivationLimiting(model)), {}
    if name == "growing batch":
        return model, torch.optim.SGD(model.parameters(), lr=0.3), {"growth": BatchSizeController(m_max=3)}
    if name == "scheduler":
        optimizer = flow(model, "gdm", lr=0.1)
        return model, optimizer, {"scheduler": lr_scheduler.StepLR(optimizer, 1, gamma=0.7)}
    return model, MAKERS[name](list(model.parameters())), {}


@pytest.mark.parametrize("after", [1, 7, 10])  # in the first step, within an epoch, at its end
@pytest.mark.parametrize("name", [*MAKERS, "limited", "growing batch", "scheduler"])
def test_resuming_is_bit_exact(name: str, after: int, tmp_path: Path) -> None:
    growing = name == "growing batch"  # there, small micro-batches and more of them, so that it does grow
    run = partial(fit, data=clouds(), epochs=4, batch_size=4 if growing else BATCH, seed=2)
    after *= 4 if growing else 1
    model, optimizer, others = parts(name, 0.3)
    whole = run(model, optimizer=optimizer, out=tmp_path / "whole", **others)
    assert whole.status == "complete"
    assert not growing or others["growth"].m > 1
    model, optimizer, others = parts(name, 0.3)
    cut = run(model, optimizer=optimizer, out=tmp_path / "cut", task=interrupting(after), **others)
    assert cut.status == "interrupted"
    assert len(cut.steps) <= after
    model, optimizer, others = parts(name, 0.3)
    with torch.no_grad():
        model[1].weight.zero_()  # what the fresh objects hold has no part in it
    rest = run(model, optimizer=optimizer, out=tmp_path / "cut", resume=True, **others)
    assert rest.status == "complete"
    assert np.all(np.diff([0, *(epoch["seconds"] for epoch in rest.epochs)]) > 0)
    assert same(files(tmp_path / "whole"), files(tmp_path / "cut"))
    assert np.array(rest.steps).tobytes() == np.array(whole.steps).tobytes()


def test_only_a_folder_without_a_run_is_written_into(tmp_path: Path) -> None:
    model = perceptron()
    run = partial(fit, model, clouds(), torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, out=tmp_path)
    run(resume=True)  # nothing there yet: it begins
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(BadValue, match="holds a run already"):
        run()
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


CHANGES = {
    "batch_size": {"batch_size": 9},
    "seed": {"seed": 1},
    "lr": {"optimizer": lambda model: torch.optim.SGD(model.parameters(), lr=0.2)},
    "optimizer": {"optimizer": lambda model: torch.optim.Adam(model.parameters(), lr=0.1)},
    "samples": {"data": clouds(scale=1.5)},
    "model": {"model": nn.Linear(8, 3)},
    "scheduler": {"scheduler": "ConstantLR"},
    "who": {"settings": {"who": "they"}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_checkpoint_of_other_settings_is_refused_by_name(what: str, tmp_path: Path) -> None:
    def run(**changes: Any) -> History:
        model = changes.pop("model", perceptron())
        optimizer = changes.pop("optimizer", lambda model: torch.optim.SGD(model.parameters(), lr=0.1))(model)
        if "scheduler" in changes:
            changes["scheduler"] = lr_scheduler.ConstantLR(optimizer)
        given = {"data": clouds(), "batch_size": BATCH, "settings": {"who": "we"}, "epochs": 1, "out": tmp_path}
        return fit(model, optimizer=optimizer, resume=True, **given | changes)

    run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(BadValue, match=rf"other settings: .*\b{what} was .*, is "):
        run(**CHANGES[what])
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    run()


def test_parameters_of_a_method_are_settings_too(tmp_path: Path) -> None:
    def run(name: str, **parameters: Any) -> History:
        model = perceptron()
        return fit(model, clouds(), flow(model, name, **parameters), epochs=1, out=tmp_path, resume=True)

    run("ecdsep", nu=1e-3)
    with pytest.raises(BadValue, match=r"momentum_rotation\.nu was 0\.001, is 1e-05"):
        run("ecdsep")
    with pytest.raises(BadValue, match="other settings"):
        run("gd")


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "other"])
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    model = perceptron()
    run = partial(fit, model, clouds(), torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, out=tmp_path)
    run()
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-99], "noise": b"\x80" * 999, "empty": b""}.get(damage, whole))
    if damage == "other":
        torch.save([1, 2], path)
    with pytest.raises(BadValue, match="is not a checkpoint of flowopt, or is damaged"):
        run(resume=True)


def test_another_model_of_the_same_size_is_refused(tmp_path: Path) -> None:
    def run(model: nn.Module) -> History:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return fit(model, clouds(), optimizer, epochs=1, out=tmp_path, resume=True)

    run(nn.Sequential(nn.Flatten(), nn.Linear(8, 3), nn.Linear(3, 3)))
    with pytest.raises(BadValue, match="another model"):
        run(nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(8, 3), nn.Linear(3, 3)))


@together("wrong", [{"epochs": 0}, {"epochs": 2.5}, {"batch_size": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    model = perceptron()
    with pytest.raises(BadValue, match=next(iter(wrong))):
        fit(model, clouds(), torch.optim.SGD(model.parameters(), lr=0.1), **{"epochs": 1} | wrong)


class Notebook:
    """A SummaryWriter's stand-in."""

    def __init__(self) -> None:
        self.written: list[tuple[str, float, int]] = []
        self.flushed = 0

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.written.append((tag, scalar_value, global_step))

    def flush(self) -> None:
        self.flushed += 1

    def curve(self, tag: str) -> dict[int, float]:
        return {step: value for name, value, step in self.written if name == tag}


def test_tensorboard_gets_every_step_and_epoch() -> None:
    model, writer = perceptron(), Notebook()
    history = fit(
        model, clouds(), flow(model, "ecdsep"), epochs=2, batch_size=BATCH, callbacks=[TensorBoardLogger(writer)]
    )
    assert writer.curve("step/loss") == {i: step.loss for i, step in enumerate(history.steps, 1)}
    assert list(writer.curve("step/h")) == list(range(2, 2 * STEPS + 1))  # the first step has none before it
    assert not writer.curve("step/error")  # there is none at all
    assert writer.curve("epoch/test_loss") == {STEPS * i: history.epochs[i - 1]["test_loss"] for i in (1, 2)}
    assert list(writer.curve("metric/accuracy").values()) == [epoch["accuracy"] for epoch in history.epochs]
    assert writer.flushed == 2


def test_tensorboard_in_a_loop_of_ones_own(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = perceptron()
    optimizer = flow(model, "elra")
    losses = []
    with summary_writer(tmp_path) as writer:
        logger = TensorBoardLogger(writer)
        for _ in range(4):
            optimizer.zero_grad()
            loss = model(clouds().train_inputs).square().mean()
            loss.backward()
            optimizer.step(loss=loss)
            logger.step(optimizer.last_step)
            losses.append(float(loss.detach()))
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("step/loss")] == list(enumerate(losses, 1))


def test_without_tensorboard_there_is_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadValue, match="pip install tensorboard"):
        summary_writer(tmp_path)


def test_curves_show_the_numbers(tmp_path: Path) -> None:
    runs = {}
    for name in ("elra", "ecdsep"):
        model = perceptron()
        runs[name] = fit(model, clouds(), flow(model, name), epochs=3, batch_size=BATCH)
    figure = training_curves(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(panels) == [
        *("training loss", "step size h", "test loss", "error estimate", "test accuracy", "energy"),
    ]
    steps, means, *_ = panels["training loss"].lines
    np.testing.assert_allclose(steps.get_xdata(), np.arange(1, 16) / STEPS)
    np.testing.assert_array_equal(steps.get_ydata(), [step.loss for step in runs["elra"].steps])
    np.testing.assert_array_equal(means.get_ydata(), [epoch["train_loss"] for epoch in runs["elra"].epochs])
    accuracy = [line.get_ydata().tolist() for line in panels["test accuracy"].lines]
    assert accuracy == [[epoch["accuracy"] for epoch in run.epochs] for run in runs.values()]
    assert len(panels["error estimate"].lines) == 2  # ECDSep has none
    alone = training_curves(runs["ecdsep"])
    empty = next(axes for axes in alone.axes if axes.get_ylabel() == "error estimate")
    assert [text.get_text() for text in empty.texts] == ["no error estimate for this optimizer"]
    with pytest.raises(BadValue, match="nothing to draw"):
        training_curves(History())
