"""Activation limiting against NumPy, against closed forms, and inside training loops as people write them."""

import copy
import io
import itertools
import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from together import together
from torch import Tensor, nn

from flowopt.core.errors import BadValue, UnknownName
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks.limiting import _crossings as crossings_module
from flowopt.networks.limiting._limiting import ActivationLimiting

READINGS = ("batch_mean", "every_sample", "median", "max")
Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with the activation between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_moves(model: nn.Module, scale: float = 1.0, seed: int = 1) -> dict[nn.Parameter, Tensor]:
    return {p: scale * normal(*p.shape, seed=seed + i) for i, p in enumerate(model.parameters())}


@torch.no_grad()
def move(moves: Mapping[nn.Parameter, Tensor], factors: Mapping[nn.Parameter, Tensor] | None = None) -> None:
    """Make the moves, shortened by the factors."""
    for p, change in moves.items():
        p.add_(change if factors is None or p not in factors else factors[p] * change)


def arrays(layer: nn.Module, moves: Mapping[nn.Parameter, Tensor] | None = None) -> Arrays:
    """The layer's parameters, or their moves, as NumPy arrays by name."""
    named = layer.named_parameters()
    return {name: (moves[p] if moves else p.detach()).numpy() for name, p in named}


def delta_in_numpy(reading: str, a: np.ndarray, da: np.ndarray) -> float:
    """The definition, in a loop; a and da are ``(samples, units)``."""
    if reading == "batch_mean":
        a, da = a.mean(0), da.mean(0)
    crossed = [-x / dx for x, dx in zip(a.ravel(), da.ravel(), strict=True) if x < 0 < x + dx or x > 0 > x + dx]
    assert crossed, "the example must have crossings"
    return {"batch_mean": min, "every_sample": min, "median": np.median, "max": max}[reading](crossed)


def convolve(x: np.ndarray, p: Arrays, stride: int, padding: int, groups: int) -> np.ndarray:
    """A 2-d convolution from its definition; ``(samples, channels * positions)``."""
    weight = p["weight"]
    out, per_group, height, width = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = (x.shape[2] - height) // stride + 1, (x.shape[3] - width) // stride + 1
    result = np.zeros((len(x), out, rows, columns))
    for channel, row, column in np.ndindex(out, rows, columns):
        first = channel // (out // groups) * per_group
        top, left = row * stride, column * stride
        patch = x[:, first : first + per_group, top : top + height, left : left + width]
        result[:, channel, row, column] = (patch * weight[channel]).sum((1, 2, 3)) + p["bias"][channel]
    return result.reshape(len(x), -1)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def lstm_gates(x: np.ndarray, h: np.ndarray, c: np.ndarray, p: Arrays, dp: Arrays, end: str) -> tuple[np.ndarray, ...]:
    """Run an LSTM over x ``(time, batch, in)``; a and da of its gates, ``(time * batch, 4 * hidden)``."""
    a, da = [], []
    for x_t in x:
        a_t, da_t = (
            x_t @ q[f"weight_ih{end}"].T + q[f"bias_ih{end}"] + h @ q[f"weight_hh{end}"].T + q[f"bias_hh{end}"]
            for q in (p, dp)
        )
        a.append(a_t)
        da.append(da_t)
        i, f, g, o = np.split(a_t, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return np.concatenate(a), np.concatenate(da)


def plain_rnn_gates(x: np.ndarray, p: Arrays, dp: Arrays) -> tuple[np.ndarray, ...]:
    h, a, da = np.zeros((x.shape[1], p["weight_hh_l0"].shape[1])), [], []
    for x_t in x:
        a_t, da_t = (x_t @ q["weight_ih_l0"].T + h @ q["weight_hh_l0"].T for q in (p, dp))
        a.append(a_t)
        da.append(da_t)
        h = np.maximum(a_t, 0)
    return np.concatenate(a), np.concatenate(da)


def gru_gates(x: np.ndarray, p: Arrays, dp: Arrays) -> tuple[np.ndarray, ...]:
    """a and da of the reset and the update gate."""
    h, a, da = np.zeros((x.shape[1], p["weight_hh_l0"].shape[1])), [], []
    for x_t in x:
        from_x = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]
        from_h = h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        change = x_t @ dp["weight_ih_l0"].T + dp["bias_ih_l0"] + h @ dp["weight_hh_l0"].T + dp["bias_hh_l0"]
        two = 2 * h.shape[1]
        a.append((from_x + from_h)[:, :two])
        da.append(change[:, :two])
        r, z = np.split(sigmoid(a[-1]), 2, axis=1)
        n = np.tanh(from_x[:, two:] + r * from_h[:, two:])
        h = (1 - z) * n + z * h
    return np.concatenate(a), np.concatenate(da)


