"""FlowOptimizer inside other people's training loops, unchanged: Lightning, Accelerate, skorch."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import BATCHES, CALLS_CLOSURE, NEEDS_LOSS, assert_same, data, loss_of, network, settings, train
from torch import Tensor, nn
from torch.optim import SGD, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from flowopt.core.errors import BadValue
from flowopt.networks._optimizer import FlowOptimizer

KINDS = ["gdm", "ecco", "ecdsep", "elra", "flow"]
"""Methods that need the gradient, the loss as well, one judged by the next loss, one that calls the closure itself."""


def build(parameters: Any, name: str) -> FlowOptimizer:
    return FlowOptimizer(parameters, name, compile=False, **settings(name))


def loader() -> DataLoader:
    """The batches of `loss_of`, in their order."""
    x, y = data()
    order = [index for part in range(BATCHES) for index in range(part, len(x), BATCHES)]
    return DataLoader(TensorDataset(x[order], y[order]), batch_size=len(x) // BATCHES)


@pytest.fixture
def quiet() -> Iterator[None]:
    """The frameworks warn of what they could do better; ours would still fail the test, for it is not theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="flowopt")
        yield


# --- Lightning


def lightning_module(name: str, scheduled: bool = False) -> Any:
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed (extra: test)")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            return nn.functional.mse_loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), 0.05, momentum=0.9) if name == "SGD" else build(self.parameters(), name)
            if not scheduled:
                return optimizer
            schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, 3 * BATCHES, cycle_momentum=False)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return Module()


def lightning_trainer(folder: Path, epochs: int, **given: Any) -> Any:
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed (extra: test)")
    return lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **given,
    )


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", KINDS)
def test_lightning_makes_the_steps_of_a_plain_loop(name: str, tmp_path: Path) -> None:
    module, plain = lightning_module(name), network()
    lightning_trainer(tmp_path, 3, enable_checkpointing=False).fit(module, loader())
    train(plain, build(plain.parameters(), name), 3 * BATCHES)
    assert_same(module.model, plain)


@pytest.mark.usefixtures("quiet")
def test_lightning_with_a_schedule_and_clipping_is_as_with_sgd(tmp_path: Path) -> None:
    ours, theirs = lightning_module("gdm", True), lightning_module("SGD", True)
    for module in (ours, theirs):
        trainer = lightning_trainer(
            tmp_path, 3, enable_checkpointing=False, gradient_clip_val=0.3, accumulate_grad_batches=2
        )
        trainer.fit(module, loader())
    assert_same(ours.model, theirs.model)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["ecdsep", "elra"])
def test_lightning_resumes_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    whole, first, second = (lightning_module(name) for _ in range(3))
    lightning_trainer(tmp_path, 4, enable_checkpointing=False).fit(whole, loader())
    trainer = lightning_trainer(tmp_path, 2)
    trainer.fit(first, loader())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    lightning_trainer(tmp_path, 4).fit(second, loader(), ckpt_path=tmp_path / "half.ckpt")
    assert_same(second.model, whole.model)


# --- Accelerate


def accelerated(optimizer: Any, model: nn.Module, **given: Any) -> tuple[Any, nn.Module, Any, Any]:
    accelerate = pytest.importorskip("accelerate", reason="Accelerate is not installed (extra: test)")
    accelerator = accelerate.Accelerator(cpu=True, **given)
    return accelerator, *accelerator.prepare(model, optimizer, loader())


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", KINDS)
def test_accelerate_makes_the_steps_of_a_plain_loop(name: str, tmp_path: Path) -> None:
    """Its step takes a closure only: what needs the loss and no more is given one that returns it."""
    model, plain = network(), network()
    accelerator, prepared, optimizer, batches = accelerated(build(model.parameters(), name), model)
    for _ in range(3):
        for x, y in batches:

            def compute(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(prepared(x), y)
                accelerator.backward(loss)
                return loss

            if name in CALLS_CLOSURE:
                optimizer.step(compute)
            elif name in NEEDS_LOSS:
                loss = compute()
                optimizer.step(lambda loss=loss: loss)
            else:
                compute()
                optimizer.step()
    train(plain, build(plain.parameters(), name), 3 * BATCHES)
    assert_same(model, plain)

    accelerator.save_state(str(tmp_path))
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    train(model, optimizer.optimizer, 3)
    moved = [parameter.detach().clone() for parameter in model.parameters()]
    accelerator.load_state(str(tmp_path))
    assert all(torch.equal(p, k) for p, k in zip(model.parameters(), kept, strict=True))
    train(model, optimizer.optimizer, 3)
    assert all(torch.equal(p, m) for p, m in zip(model.parameters(), moved, strict=True))


@pytest.mark.usefixtures("quiet")
def test_accelerate_accumulates_clips_and_schedules_as_with_sgd() -> None:
    ended = []
    for kind in ("gdm", "SGD"):
        model = network()
        bare = build(model.parameters(), kind) if kind == "gdm" else SGD(model.parameters(), 0.05, momentum=0.9)
        accelerator, prepared, optimizer, batches = accelerated(bare, model, gradient_accumulation_steps=2)
        schedule = accelerator.prepare(lr_scheduler.StepLR(bare, 2, 0.7))
        for _ in range(4):
            for x, y in batches:
                with accelerator.accumulate(prepared):
                    accelerator.backward(nn.functional.mse_loss(prepared(x), y))
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(prepared.parameters(), 0.3)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
        ended.append(model)
    assert_same(*ended)


@pytest.mark.usefixtures("quiet")
def test_accelerate_without_the_loss_is_told_what_is_missing() -> None:
    model = network()
    _, _, optimizer, _ = accelerated(build(model.parameters(), "ecdsep"), model)
    loss_of(model).backward()
    with pytest.raises(BadValue, match="ecdsep needs the loss"):
        optimizer.step()


# --- skorch


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", KINDS)
def test_skorch_makes_the_steps_of_a_plain_loop(name: str) -> None:
    """It hands its own lr to every optimizer: the factor 1 for a method without one."""
    skorch = pytest.importorskip("skorch", reason="skorch is not installed (extra: test)")
    given = {f"optimizer__{key}": value for key, value in settings(name).items()}
    net = skorch.NeuralNetRegressor(
        network,
        optimizer=FlowOptimizer,
        optimizer__method=name,
        optimizer__compile=False,
        lr=given.pop("optimizer__lr", 1.0),
        max_epochs=3,
        batch_size=len(data()[0]) // BATCHES,
        train_split=None,
        verbose=0,
        **given,
    )
    x, y = (torch.cat(parts) for parts in zip(*loader(), strict=True))
    net.fit(x.numpy(), y.numpy())
    plain = network()
    train(plain, build(plain.parameters(), name), 3 * BATCHES)
    assert_same(net.module_, plain)
    assert np.isfinite(net.history[-1, "train_loss"])
