"""The networks: published sizes, oracles from torch.nn, seeds, functional calls, and refusals before any work."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from together import together
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from flowopt import BadValue, UnknownName
from flowopt.networks.tasks import TASKS, cross_entropy, cross_entropy_by_columns, loss_for, metrics_for
from flowopt.training.models import MODELS, build
from flowopt.training.models.recurrent import StepByStepLSTM
from flowopt.training.models.residual import BasicBlock, PreactivationBlock
from flowopt.training.models.transformer import TransformerBlock

DIGITS = {"input_shape": (1, 8, 8), "outputs": 10, "task": "classification", "seed": 0}
MNIST = {**DIGITS, "input_shape": (1, 28, 28)}
CIFAR = {**DIGITS, "input_shape": (3, 32, 32)}
SERIES = {"input_shape": (6, 3), "outputs": 2, "task": "regression", "seed": 0}
TEXT = {"input_shape": (12,), "outputs": 17, "task": "language", "seed": 0}

# Every model once, some in several forms, small enough to run here.
CASES = {
    "mlp": ("mlp:8-6", DIGITS),
    "mlp, tanh": ("mlp:8", {**DIGITS, "activation": "tanh"}),
    "mlp, sigmoid, on a series": ("mlp:8", {**SERIES, "activation": "sigmoid"}),
    "cnn": ("cnn:4-6", DIGITS),
    "lenet5": ("lenet5", MNIST),
    "lenet5 on colours": ("lenet5", {**CIFAR, "activation": "relu", "pool": "max"}),
    "fashion_cnn": ("fashion_cnn", MNIST),
    "resnet18": ("resnet18", {**CIFAR, "input_shape": (3, 8, 8)}),
    "resnet34": ("resnet34", {**CIFAR, "input_shape": (3, 8, 8)}),
    "senet18": ("senet18", {**CIFAR, "input_shape": (3, 8, 8)}),
    "wrn": ("wrn:10-1", CIFAR),
    "lstm, regression": ("lstm:5", SERIES),
    "lstm, classification": ("lstm:5x2", {**SERIES, "task": "classification"}),
    "lstm, language": ("lstm:8x2", TEXT),
    "lstm, tied": ("lstm:8", {**TEXT, "tie": True}),
    "lstm, step by step": ("lstm:8x2", {**TEXT, "fused": False}),
    "transformer": ("transformer:8x2", {**TEXT, "heads": 2}),
    "transformer, tied": ("transformer:8x2", {**TEXT, "heads": 2, "tie": True}),
}
every_case = pytest.mark.parametrize(("spec", "data"), CASES.values(), ids=CASES)


def batch(data, number=4, seed=1):
    """Inputs and targets of the right shape and kind, double precision."""
    draw = torch.Generator().manual_seed(seed)
    shape = (number, *data["input_shape"])
    if data["task"] == "language":
        text = torch.randint(data["outputs"], (number, data["input_shape"][0] + 1), generator=draw)
        return text[:, :-1], text[:, 1:]
    x = torch.randn(shape, generator=draw, dtype=torch.float64)
    if data["task"] == "classification":
        return x, torch.randint(data["outputs"], (number,), generator=draw)
    return x, torch.randn(number, data["outputs"], generator=draw, dtype=torch.float64)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


PUBLISHED = [
    # torchsummary in planetopenllms/lenet.sandbox: C1 156, C3 2416, C5 48120, F6 10164, output 850
    ("lenet5", MNIST, 61_706),
    ("lenet5", CIFAR, 62_006),  # the same on colours: the LeNet of kuangliu/pytorch-cifar
    ("fashion_cnn", MNIST, 1_475_338),  # 320 + 64 + 18496 + 128 + 1383000 + 72120 + 1210, layer by layer
    # kuangliu/pytorch-cifar, as counted in repositories that use its code
    ("resnet18", CIFAR, 11_173_962),
    ("resnet34", CIFAR, 21_282_122),
    ("senet18", CIFAR, 11_260_354),
    # the assertions in wrn_cifar.py of osmr/imgclsmob (pytorchcv)
    ("wrn:28-10", CIFAR, 36_479_194),
    ("wrn:28-10", {**CIFAR, "outputs": 100}, 36_536_884),
    ("wrn:16-10", CIFAR, 17_116_634),
    ("wrn:40-8", CIFAR, 35_748_314),
    pytest.param(  # GPT-2 small, "124M": Radford et al. 2019 as counted by Hugging Face
        "transformer:768x12",
        {"input_shape": (1024,), "outputs": 50257, "task": "language", "seed": 0, "heads": 12, "tie": True},
        124_439_808,
        marks=pytest.mark.slow,  # half a gigabyte of random numbers
    ),
]


@pytest.mark.parametrize(("spec", "data", "published"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(spec, data, published):
    assert parameters(build(spec, **data)) == published


@pytest.mark.parametrize(
    ("spec", "data", "millions"),
    [
        ("wrn:16-8", CIFAR, "11.0"),  # Zagoruyko, Komodakis 2016, table 5
        ("wrn:40-4", CIFAR, "8.9"),
        ("wrn:28-10", CIFAR, "36.5"),
        ("mlp:10", MNIST, "0.008"),  # ELRA, section 4.2: "ranging from tiny (about 8k parameters) ..."
        ("lstm:650x2", {**TEXT, "outputs": 10_000}, "20"),  # Zaremba et al. 2014, medium: 20 M (Merity et al. 2016)
        ("lstm:1500x2", {**TEXT, "outputs": 10_000}, "66"),  # the same, large: 66 M
    ],
)
def test_parameter_counts_in_millions_as_published(spec, data, millions):
    digits = len(millions.partition(".")[2])
    assert f"{parameters(build(spec, **data)) / 1e6:.{digits}f}" == millions


def test_resnet18_has_62_parameter_tensors():
    assert len(list(build("resnet18", **CIFAR).parameters())) == 62


@given(inputs=st.integers(1, 9), width=st.integers(1, 9), layers=st.integers(1, 3), outputs=st.integers(1, 4))
def test_lstm_counts_in_closed_form(inputs, width, layers, outputs):
    model = build(f"lstm:{width}x{layers}", input_shape=(5, inputs), outputs=outputs, task="regression", seed=0)
    layer = [4 * (width * (i + width) + 2 * width) for i in (inputs, *[width] * (layers - 1))]
    assert parameters(model) == sum(layer) + (width + 1) * outputs


@given(widths=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_mlp_counts_in_closed_form(widths):
    model = build("mlp:" + "-".join(map(str, widths)), **DIGITS)
    assert parameters(model) == sum((i + 1) * o for i, o in itertools.pairwise((64, *widths, 10)))


@every_case
def test_output_has_the_shape_that_the_loss_takes(spec, data):
    model, (x, target) = build(spec, **data).double(), batch(data)
    output = model(x)
    assert output.shape == (target.shape if data["task"] == "regression" else (*target.shape, data["outputs"]))
    assert loss_for(data["task"])(output, target).isfinite()


@every_case
def test_gradient_reaches_every_parameter(spec, data):
    model, (x, target) = build(spec, **data).double(), batch(data)
    loss_for(data["task"])(model(x), target).backward()
    unreached = {name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-12}
    # batch normalisation takes the mean away, and with it the bias of the convolution before it
    assert unreached == ({"0.bias", "4.bias"} if spec == "fashion_cnn" else set())


@every_case
def test_seed_alone_decides_the_weights(spec, data):
    before = torch.get_rng_state()
    first = build(spec, **data).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    with torch.device("meta"):  # whatever the caller's device: the same weights
        again = build(spec, **data).state_dict()
    other = build(spec, **{**data, "seed": 1}).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_case
def test_deep_copy_computes_the_same_and_is_independent(spec, data):
    model, (x, _) = build(spec, **data).double().eval(), batch(data)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(twin(x), expected)
        for p in twin.parameters():
            p.add_(0.1)
        assert torch.equal(model(x), expected)
        assert not torch.equal(twin(x), expected)
    assert len(list(twin.parameters())) == len(list(model.parameters()))  # tied weights are still tied


OPTIONS = [
    ("mlp:8", DIGITS, {"activation": "tanh"}),
    ("cnn:4-6", DIGITS, {"activation": "sigmoid"}),
    ("cnn:4-6", DIGITS, {"pool": "average"}),
    ("lenet5", MNIST, {"activation": "relu"}),
    ("lenet5", MNIST, {"pool": "max"}),
    ("fashion_cnn", MNIST, {"dropout": 0.6}),
    ("wrn:10-1", CIFAR, {"dropout": 0.3}),
    ("lstm:5", SERIES, {"dropout": 0.2}),
    ("lstm:8", TEXT, {"tie": True}),
    ("lstm:8", TEXT, {"fused": False}),
    ("transformer:8x2", TEXT, {"heads": 2}),
    ("transformer:8x2", TEXT, {"tie": True}),
]


def test_every_option_is_listed_here():
    tried = {(spec.partition(":")[0], option) for spec, _, options in OPTIONS for option in options}
    assert tried == {(name, option) for name, family in MODELS.items() for option in family.options}


@pytest.mark.parametrize(("spec", "data", "options"), [case for case in OPTIONS if "fused" not in case[2]])
def test_every_option_changes_what_the_model_computes(spec, data, options):
    (x, _), outputs = batch(data), []
    for chosen in ({}, options):
        model = build(spec, **data, **chosen).double()
        torch.manual_seed(5)  # for the dropout
        outputs.append(model(x))
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_mlp_follows_its_equations(activation):
    model, (x, _) = build("mlp:8-6", **DIGITS, activation=activation).double(), batch(DIGITS)
    nonlinearity = getattr(torch, activation)
    first, second, third = (layer for layer in model if isinstance(layer, nn.Linear))
    expected = third(nonlinearity(second(nonlinearity(first(x.flatten(1))))))
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(("data", "padding"), [(MNIST, 2), (CIFAR, 0)])
def test_lenet5_follows_its_equations(data, padding):
    model, (x, _) = build("lenet5", **data).double(), batch(data)
    c1, c3, c5, f6, output = (layer for layer in model if isinstance(layer, nn.Linear | nn.Conv2d))
    s2 = F.avg_pool2d(F.conv2d(x, c1.weight, c1.bias, padding=padding).tanh(), 2)
    s4 = F.avg_pool2d(F.conv2d(s2, c3.weight, c3.bias).tanh(), 2)
    assert s4.shape[1:] == (16, 5, 5)
    torch.testing.assert_close(model(x), output(f6(c5(s4.flatten(1)).tanh()).tanh()))


def normalised(x, module):
    return F.batch_norm(x, None, None, module.weight, module.bias, training=True)


@pytest.mark.parametrize(("width", "stride"), [(16, 1), (32, 2), (32, 1)])
def test_residual_blocks_follow_their_equations(width, stride):
    x = torch.randn(3, 16, 6, 6, dtype=torch.float64)
    blocks = BasicBlock(16, width, stride), PreactivationBlock(16, width, stride, excited=True)
    for module in itertools.chain(*(block.double().modules() for block in blocks)):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    basic, pre = blocks

    convolve, norm, _, convolve2, norm2 = basic.branch
    y = F.conv2d(x, convolve.weight, stride=stride, padding=1)
    y = normalised(F.conv2d(normalised(y, norm).relu(), convolve2.weight, padding=1), norm2)
    short = x
    if (width, stride) != (16, 1):
        short = normalised(F.conv2d(x, basic.shortcut[0].weight, stride=stride), basic.shortcut[1])
    torch.testing.assert_close(basic(x), (y + short).relu())

    active = normalised(x, pre.activated[0]).relu()
    convolve, norm, _, _, convolve2, excitation = pre.branch
    y = F.conv2d(active, convolve.weight, stride=stride, padding=1)
    y = F.conv2d(normalised(y, norm).relu(), convolve2.weight, padding=1)
    _, squeeze, _, excite, _ = excitation.gate
    hidden = (y.mean((2, 3)) @ squeeze.weight.flatten(1).T + squeeze.bias).relu()
    gate = (hidden @ excite.weight.flatten(1).T + excite.bias).sigmoid()
    short = x if (width, stride) == (16, 1) else F.conv2d(active, pre.shortcut.weight, stride=stride)
    torch.testing.assert_close(pre(x), y * gate[:, :, None, None] + short)


@pytest.mark.parametrize("layers", [1, 2])
def test_lstm_step_by_step_is_torch_s_own(layers):
    core = nn.LSTM(3, 5, layers, batch_first=True, dtype=torch.float64)
    x, _ = batch(SERIES)
    torch.testing.assert_close(StepByStepLSTM(core)(x)[0], core(x)[0], rtol=1e-12, atol=1e-14)


def test_lstm_step_by_step_has_the_same_parameters_and_dropout():
    fused, written = (build("lstm:5x2", **SERIES, dropout=0.3, fused=fused).double() for fused in (True, False))
    written.load_state_dict(fused.state_dict())  # strict: the same names
    x = batch(SERIES)[0][:1].expand(20_000, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        one, other = (model.core(x)[0][:, -1] for model in (fused, written))
    error = (one.var(0) / len(x) + other.var(0) / len(x)).sqrt()
    assert (one.var(0) > 0).all()
    assert ((one - other).mean(0).abs() < 5 * error).all()
    torch.testing.assert_close(other.var(0), one.var(0), rtol=0.1, atol=0)


def test_transformer_block_is_torch_s_own():
    """nn.TransformerEncoderLayer(norm_first=True) with the same weights and a causal mask."""
    ours = TransformerBlock(8, 2).double()
    oracle = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", norm_first=True, batch_first=True, dtype=torch.float64
    )
    (norm, attention), (norm2, into, _, out) = ours.attention, ours.perceptron
    pairs = [(norm, oracle.norm1), (norm2, oracle.norm2), (into, oracle.linear1), (out, oracle.linear2)]
    for mine, theirs in [*pairs, (attention.out, oracle.self_attn.out_proj)]:
        nn.init.normal_(mine.bias)
        theirs.load_state_dict(mine.state_dict())
    with torch.no_grad():
        oracle.self_attn.in_proj_weight.copy_(attention.query_key_value.weight)
        oracle.self_attn.in_proj_bias.copy_(attention.query_key_value.bias.normal_())
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), oracle(x, src_mask=mask, is_causal=True), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("spec", ["transformer:8x2", "lstm:8x2"])
def test_language_models_do_not_see_the_future(spec):
    model, (tokens, _) = build(spec, **TEXT).double(), batch(TEXT)
    for position in (0, 5, 11):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % TEXT["outputs"]
        same = (model(tokens) == model(changed)).all(-1)
        assert same[:, :position].all()
        assert not same[:, position:].any()


def test_transformer_takes_shorter_texts_and_refuses_longer_ones():
    model, (tokens, _) = build("transformer:8x1", **TEXT).double(), batch(TEXT)
    torch.testing.assert_close(model(tokens[:, :5]), model(tokens)[:, :5])
    with pytest.raises(BadValue, match="up to 12 tokens, not 13"):
        model(torch.zeros(1, 13, dtype=torch.long))


LANGUAGE = [
    ("lstm:64x2", {}),
    ("lstm:64", {"tie": True}),
    ("transformer:64x2", {}),
    ("transformer:64x2", {"tie": True}),
]


@pytest.mark.parametrize(("spec", "options"), LANGUAGE)
def test_language_models_start_by_knowing_nothing(spec, options):
    model, (tokens, target) = build(spec, **TEXT, **options), batch(TEXT, 32)
    perplexity = metrics_for("language")["perplexity"](model(tokens), target)
    assert perplexity.item() == pytest.approx(TEXT["outputs"], rel=0.1)


# Step-by-step LSTM, because torch.func and the compiler cannot look into torch's kernel; batch normalisation in
# evaluation, because in training it updates its statistics in place; of the residual networks the small one.
VIEWABLE = [
    name for name, (spec, _) in CASES.items() if spec.startswith(("mlp", "cnn", "lenet5", "wrn", "transformer"))
]
VIEWABLE += ["lstm, step by step"]


@pytest.mark.parametrize(("spec", "data"), [CASES[name] for name in VIEWABLE], ids=VIEWABLE)
def test_many_models_as_one_agree_with_each_alone(spec, data):
    members = [build(spec, **{**data, "seed": seed}).double().eval() for seed in range(3)]
    (x, target), loss = batch(data, 2), loss_for(data["task"])
    weights, buffers = stack_module_state(members)
    base = copy.deepcopy(members[0])

    def value(weights, buffers):
        return loss(functional_call(base, (weights, buffers), (x,)), target)

    gradients = vmap(grad(value))(weights, buffers)
    for number, member in enumerate(members):
        loss(member(x), target).backward()
        for name, p in member.named_parameters():
            torch.testing.assert_close(gradients[name][number], p.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("spec", "data"), [CASES[name] for name in VIEWABLE], ids=VIEWABLE)
def test_models_compile_as_one_graph(spec, data):
    model, (x, _) = build(spec, **data).double().eval(), batch(data, 2)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["mlp, tanh", "lenet5", "lstm, regression", "lstm, language", "transformer"])
def test_models_can_be_differentiated_twice(name):
    """Newton-type methods take Hessian-vector products: compared with a difference of gradients along a direction."""
    spec, data = CASES[name]
    model, (x, target) = build(spec, **data).double().eval(), batch(data)
    weights, loss = list(model.parameters()), loss_for(data["task"])
    direction = [torch.randn_like(p) for p in weights]

    def gradient(create_graph=False):
        return torch.autograd.grad(loss(model(x), target), weights, create_graph=create_graph)

    along = sum((g * d).sum() for g, d in zip(gradient(create_graph=True), direction, strict=True))
    product = torch.autograd.grad(along, weights)
    ends = []
    for shift in (1e-6, -2e-6):
        with torch.no_grad():
            torch._foreach_add_(weights, direction, alpha=shift)
        ends.append(gradient())
    for exact, plus, minus in zip(product, *ends, strict=True):
        torch.testing.assert_close(exact, (plus - minus) / 2e-6, rtol=1e-4, atol=1e-5)


WRONG = [
    ("lenet5", {**DIGITS, "input_shape": (64,)}, r"lenet5 takes images .*, not samples of shape \(64,\)"),
    ("lenet5", DIGITS, r"\(1 or 3, 28, 28\) or \(1 or 3, 32, 32\), not samples of shape \(1, 8, 8\)"),
    ("lenet5", {**CIFAR, "input_shape": (2, 32, 32)}, "1 or 3, 32, 32"),
    ("cnn:4-4-4-4", DIGITS, "larger images: 4 convolutions"),
    ("fashion_cnn", {**MNIST, "input_shape": (1, 5, 5)}, "larger images"),
    ("resnet18", {**CIFAR, "input_shape": (3, 32)}, "resnet18 takes images"),
    ("wrn:10-1", {**CIFAR, "input_shape": (64,)}, "wrn takes images"),
    ("lstm:8", DIGITS, "lstm takes series"),
    ("lstm:8", {**TEXT, "input_shape": (12, 3)}, "lstm takes texts"),
    ("transformer", {**TEXT, "input_shape": (12, 3)}, "transformer takes texts"),
    ("mlp:8", TEXT, "mlp does not do language; these do: lstm, transformer"),
    ("transformer", SERIES, "transformer does not do regression; these do: mlp, "),
    ("mlp", DIGITS, "'mlp' is not written like 'mlp:64-32'"),
    ("mlp:", DIGITS, "'mlp:' is not written like"),
    ("mlp:64-", DIGITS, "is not written like 'mlp:64-32'"),
    ("mlp:64x32", DIGITS, "is not written like 'mlp:64-32'"),
    ("mlp:0", DIGITS, "is not written like"),
    ("mlp:٣", DIGITS, "is not written like"),
    ("lstm:8x2x3", SERIES, "is not written like 'lstm:128x2'"),
    ("resnet18:2", CIFAR, "'resnet18:2' is not written like 'resnet18'"),
    ("wrn:17-2", CIFAR, "the depth 17 is not 6 n"),
    ("wrn:4-2", CIFAR, "the depth 4 is not 6 n"),
    ("transformer:10x2", {**TEXT, "heads": 4}, "the width 10 is not a multiple of the 4 heads"),
    ("transformer:8x2", {**TEXT, "heads": 0}, "heads = 0"),
    ("lstm:8", {**SERIES, "tie": True}, "which only 'language' has"),
    ("lstm:8", {**SERIES, "dropout": 1.5}, "dropout = 1.5 is outside"),
    ("mlp:8", {**DIGITS, "activation": "selu"}, "choose one of 'relu', 'tanh', 'sigmoid'"),
    ("cnn:4", {**DIGITS, "pool": "min"}, "choose one of 'max', 'average'"),
    ("resnet18", {**CIFAR, "dropout": 0.1}, "resnet18 has no options"),
    ("mlp:8", {**DIGITS, "input_shape": ()}, "input_shape is empty"),
    ("mlp:8", {**DIGITS, "input_shape": (8, 0)}, "a length in input_shape = 0"),
    ("mlp:8", {**DIGITS, "outputs": 1}, "outputs = 1 must be a whole number >= 2"),
    ("mlp:8", {**DIGITS, "seed": -1}, "seed = -1"),
]


@together(("spec", "data", "message"), WRONG)
def test_what_cannot_be_built_is_refused_with_the_reason(spec, data, message):
    with pytest.raises(BadValue, match=message):
        build(spec, **data)


@together(
    ("spec", "data", "near"),
    [
        ("resnet-18", CIFAR, "no model named 'resnet-18'; did you mean 'resnet18'"),
        ("MLP:64", DIGITS, "did you mean 'mlp'"),
        ("wrn-28-10", CIFAR, "did you mean 'wrn'"),
        ("mlp:8", {**DIGITS, "task": "classify"}, "no task named 'classify'; did you mean 'classification'"),
        ("mlp:8", {**DIGITS, "activations": "relu"}, "no option of mlp named 'activations'; did you mean 'activation'"),
    ],
)
def test_unknown_names_come_with_near_hits(spec, data, near):
    with pytest.raises(UnknownName, match=near):
        build(spec, **data)


def test_every_family_s_example_builds_and_has_a_summary():
    shapes = {"language": TEXT, "lstm": SERIES, "image": {**MNIST}}
    for name, family in MODELS.items():
        data = shapes[family.tasks[0] if name == "transformer" else "lstm" if name == "lstm" else "image"]
        assert parameters(build(family.example, **data)) > 0
        assert family.summary.endswith(".")


# Tasks


def test_metrics_of_a_uniform_guess():
    logits, tokens = torch.zeros(2, 5, 8), torch.arange(10).reshape(2, 5) % 8
    metrics = metrics_for("language")
    assert loss_for("language")(logits, tokens) == pytest.approx(math.log(8))
    assert metrics["perplexity"](logits, tokens) == pytest.approx(8)
    assert metrics["bits_per_character"](logits, tokens) == pytest.approx(3)


def test_language_loss_is_torch_s_with_classes_second():
    logits, tokens = torch.randn(3, 5, 7), torch.randint(7, (3, 5))
    torch.testing.assert_close(loss_for("language")(logits, tokens), F.cross_entropy(logits.movedim(-1, 1), tokens))


def test_accuracy_and_rmse_by_hand():
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    assert metrics_for("classification")["accuracy"](logits, torch.tensor([1, 0, 0, 0])) == 0.75
    off = torch.tensor([[3.0, -3.0], [0.0, 0.0]])
    assert metrics_for("regression")["rmse"](off, torch.zeros(2, 2)) == pytest.approx(math.sqrt(4.5))
    assert loss_for("regression")(off, torch.zeros(2, 2)) == 4.5


@pytest.mark.parametrize("name", TASKS)
def test_metrics_of_batches_join_to_the_metric_of_the_whole(name):
    data = {"classification": DIGITS, "regression": SERIES, "language": TEXT}[name]
    _, target = batch(data, 12)
    output = torch.randn(*target.shape, *(() if name == "regression" else (data["outputs"],)), dtype=torch.float64)
    for metric in metrics_for(name).values():
        parts = [(len(t), metric.mean(o, t)) for o, t in zip(output.split(5), target.split(5), strict=True)]
        joined = metric.finish(sum(n * mean for n, mean in parts) / 12)
        torch.testing.assert_close(joined, metric(output, target))


def test_losses_refuse_shapes_that_torch_would_broadcast():
    with pytest.raises(BadValue, match=r"a single number a sample is \(N, 1\)"):
        loss_for("regression")(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(BadValue, match=r"not \(4, 3\) and \(4, 1\)"):
        loss_for("classification")(torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.long))
    with pytest.raises(UnknownName, match="did you mean 'regression'"):
        loss_for("regresion")


@pytest.mark.parametrize("classes", [2, 10, 15, 16, 40])
def test_cross_entropy_by_columns_is_cross_entropy(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(7, 3, classes, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randint(classes, (7, 3), generator=generator)
    ours, expected = cross_entropy_by_columns(logits, target), cross_entropy(logits, target)
    torch.testing.assert_close(ours, expected, rtol=1e-14, atol=0)
    (grad,), (right,) = torch.autograd.grad(ours, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(grad, right, rtol=1e-12, atol=1e-15)