def check(model: nn.Module, layer: nn.Module, factors: dict[nn.Parameter, Tensor], expected: float) -> None:
    for p in layer.parameters():
        assert factors[p].shape == ()
        assert 0 < factors[p] <= 1
        assert factors[p].item() == pytest.approx(expected, rel=1e-10)
    assert {id(p) for p in factors} == {id(p) for p in layer.parameters()}


@pytest.mark.parametrize("reading", READINGS)
def test_linear_layers_agree_with_numpy(reading):
    model = mlp(5, 17, 14, 3, activation=nn.Tanh)
    limiting = ActivationLimiting(model, reading)
    x, moves = normal(6, 5), random_moves(model)
    model(x)
    factors = limiting.factors(moves)
    h = x.numpy()
    for layer in (model[0], model[2]):
        a, da = (h @ q["weight"].T + q["bias"] for q in (arrays(layer), arrays(layer, moves)))
        check(model, layer, {p: factors[p] for p in layer.parameters()}, delta_in_numpy(reading, a, da))
        h = np.tanh(a)
    assert limiting.limited == ("0", "2")
    assert not set(model[4].parameters()) & factors.keys()


@pytest.mark.parametrize("reading", READINGS)
def test_convolutions_agree_with_numpy(reading):
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.ReLU(inplace=True)).double()
    limiting = ActivationLimiting(model, reading)
    x, moves = normal(5, 4, 6, 7), random_moves(model)
    model(x)
    a, da = (convolve(x.numpy(), q, 2, 1, 2) for q in (arrays(model[0]), arrays(model[0], moves)))
    check(model, model[0], limiting.factors(moves), delta_in_numpy(reading, a, da))


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv3d])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_every_convolution_is_its_own_forward(conv, mode):
    # The oracle is the layer itself, run again with the moved parameters.
    model = nn.Sequential(conv(2, 3, 3, padding=1, padding_mode=mode, dilation=1), nn.Sigmoid()).double()
    limiting = ActivationLimiting(model)
    x, moves = normal(4, 2, *(5,) * (model[0].weight.dim() - 2)), random_moves(model)
    before = model[0](x).detach()
    model(x)
    factors = limiting.factors(moves)
    move(moves)
    change = model[0](x).detach() - before
    expected = delta_in_numpy("batch_mean", before.flatten(1).numpy(), change.flatten(1).numpy())
    check(model, model[0], factors, expected)


@together("reading", READINGS)
@together("batch_first", [False, True])
@together("bidirectional", [False, True])
def test_lstm_gates_agree_with_numpy(reading, batch_first, bidirectional):
    layer = nn.LSTM(3, 4, batch_first=batch_first, bidirectional=bidirectional).double()
    limiting = ActivationLimiting(layer, reading)
    ends = ("_l0", "_l0_reverse")[: 1 + bidirectional]
    x, h, c = normal(6, 5, 3), normal(len(ends), 5, 4, seed=1), normal(len(ends), 5, 4, seed=2)
    moves = random_moves(layer)
    layer(x.transpose(0, 1) if batch_first else x, (h, c))
    factors = limiting.factors(moves)
    p, dp = arrays(layer), arrays(layer, moves)
    for direction, end in enumerate(ends):
        seen = x.flip(0) if direction else x
        a, da = lstm_gates(seen.numpy(), h[direction].numpy(), c[direction].numpy(), p, dp, end)
        expected = delta_in_numpy(reading, a, da)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            assert factors[getattr(layer, name + end)].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("reading", READINGS)
