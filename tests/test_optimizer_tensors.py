"""FlowOptimizer on whatever tensors a model is made of, under mixed precision, compiled, and on a GPU."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from catalogue import NAMES, same
from networks import (
    GRADIENT_AT_HAND,
    SECOND_ORDER,
    assert_same,
    build,
    closure,
    loss_of,
    network,
    settings,
    train,
    trained,
    vector,
)
from together import together
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowopt.core.errors import BadValue
from flowopt.networks import compiling
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.testing import nudged

TORCH: dict[str, dict[str, Any]] = {"gd": {}, "gdm": {"momentum": 0.9}}

# --- precisions


LOW = (torch.bfloat16, torch.float16)


@pytest.mark.slow
@together(
    ("name", "dtype"),
    [(name, dtype) for name in NAMES for dtype in (torch.float32, *LOW) if name != "implicit" or dtype not in LOW],
)
def test_networks_of_every_precision_learn(name: str, dtype: torch.dtype) -> None:
    model = network(dtype)
    optimizer = build(model.parameters(), name)
    for _ in range(10 if name in SECOND_ORDER else 40):
        optimizer.step(closure(model, optimizer))
    with optimizer.accepted():
        assert loss_of(model).item() < 0.4 * loss_of(network()).item()
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert {p.grad.dtype for p in model.parameters()} == {dtype}


class Mixed(nn.Module):
    """A network whose layers have precisions of their own."""

    def __init__(self, *dtypes: torch.dtype) -> None:
        super().__init__()
        self.first, _, self.last = network()
        self.first.to(dtypes[0])
        self.last.to(dtypes[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x.to(self.first.weight))).to(self.last.weight))


def mixed_loss(model: Mixed, number: int | None) -> Tensor:
    probe = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(8, 2)
    return ((model(probe) - 0.5) ** 2).mean()


@pytest.mark.slow
@together("dtypes", [(torch.float32, torch.float64), (torch.bfloat16, torch.float32)])
@together("name", [name for name in NAMES if name != "implicit"])
def test_precisions_may_be_mixed(name: str, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    model = Mixed(*dtypes)
    optimizer = build(model.parameters(), name)
    before = mixed_loss(model, None).item()
    for _ in range(40):
        optimizer.step(closure(model, optimizer, loss=mixed_loss))
    with optimizer.accepted():
        assert mixed_loss(model, None).item() < 0.5 * before
    for parameter, dtype in zip(model.parameters(), (dtypes[0], dtypes[0], dtypes[1], dtypes[1]), strict=True):
        assert parameter.dtype == dtype
        assert {leaf.dtype for leaf in optimizer.state[parameter].values()} <= {dtype}


@pytest.mark.parametrize("name", TORCH)
def test_mixed_precisions_are_those_of_sgd(name: str) -> None:
    """float32 and float64 bit for bit."""
    ours, theirs = Mixed(torch.float32, torch.float64), Mixed(torch.float32, torch.float64)
    optimizer, sgd = build(ours.parameters(), name, lr=0.0625), SGD(theirs.parameters(), 0.0625, **TORCH[name])
    for _ in range(30):
        optimizer.step(closure(ours, optimizer, loss=mixed_loss))
        sgd.step(closure(theirs, sgd, loss=mixed_loss))
        assert_same(ours, theirs)


# --- complex, sparse, strange


class Signal(nn.Module):
    """Complex amplitudes, or the pairs of real numbers that they are."""

    def __init__(self, is_complex: bool) -> None:
        super().__init__()
        start = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)
        self.amplitudes = nn.Parameter(torch.view_as_complex(start) if is_complex else start)

    def forward(self) -> Tensor:
        return self.amplitudes if self.amplitudes.is_complex() else torch.view_as_complex(self.amplitudes)


def signal_loss(model: Signal, number: int | None) -> Tensor:
    z = model()
    target = torch.complex(*torch.linspace(0.2, 1, 10, dtype=torch.float64).reshape(2, 5))
    residual = z * z.roll(1) - target
    return (residual * residual.conj()).real.mean() + 0.1


@together("name", [name for name in NAMES if name not in SECOND_ORDER])
def test_a_complex_number_is_two_real_ones(name: str) -> None:
    ours, real = Signal(True), Signal(False)
    optimizer, other = build(ours.parameters(), name), build(real.parameters(), name)
    for _ in range(10):
        optimizer.step(closure(ours, optimizer, loss=signal_loss))
        other.step(closure(real, other, loss=signal_loss))
        assert torch.equal(torch.view_as_real(ours.amplitudes.detach()), real.amplitudes.detach())
    assert ours.amplitudes.is_complex()
    with optimizer.accepted():
        assert signal_loss(ours, None).item() < signal_loss(Signal(True), None).item()


@pytest.mark.parametrize("name", TORCH)
def test_complex_parameters_move_as_under_sgd(name: str) -> None:
    ours, theirs = Signal(True), Signal(True)
    optimizer = build(ours.parameters(), name, weight_decay=0.1)
    sgd = SGD(theirs.parameters(), settings(name)["lr"], weight_decay=0.1, **TORCH[name])
    for _ in range(30):
        optimizer.step(closure(ours, optimizer, loss=signal_loss))
        sgd.step(closure(theirs, sgd, loss=signal_loss))
        # not bit for bit: torch multiplies by the complex number lr + 0i
        torch.testing.assert_close(ours.amplitudes, theirs.amplitudes, rtol=1e-14, atol=1e-14)


def test_sparse_gradients_are_refused_by_name() -> None:
    model = nn.Sequential()
    model.add_module("words", nn.Embedding(5, 3, sparse=True))
    optimizer = FlowOptimizer(model.named_parameters(), "gd", lr=0.1)
    before = vector(model)
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(BadValue, match=r"the gradient of words\.weight is sparse.*sparse=False"):
        optimizer.step()
    assert torch.equal(vector(model), before)


def test_transposed_parameters_are_fine() -> None:
    ours, theirs = (nn.Parameter(torch.arange(6.0).reshape(2, 3).mT) for _ in range(2))
    optimizer, sgd = FlowOptimizer([ours], "gdm", lr=0.1), SGD([theirs], 0.1, momentum=0.9)
    for stepper, parameter in ((optimizer, ours), (sgd, theirs)):
        for _ in range(5):
            stepper.zero_grad()
            (parameter * torch.arange(6.0).reshape(3, 2)).sin().sum().backward()
            stepper.step()
    assert same(ours.detach(), theirs.detach())


# --- mixed precision


@together("name", GRADIENT_AT_HAND)
def test_a_step_that_the_scaler_skips_is_a_skipped_step(name: str) -> None:
    """Scaling by powers of 2 changes no bit, and an overflow leaves no trace."""
    model, plain = network(torch.float32), network(torch.float32)
    optimizer, other = build(model.parameters(), name), build(plain.parameters(), name)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**6)
    for number in range(10):
        optimizer.zero_grad()
        loss = loss_of(model, number)
        scaler.scale(loss).backward()
        overflow = number in (3, 7)
        if overflow:
            model[2].weight.grad[0, 0] = torch.inf
        scaler.step(optimizer, loss=loss)
        scaler.update()
        if not overflow:
            train(plain, other, 1, number)
        assert_same(model, plain)
    assert scaler.get_scale() == 2.0**4
    assert optimizer.last_step.steps == 8
    assert optimizer.last_step.nonfinite == 0


# --- torch.compile


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("name", ["gdm", "ecdsep", "elra", "flow"])
def test_a_compiled_model_trains_the_same(name: str) -> None:
    model, (plain, _) = network(), trained(name, 5)
    compiled = torch.compile(model, backend="eager")
    train(compiled, build(compiled.parameters(), name), 5)
    assert_same(model, plain)


def compiled_twins(name: str, dtype: torch.dtype = torch.float64, **given: Any) -> tuple[list[Any], list[Any]]:
    """Two networks, the first with a compiled step; two groups, one of which has weight decay."""
    both = []
    for compile in (True, False):
        model = network(dtype)
        groups = [{"params": model[0].parameters(), "weight_decay": 0.01}, {"params": model[2].parameters()}]
        both.append([model, FlowOptimizer(groups, name, compile=compile, **settings(name) | given)])
    return both[0], both[1]


QUICK = ("gdm", "ecco", "ecdsep", "elra")


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in GRADIENT_AT_HAND]
)
def test_a_step_is_one_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced whole (a break would warn, and so fail), once whatever the schedule says, and then run as it is."""
    graphs: list[Any] = []

    def counted(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling.torch, "compile", partial(torch.compile, backend=counted))
    (model, optimizer), (plain, other) = compiled_twins(name)
    for number in range(7):
        for each, stepper in ((model, optimizer), (plain, other)):
            for group in stepper.param_groups:
                group["lr"] *= 0.9
            train(each, stepper, 1, number)
        torch.testing.assert_close(vector(model), vector(plain), rtol=1e-14, atol=1e-15)
        for field, found in optimizer.last_step.to_dict().items():
            expected = getattr(other.last_step, field)
            assert found == (expected if isinstance(found, str) else pytest.approx(expected, rel=1e-12, nan_ok=True))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    ("name", "dtype"), [("ecco", torch.float32), ("ecdsep", torch.float32), ("elra", torch.float64)]
)
def test_a_compiled_step_is_the_eager_one(name: str, dtype: torch.dtype) -> None:
    """Up to rounding: a compiler fuses multiplications with additions, in each of seven steps and more than once."""
    (model, optimizer), (plain, other) = compiled_twins(name, dtype)
    _, (near, another) = compiled_twins(name, dtype)
    for parameter in near.parameters():
        parameter.data = nudged(parameter.data)
    for number in range(7):
        for net, stepper in ((model, optimizer), (plain, other), (near, another)):
            train(net, stepper, 1, number)
    amplified = float((vector(near) - vector(plain)).abs().max())
    assert amplified < 1e-3, "rounding decides all of it"
    assert float((vector(model) - vector(plain)).abs().max()) < 100 * amplified