def test_plain_rnn_and_gru_agree_with_numpy(reading):
    x = normal(6, 5, 3)
    layers = (nn.RNN(3, 4, nonlinearity="relu", bias=False).double(), nn.GRU(3, 4).double())
    for layer, gates in zip(layers, (plain_rnn_gates, gru_gates), strict=True):
        limiting, moves = ActivationLimiting(layer, reading), random_moves(layer)
        layer(input=x)
        a, da = gates(x.numpy(), arrays(layer), arrays(layer, moves))
        check(layer, layer, limiting.factors(moves), delta_in_numpy(reading, a, da))


def test_a_sequence_without_a_batch_dimension():
    layer = nn.LSTM(3, 4, batch_first=True).double()
    limiting, moves = ActivationLimiting(layer), random_moves(layer)
    x, h, c = normal(6, 3), normal(1, 4, seed=1), normal(1, 4, seed=2)
    layer(x, (h, c))
    alone = limiting.factors(moves)
    layer(x.unsqueeze(0), (h.unsqueeze(1), c.unsqueeze(1)))
    torch.testing.assert_close(alone, limiting.factors(moves))


def test_an_image_without_a_batch_dimension():
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU()).double()
    limiting, moves, x = ActivationLimiting(model), random_moves(model), normal(2, 5, 6)
    model(x)
    alone = limiting.factors(moves)
    model(x.unsqueeze(0))
    assert alone == limiting.factors(moves)
    assert alone[model[0].weight] < 1


def test_a_limited_step_puts_the_first_mean_that_would_cross_on_zero():
    # One layer, closed form: means a = (1, -2, 3), da = (-4, 1, -4): only units 0 and 2 would cross, at 1/4 and 3/4.
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]))
        model[0].bias.copy_(torch.tensor([-1.0, 0.0, 3.0]))
    x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)  # mean 2
    limiting = ActivationLimiting(model)
    model(x)
    dw, db = (torch.tensor(v, dtype=torch.float64) for v in ([[-1.0], [0.5], [-2.0]], [-2.0, 0.0, 0.0]))
    moves = {model[0].weight: dw, model[0].bias: db}
    factors = limiting.factors(moves)
    assert factors[model[0].weight].item() == 0.25
    move(moves, factors)
    torch.testing.assert_close(model[0](x).mean(0).detach(), torch.tensor([0.0, -1.75, 2.0], dtype=torch.float64))


def trained(model: nn.Module, limiting: ActivationLimiting | None, x: Tensor, y: Tensor, lr: float, steps: int):
    """Gradient descent by hand; yields (before, after) of the first layer's pre-activations, full batch."""
    for _ in range(steps):
        before = model[0](x).detach()  # no activation behind it: leaves no record
        grads = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
        moves = {p: -lr * g for p, g in zip(model.parameters(), grads, strict=True)}
        move(moves, limiting.factors(moves) if limiting else None)
        yield before, model[0](x).detach()


@pytest.mark.parametrize(("reading", "mean"), [("batch_mean", True), ("every_sample", False)])
def test_no_preactivation_crosses_zero_in_training(reading, mean):
    x, y = normal(12, 4), torch.arange(12) % 3

    def crossings(limiting: ActivationLimiting | None, model: nn.Module) -> int:
        pairs = trained(model, limiting, x, y, lr=3.0, steps=10)
        steps = [(a.mean(0), b.mean(0)) if mean else (a, b) for a, b in pairs]
        # A unit that a step puts on zero lies there to within rounding, on either side.
        return sum(int(((a * b < 0) & (a.abs() > 1e-14) & (b.abs() > 1e-14)).sum()) for a, b in steps)

    free = mlp(4, 8, 3)
    limited = copy.deepcopy(free)
    assert crossings(None, free) > 5
    assert crossings(ActivationLimiting(limited, reading), limited) == 0


def frozen(seed: int) -> bool:
    """Whether a layer still moves after 30 limited steps in one direction, all on the same batch."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh()).double()
    limiting, x, moves = ActivationLimiting(model), normal(9, 2, 5, 5), random_moves(model, 0.5, seed)
    for _ in range(30):
        model(x)
        factors = limiting.factors(moves)
        move(moves, factors)
    return bool(factors[model[0].weight] < 1e-9)


def test_the_optimizer_makes_the_limited_steps_that_one_makes_by_hand():
    x, y = normal(12, 4), torch.arange(12) % 3
    model = mlp(4, 8, 3)
    by_hand = copy.deepcopy(model)
    limiting, shortened = ActivationLimiting(model), 0
    optimizer = FlowOptimizer(model.parameters(), "gd", lr=3.0, limiting=limiting, compile=False)
    for _ in trained(by_hand, ActivationLimiting(by_hand), x, y, lr=3.0, steps=8):
        start = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        grad = next(model.parameters()).grad
        shortened += int((next(model.parameters()) - start[0]).norm() < 2.9 * grad.norm())
        torch.testing.assert_close(list(model.parameters()), list(by_hand.parameters()))
    assert shortened > 0


def test_a_unit_on_zero_is_free_to_go_on(monkeypatch):
    assert not any(frozen(seed) for seed in range(10))
    monkeypatch.setattr(crossings_module, "_ROUNDING", 0.0)
    assert any(frozen(seed) for seed in range(10)), "without the tolerance some layers stop where a unit met zero"


@settings(max_examples=50, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 2**16), reading=st.sampled_from(READINGS))
def test_factors_are_in_range_and_do_not_depend_on_scale(scale, seed, reading):
    model = mlp(3, 4, 2)
    x, moves = normal(5, 3, seed=seed), random_moves(model, seed=seed)
    limiting = ActivationLimiting(model, reading)
    model(x)
    factor = limiting.factors(moves)[model[0].weight]
    assert 0 < factor <= 1
    own = list(model[0].parameters())
    move({p: (scale - 1) * p.detach() for p in own})  # the same layer in other units: the same delta
    model(x)
    scaled = limiting.factors({p: scale * moves[p] for p in own})
    torch.testing.assert_close(scaled[model[0].weight], factor, rtol=1e-6, atol=0)


def test_without_crossings_every_reading_leaves_the_move_alone():
    for reading in READINGS:
        model = mlp(3, 4, 2)
        limiting = ActivationLimiting(model, reading)
        model(normal(5, 3))
        assert all(f == 1 for f in limiting.factors({p: torch.zeros_like(p) for p in model.parameters()}).values())


def test_a_nan_in_one_unit_does_not_hide_the_crossings_of_others():
    model = mlp(3, 4, 2)
    limiting, moves = ActivationLimiting(model), random_moves(model)
    model(normal(5, 3))
    weight = model[0].weight
    expected = limiting.factors(moves)[weight]
    for unit in range(4):  # at least three of them do not set the layer's delta
        broken = moves[weight].clone()
        broken[unit] = torch.nan
        factor = limiting.factors({**moves, weight: broken})[weight]
        assert expected <= factor <= 1
    assert expected < 1


def test_no_forward_pass_is_added_and_gradients_are_untouched():
    model = mlp(4, 6, 5, 3)
    calls: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda m, *_: calls.append(m))
    limiting = ActivationLimiting(model, "every_sample")
    model(normal(8, 4)).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    assert len(calls) == 1 + len(model)
    limiting.factors(random_moves(model))
    assert len(calls) == 1 + len(model)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))


def test_batch_mean_keeps_means_only():
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double()
    limiting = ActivationLimiting(model)
    model(normal(100, 2, 6))
    kept = [x for chunks in limiting._records.values() for inputs, _ in chunks for x in inputs]
    assert [x.shape for x in kept] == [(1, 2, 6)]
    assert not limiting._pending, "the input of the last layer, which no activation follows, must not be held"


@together("reading", READINGS)
@together("kind", ["seen", "named", "recurrent"])
def test_validation_passes_leave_no_trace(reading, kind):
    model = nn.LSTM(4, 6).double() if kind == "recurrent" else mlp(4, 16, 3)
    limiting = ActivationLimiting(model, reading, activations={"0": "relu"} if kind == "named" else None)
    moves = random_moves(model)

    def validate() -> None:
        with torch.no_grad():
            model(normal(8, 4, seed=7))
        model.eval()
        model(normal(8, 4, seed=8))
        model.train()

    model(normal(8, 4))
    validate()
    expected = limiting.factors(moves)
    validate()
    assert limiting.factors(moves) == expected
    model(normal(8, 4))
    assert limiting.factors(moves) == expected
    model(normal(8, 4, seed=9))  # a training pass after a step, however, begins a new record
    changed = limiting.factors(moves)
    limiting.remove()
    fresh = ActivationLimiting(model, reading)
    model(normal(8, 4, seed=9))
    assert fresh.factors(moves) == changed != expected


@pytest.mark.parametrize("reading", READINGS)
def test_accumulated_batches_count_as_one(reading):
    model = mlp(4, 6, 3, activation=nn.Sigmoid)
    limiting, moves = ActivationLimiting(model, reading), random_moves(model)
    x = normal(16, 4)
    model(x)
    expected = limiting.factors(moves)
    for part in x.split([3, 8, 5]):
        model(part).sum().backward()
    torch.testing.assert_close(limiting.factors(moves), expected)


def test_accumulated_images_of_two_sizes():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU()).double()
    limiting, moves = ActivationLimiting(model), random_moves(model)
    images, each = (normal(4, 1, 5, 5), normal(4, 1, 6, 7, seed=1)), []
    for x in images:
        model(x)
        each.append(limiting.factors(moves)[model[0].weight])
    for x in images:
        model(x)
    assert each[0] != each[1]
    assert limiting.factors(moves)[model[0].weight] == min(each)


def test_parts_of_a_model_may_be_called_on_their_own():
    model = nn.ModuleDict({"encoder": mlp(4, 16, 3), "decoder": mlp(3, 16, 4)}).double()
    limiting, moves = ActivationLimiting(model), random_moves(model)
    for step in range(3):
        model["decoder"](model["encoder"](normal(8, 4, seed=step)))
        factors = limiting.factors(moves)
        assert limiting.limited == ("encoder.0", "decoder.0")
        assert len(limiting._records) == 2
        assert len(limiting._pending) == 2, "the last layers' inputs of this pass only"
    alone = ActivationLimiting(model["decoder"])
    model["decoder"](model["encoder"](normal(8, 4, seed=2)))
    assert all(factors[p] == delta for p, delta in alone.factors(moves).items())


class Shared(nn.Module):
    """One layer used twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 12)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.layer(x), self.layer(2 - x)  # both before either activation
        return self.relu(first) + self.relu(input=second)