@pytest.mark.usefixtures("fresh_compiler")
def test_without_a_compiler_it_says_so_once_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(compiling.torch, "compile", partial(torch.compile, backend=broken))
    (model, optimizer), (plain, other) = compiled_twins("elra")
    train(model, optimizer, 1)  # the first step is never compiled
    with pytest.warns(UserWarning, match=r"torch\.compile failed \(.*\); the optimizer goes on without it") as caught:
        train(model, optimizer, 1, 1)
    assert len(caught) == 1
    train(model, optimizer, 3, 2)
    train(plain, other, 5)
    assert_same(model, plain)


# --- no waiting for a device


class Waiting(TorchDispatchMode):
    """Collects what would make the host wait for a device: numbers read back, data copied over while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        devices = {leaf.device.type for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        devices |= {torch.device(given["device"]).type} if given.get("device") is not None else set()
        copies = "copy" in func.name() and not (given.get("non_blocking") or (True in args[2:]))
        if func is torch.ops.aten._local_scalar_dense.default or (
            len(devices) > 1 and (copies or "index" in func.name())
        ):
            self.found.append(f"{func} on {sorted(devices)}")
        return func(*args, **given)


def test_waiting_is_noticed() -> None:
    numbers, place = torch.zeros(3, device="meta"), torch.tensor([1])
    with Waiting() as waiting:
        torch.ones(3).to("meta", non_blocking=True)
        numbers + 1.0
        assert waiting.found == []
        torch.ones(3).to("meta")
        numbers.copy_(torch.ones(3))
        numbers[place]
        assert len(waiting.found) == 3


@pytest.mark.slow
@together("name", GRADIENT_AT_HAND)
def test_a_step_never_waits_for_the_device(name: str) -> None:
    """On the meta device, which has no numbers to read: a step that asks for one fails, wherever it does."""
    _, optimizer = trained(name, 3)
    shadow = network().to("meta")
    ghost = build([{"params": shadow[k].parameters(), "weight_decay": 0.1 * k} for k in (0, 2)], name)
    ghost.load_state_dict(optimizer.state_dict() | {"param_groups": ghost.state_dict()["param_groups"]})
    for number in range(4):
        for place, parameter in enumerate(shadow.parameters()):
            # one comes and goes
            parameter.grad = torch.empty_like(parameter) if place or number % 2 else None
        for group in ghost.param_groups:
            group["lr"] *= 0.9
        with Waiting() as waiting:
            ghost.step(loss=torch.empty((), dtype=torch.float64, device="meta"))
        assert waiting.found == []


# --- GPU


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and there is none")
    return torch.device("cuda")


def on(device: torch.device, name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, FlowOptimizer]:
    model = network(dtype).to(device)
    return model, build(model.parameters(), name)


@pytest.mark.gpu
@together("name", NAMES)
def test_a_gpu_gives_the_steps_of_the_cpu(name: str, cuda: torch.device) -> None:
    (model, optimizer), (plain, other) = on(cuda, name), on(torch.device("cpu"), name)
    for number in range(8):
        train(model, optimizer, 1, number)
        train(plain, other, 1, number)
        torch.testing.assert_close(vector(model).cpu(), vector(plain), rtol=1e-7, atol=1e-8)
    assert optimizer.last_step.steps == 8
    assert all(leaf.device.type == "cuda" for p in model.parameters() for leaf in optimizer.state[p].values())


@pytest.mark.gpu
def test_training_moves_to_the_gpu_with_its_state(cuda: torch.device) -> None:
    (model, optimizer), (plain, other) = trained("elra", 5), trained("elra", 5)
    state = optimizer.state_dict()
    model.to(cuda)
    optimizer.load_state_dict(state)
    train(model, optimizer, 3, 5)
    train(plain, other, 3, 5)
    torch.testing.assert_close(vector(model).cpu(), vector(plain), rtol=1e-7, atol=1e-8)


@pytest.mark.gpu
@together("name", GRADIENT_AT_HAND)
def test_no_step_waits_for_the_gpu(name: str, cuda: torch.device) -> None:
    model, optimizer = on(cuda, name)
    train(model, optimizer, 3)
    for number in range(4):
        loss = closure(model, optimizer, number)()
        if number % 2:
            model[0].weight.grad = None
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            optimizer.step(loss=loss)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("name", GRADIENT_AT_HAND)
def test_a_step_goes_into_a_cuda_graph(name: str, cuda: torch.device) -> None:
    """Captured once and replayed with other gradients, it makes the steps that it makes uncaptured."""
    (model, optimizer), (plain, other) = on(cuda, name), on(cuda, name)
    train(model, optimizer, 3)
    train(plain, other, 3)
    loss = closure(model, optimizer, 3)().detach()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # nothing is computed yet
        optimizer.step(loss=loss)
    assert_same(model, plain)
    grads = [p.grad for p in model.parameters()]
    for number in range(3, 7):
        train(plain, other, 1, number)
        fresh = loss_of(model, number)
        for grad, new in zip(grads, torch.autograd.grad(fresh, list(model.parameters())), strict=True):
            grad.copy_(new)
        loss.copy_(fresh.detach())
        graph.replay()
        torch.testing.assert_close(vector(model), vector(plain), rtol=1e-12, atol=1e-13)
    assert int(optimizer.state["flow"]["steps"]) == 7