@pytest.mark.parametrize("reading", READINGS)
def test_of_several_uses_of_a_layer_the_smallest_delta_wins(reading):
    model, x = Shared().double(), normal(6, 4)
    limiting, moves = ActivationLimiting(model, reading), random_moves(model, scale=1.0)
    p, dp = arrays(model.layer), arrays(model.layer, moves)
    model(x)
    each = [delta_in_numpy(reading, *(v.numpy() @ q["weight"].T + q["bias"] for q in (p, dp))) for v in (x, 2 - x)]
    assert each[0] != each[1]
    check(model, model.layer, limiting.factors(moves), min(each))


def test_layers_that_share_a_parameter_move_together():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh()).double()
    separate = ActivationLimiting(model)
    x, moves = normal(9, 4), random_moves(model)
    with torch.no_grad():
        model[2].weight.copy_(model[0].weight)
    moves[model[2].weight] = moves[model[0].weight]
    model(x)
    before = separate.factors(moves)
    model[2].weight = model[0].weight
    model(x)
    tied = separate.factors(moves)
    smallest = torch.minimum(before[model[0].bias], before[model[2].bias])
    assert before[model[0].bias] != before[model[2].bias]
    assert tied[model[0].weight] == tied[model[0].bias] == tied[model[2].bias] == smallest
    assert tied[model[4].bias] == before[model[4].bias]


def test_parameters_that_do_not_move():
    model = mlp(4, 6, 3)
    limiting, moves = ActivationLimiting(model), random_moves(model)
    model(normal(8, 4))
    bias = model[0].bias
    still = limiting.factors({**moves, bias: torch.zeros_like(bias)})
    absent = limiting.factors({p: m for p, m in moves.items() if p is not bias})
    assert absent[model[0].weight] == still[model[0].weight] != limiting.factors(moves)[model[0].weight]
    assert bias not in absent
    assert limiting.factors({model[2].bias: moves[model[2].bias]}) == {}


def test_moves_may_start_elsewhere():
    model = mlp(4, 6, 3)
    limiting, moves = ActivationLimiting(model), random_moves(model)
    elsewhere = {p: p + 0.1 for p in model.parameters()}
    model(normal(8, 4))
    asked = limiting.factors(moves, at=elsewhere)
    assert asked != limiting.factors(moves)
    move({p: torch.full_like(p, 0.1) for p in model.parameters()})
    assert asked == limiting.factors(moves)


class Functional(nn.Module):
    """Activations as functions, one of them behind pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.fc1 = nn.Linear(12, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv(x), 2))
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


def test_functions_are_named():
    model, x = Functional().double(), normal(7, 1, 6, 6)
    moves = random_moves(model)
    blind = ActivationLimiting(model)
    model(x)
    with pytest.raises(BadValue, match=r"behind any of 'conv', 'fc1', 'fc2'.*activations="):
        blind.factors(moves)
    limiting = ActivationLimiting(model, activations={"conv": "relu", "fc1": "tanh"})
    model(x)
    factors = limiting.factors(moves)
    assert limiting.limited == ("conv", "fc1")
    a, da = (convolve(x.numpy(), q, 1, 0, 1) for q in (arrays(model.conv), arrays(model.conv, moves)))
    assert factors[model.conv.weight].item() == pytest.approx(delta_in_numpy("batch_mean", a, da))
    assert model.fc2.weight not in factors


def test_none_leaves_a_layer_unlimited():
    model = mlp(4, 6, 5, 3)
    limiting = ActivationLimiting(model, activations={"0": None})
    model(normal(8, 4))
    assert set(limiting.factors(random_moves(model))) == set(model[2].parameters())
    with_stacked = nn.ModuleList([nn.LSTM(2, 2, num_layers=2), nn.Linear(2, 2)])
    assert ActivationLimiting(with_stacked, activations={"0": None})._places.keys() == {"1"}


class OwnLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.tanh(), self.bias)


@together(
    ("model", "activations", "error", "message"),
    [
        (mlp(2, 2, 2), {"fc": "relu"}, UnknownName, "no module named 'fc'"),
        (mlp(2, 2, 2), {"0": "gelu"}, BadValue, "'gelu'; choose one of 'relu'"),
        (mlp(2, 2, 2), {"1": "relu"}, BadValue, "'1' is a ReLU, not one of Linear, Conv1d"),
        (nn.Sequential(OwnLinear(2, 2)), {"0": "relu"}, BadValue, "'0' has a forward of its own"),
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))),
            {"0": "relu"},
            BadValue,
            "parametrised weight; use a plain Linear",
        ),
        (nn.Sequential(nn.LSTM(2, 2, num_layers=2)), None, BadValue, r"'0' hides the states.*\{'0': None\}"),
    ],
)
def test_layers_that_cannot_be_limited_are_refused(model, activations, error, message):
    with pytest.raises(error, match=message):
        ActivationLimiting(model, activations=activations)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules() if module)


def test_other_misuse_is_refused():
    with pytest.raises(BadValue, match="reading = 'mean'; choose one of 'batch_mean'"):
        ActivationLimiting(mlp(2, 2, 2), "mean")
    model = mlp(2, 2, 2)
    limiting = ActivationLimiting(model)
    model.eval()
    model(normal(3, 2))
    with pytest.raises(BadValue, match="in training mode with gradients"):
        limiting.factors(random_moves(model))
    lstm = nn.LSTM(2, 2).double()
    ActivationLimiting(lstm)
    with pytest.raises(BadValue, match="PackedSequence"):
        lstm(nn.utils.rnn.pack_padded_sequence(normal(3, 2, 2), torch.tensor([3, 2])))


def test_several_processes_are_refused(monkeypatch):
    model = mlp(2, 2, 2)
    limiting = ActivationLimiting(model)
    model(normal(3, 2))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(BadValue, match="one process only"):
        limiting.factors(random_moves(model))


def through_pickle(pair):
    buffer = io.BytesIO()
    torch.save(pair, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@together("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair)), through_pickle])
@together("reading", READINGS)
def test_a_copy_of_model_and_limiting_works_on_its_own(duplicate, reading):
    model = nn.Sequential(*mlp(4, 6, 3), nn.Unflatten(1, (3, 1)), nn.LSTM(1, 2, batch_first=True)).double()
    limiting, moves = ActivationLimiting(model, reading), random_moves(model)
    model(normal(8, 4))[0].sum().backward()
    copied, twin = duplicate((model, limiting))
    assert twin.model is copied
    twins = dict(zip(model.parameters(), copied.parameters(), strict=True))
    expected = limiting.factors(moves)
    moved = {twins[p]: m for p, m in moves.items()}
    assert twin.factors(moved) == {twins[p]: delta for p, delta in expected.items()}
    copied(normal(8, 4, seed=5))
    assert limiting.factors(moves) == expected, "the copy's passes must not reach the original"
    assert twin.factors(moved) != {twins[p]: delta for p, delta in expected.items()}
    twin.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in copied.modules())
    assert model[0]._forward_hooks


def test_remove_takes_everything_off():
    model = nn.Sequential(*mlp(2, 2, 2), nn.LSTM(2, 2)).double()
    limiting = ActivationLimiting(model)
    model(normal(3, 2))
    limiting.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert limiting.limited == ()
    model(normal(3, 2))
    with pytest.raises(BadValue, match="no activation was seen"):
        limiting.factors(random_moves(model))


@pytest.mark.parametrize("reading", READINGS)
def test_nothing_waits_for_the_device(reading):
    # Tensors on 'meta' have no values: whatever reads one on the host raises.
    model = nn.ModuleDict({"conv": nn.Conv1d(2, 3, 3), "relu": nn.ReLU(), "rnn": nn.LSTM(3, 2)}).to("meta")
    limiting = ActivationLimiting(model, reading)
    for _ in range(2):
        y = model["relu"](model["conv"](torch.empty(5, 2, 6, device="meta")))
        model["rnn"](y.movedim(-1, 0))
    factors = limiting.factors({p: torch.empty_like(p) for p in model.parameters()})
    assert set(factors) == set(model.parameters())
    assert all(f.shape == () and f.device.type == "meta" for f in factors.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype):
    model = mlp(6, 8, 3).float()
    limiting, moves = ActivationLimiting(model), {p: m.float() for p, m in random_moves(model).items()}
    x = normal(32, 6).float()
    model(x)
    exact = limiting.factors(moves)[model[0].weight]
    with torch.autocast("cpu", dtype=dtype):
        model(x)
    torch.testing.assert_close(limiting.factors(moves)[model[0].weight], exact, rtol=0.02, atol=0)

    half = copy.deepcopy(model).to(dtype)
    rounded, halved = ActivationLimiting(half), {p: m.to(dtype) for p, m in random_moves(half).items()}
    half(x.to(dtype))
    factor = rounded.factors(halved)[half[0].weight]
    p = {name: value.float().numpy() for name, value in half[0].state_dict().items()}
    dp = {name: halved[value].float().numpy() for name, value in half[0].named_parameters()}
    a, da = (x.to(dtype).float().numpy() @ q["weight"].T + q["bias"] for q in (p, dp))
    assert factor.item() == pytest.approx(delta_in_numpy("batch_mean", a, da), rel=1e-3)
    assert (factor * half[0].weight).dtype == dtype


def test_a_factor_is_never_zero():
    one = torch.ones(1, dtype=torch.float64)
    deltas, crossing = crossings_module.crossings(1e-300 * one, -1e30 * one, 1e-300 * one)
    assert crossing.all()
    assert 0 < deltas < 1e-300


def test_a_compiled_model_keeps_its_limiting():
    model = mlp(4, 6, 5, 3)
    reference = copy.deepcopy(model)
    limiting, expected = ActivationLimiting(model), ActivationLimiting(reference)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    moves = random_moves(model)
    twins = dict(zip(model.parameters(), reference.parameters(), strict=True))
    for step in range(4):
        x = normal(8, 4, seed=step)
        compiled(x)
        reference(x)
        for p, delta in expected.factors({twins[p]: m for p, m in moves.items()}).items():
            found = limiting.factors(moves)[next(q for q in twins if twins[q] is p)]
            torch.testing.assert_close(found, delta)
