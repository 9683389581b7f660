"""What torch's optimizers accept, and what they are handed by mistake: every method, one test a fault."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from catalogue import NAMES
from networks import CALLS_CLOSURE, NEEDS_LOSS, SECOND_ORDER
from together import together
from torch import nn

import flowopt
from flowopt import BadValue, FlowOptimizer

INPUTS = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3)
OWN_LR = [name for name in NAMES if name != "nesterov"]  # its lr is the square of the step that groups scale


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).double()


def stepping(name, model=None, **options):
    """An optimizer, and a function that makes a step and returns the parameters."""
    model = network() if model is None else model
    optimizer = FlowOptimizer(model.parameters(), name, **options)

    def step(optimizer=optimizer, model=model):
        def closure():
            optimizer.zero_grad()
            loss = (model(INPUTS) - INPUTS[:, :1] ** 2).square().mean()
            grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=name in SECOND_ORDER)
            for parameter, grad in zip(model.parameters(), grads, strict=True):
                parameter.grad = grad
            return loss

        optimizer.step(closure)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    return optimizer, step


@pytest.mark.slow
@together("name", NAMES)
def test_numbers_may_be_numpys_and_tensors(name):  # 4.5, 4.12
    for option, value in (("lr", 0.0625), ("weight_decay", 0.125)):
        _, step = stepping(name, **{option: value})
        wanted = [step() for _ in range(3)]
        kinds = [np.float64(value), np.float32(value), np.array(value), torch.tensor(value), torch.tensor([value])]
        for number in kinds if name in OWN_LR or option != "lr" else kinds[:3]:
            optimizer, step = stepping(name, **{option: number})
            assert all(torch.equal(step(), at) for at in wanted), number
            saved = io.BytesIO()
            torch.save(optimizer.state_dict(), saved)
            saved.seek(0)
            torch.load(saved, weights_only=True)  # NumPy's numbers could not be read so


@together("name", NAMES)
def test_a_tensor_may_be_changed_in_place(name):  # 4.5
    for option in ("lr", "weight_decay"):
        if option == "lr" and name not in OWN_LR:
            with pytest.raises(BadValue, match="is not the lr of the groups, a factor here; give a number"):
                stepping(name, lr=torch.tensor(0.1))
            continue
        one, other = torch.tensor(0.0625), torch.tensor(0.0625)
        (first, step), (second, step_too) = stepping(name, **{option: one}), stepping(name, **{option: other})
        assert first.param_groups[0][option] is one
        for optimizer in (first, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
            assert isinstance(optimizer.param_groups[0][option], torch.Tensor)
        for _ in range(2):
            assert torch.equal(step(), step_too())
        one.fill_(0.03125)
        before = step_too()
        assert not torch.equal(step(), before), option
        second.param_groups[0][option] = 0.03125
        for _ in range(2):  # the number, set before the same step, does the same
            step(), step_too()
        assert len(first._engine._runs) <= 1  # a tensor is not another kind of step each time


@together("name", NAMES)
def test_a_state_of_an_older_version_goes_on(name):  # 4.6
    optimizer, step = stepping(name)
    step()
    saved = copy.deepcopy(optimizer.state_dict())
    wanted = [step() for _ in range(2)]
    model = network()
    again, step_again = stepping(name, model)
    stepping(name, model)[1]()  # the parameters of the first step
    for missing in ("maximize", "weight_decay"):
        del saved["param_groups"][0][missing]
    settings = next(iter(saved["state"]["flow"]["settings"]), None)
    saved["state"]["flow"]["settings"].pop(settings, None)
    del saved["state"]["flow"]["nonfinite"]
    again.load_state_dict(saved)
    assert all(torch.equal(step_again(), at) for at in wanted)
    assert again.param_groups[0].keys() == optimizer.param_groups[0].keys()
    assert again.param_groups[0]["maximize"] is False
    bytes_of = again.__getstate__()
    del bytes_of["param_groups"][0]["maximize"]
    again.__setstate__(bytes_of)
    assert again.param_groups[0]["maximize"] is False


@together("name", [*CALLS_CLOSURE, *NEEDS_LOSS])
def test_a_closure_must_return_the_loss(name):  # 4.7
    model = network()
    optimizer = FlowOptimizer(model.parameters(), name)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    for returned, message in (
        (None, f"the closure returned None, and {name} needs the loss: end it with `return loss`"),
        ("0.5", "the loss must be a number, not '0.5'"),
        (torch.ones(2), r"one number, not a tensor of shape \(2,\); take its mean"),
        (torch.tensor(1j), "the loss must be a real number"),
    ):

        def closure(returned=returned):
            optimizer.zero_grad()
            model(INPUTS).square().mean().backward()
            return returned

        with pytest.raises(BadValue, match=message):
            optimizer.step(closure)
        assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)


def test_a_closure_of_a_method_that_needs_the_gradient_only_may_return_nothing():  # as with torch's SGD
    ours, theirs = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizers = FlowOptimizer([ours], "gd", lr=0.1), torch.optim.SGD([theirs], lr=0.1)
    for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
        assert optimizer.step(lambda parameter=parameter: parameter.square().sum().backward()) is None
    assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:Using backward")
@together("name", SECOND_ORDER)
def test_a_linear_loss_has_no_curvature(name):  # 4.8
    slope = torch.tensor([3.0, -1.0], dtype=torch.float64)
    parameter = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = FlowOptimizer([parameter], name, weight_decay=0.5)  # what curvature there is

    def closure(create_graph=True, value=lambda q: q @ slope, result=lambda loss: loss):
        optimizer.zero_grad()
        loss = value(parameter)
        loss.backward(create_graph=create_graph, inputs=[parameter])
        return result(loss)

    optimizer.step(closure)
    run = flowopt.minimize(lambda x: x @ slope + 0.25 * (x**2).sum(-1), [1.0, 1.0], name, max_steps=1)
    assert torch.allclose(parameter, torch.from_numpy(run.final_x[0]), rtol=1e-12)
    for options in (
        {"create_graph": False},
        {"create_graph": False, "value": lambda q: q.pow(3).sum()},
        {"result": torch.Tensor.item},
    ):
        with pytest.raises(BadValue, match=r"call loss.backward\(create_graph=True\) in the closure.* return the loss"):
            optimizer.step(lambda options=options: closure(**options))


@together("name", NAMES)
def test_parameters_that_do_not_fill_their_memory_are_refused_at_once(name):  # 4.9
    good = nn.Parameter(torch.ones(2, 3))
    for bad in (torch.ones(4, 4)[:, ::2], torch.ones(1).expand(3), torch.ones(2, 2).to_sparse()):
        bad = nn.Parameter(bad)  # noqa: PLW2901
        for parameters in ([bad], [good, bad], [("good", good), ("bad", bad)]):
            with pytest.raises(BadValue, match=r"(parameter \d of group 0|bad) (of shape|is torch.sparse)"):
                FlowOptimizer(parameters, name)
        optimizer = FlowOptimizer([good], name)
        with pytest.raises(BadValue, match="parameter 0 of group 1"):
            optimizer.add_param_group({"params": [bad]})
        assert len(optimizer.param_groups) == 1
    dense = [torch.ones(3, 2).T, torch.ones(1, 2, 2, 2).to(memory_format=torch.channels_last), torch.ones(0, 3)]
    optimizer = FlowOptimizer([nn.Parameter(part) for part in dense], name)
    optimizer.add_param_group({"params": nn.LazyLinear(2).parameters()})
    assert len(optimizer.param_groups) == 2


@together("name", NAMES)
def test_what_is_not_a_number_is_refused_by_name(name):
    several = [0.1, 0.2]
    wrong = (
        "abc",
        None,
        several,
        np.array(several),
        np.array(["a"]),
        torch.tensor(several),
        torch.tensor(True),
        1j,
        -1.0,
    )
    for option in ("lr", "weight_decay"):
        for value in wrong if option == "lr" else (*wrong[:1], *wrong[2:]):
            with pytest.raises(BadValue, match=option if option == "lr" else "weight_decay|rate"):
                stepping(name, **{option: value})
            optimizer, _ = stepping(name)
            with pytest.raises(BadValue, match=option):
                optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], option: value})
            assert len(optimizer.param_groups) == 1


def test_arrays_are_hyperparameters_per_row():  # 4.12
    starts = np.array([[-1.0, 1.5], [0.5, 2.0], [2.0, -1.0]])
    rates = np.array([1e-4, 2e-4, 5e-4])
    wanted = flowopt.minimize("rosenbrock", starts, "gdm", lr=torch.from_numpy(rates), max_steps=30)
    for kind in (rates, rates.tolist(), rates[::-1][::-1], list(rates)):
        assert np.array_equal(flowopt.minimize("rosenbrock", starts, "gdm", lr=kind, max_steps=30).x, wanted.x)
    for row, lr in enumerate(rates):
        alone = flowopt.minimize("rosenbrock", starts[row], "gdm", lr=lr, max_steps=30)
        assert np.array_equal(alone.x[:, 0], wanted.x[:, row])
    members = [
        flowopt.Ensemble(lambda seed: nn.Linear(3, 2), 3, "gdm", {"lr": kind}, seeds=[1, 1, 1])
        for kind in (rates * 100, torch.from_numpy(rates) * 100, (rates * 100).tolist())
    ]
    targets = torch.arange(8) % 2
    losses = [[ensemble.step(INPUTS.float(), targets) for _ in range(3)][-1] for ensemble in members]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
    assert len(set(losses[0].tolist())) == 3


def test_no_error_prints_a_whole_array():
    many = np.linspace(-1, 1, 900)
    for name, option in (("gd", "lr"), ("adam", "beta1"), ("ecco", "eta"), ("elra", "retrace"), ("bb", "variant")):
        for value in (many, torch.from_numpy(many), many.tolist(), many.astype(str), many.astype(object)):
            for act in (
                lambda: flowopt.minimize("rosenbrock", np.ones((900, 2)), name, **{option: value}),  # noqa: B023
                lambda: flowopt.Ensemble(lambda seed: nn.Linear(3, 2), 900, name, {option: value}),  # noqa: B023
            ):
                with pytest.raises(BadValue) as caught:
                    act()
                assert len(str(caught.value)) < 300, caught.value
                assert option in str(caught.value)
    with pytest.raises(BadValue, match=r"gd: lr\[449\] = -0.5, one of 900, is outside its range \(0, inf\)"):
        flowopt.minimize("rosenbrock", np.ones((900, 2)), "gd", lr=np.where(np.arange(900) == 449, -0.5, 0.1))


def test_parameters_of_torchs_optimizers_are_checked():
    for name, option, value, message in (
        ("Adam", "lr", "abc", "Adam: lr = 'abc' is not a number"),
        ("SGD", "lr", "abc", "SGD: lr = 'abc' is not a number"),
        ("LBFGS", "lr", "abc", "LBFGS: lr = 'abc' is not a number"),
        ("LBFGS", "history_size", "x", "LBFGS: history_size = 'x' is not a number"),
        ("Adam", "lr", None, "Adam: lr = None is not a number"),
        ("Adam", "betas", "ab", "Adam: betas = 'ab' must be 2 numbers"),
        ("Adam", "betas", ("a", 0.9), "Adam: betas = 'a' is not a number"),
        ("Adam", "betas", (0.9,), "must be 2 numbers"),
        ("SGD", "lr", np.ones(3), r"SGD: lr has the shape \(3,\); give one number for all rows"),
        ("Adam", "weight_decay", torch.ones(3), r"weight_decay has the shape \(3,\)"),
        ("SGD", "lr", np.nan, "lr = nan is outside its range"),
    ):
        with pytest.raises(BadValue, match=message):
            flowopt.minimize("rosenbrock", np.ones((3, 2)), f"torch:{name}", **{option: value})
    wanted = flowopt.minimize("rosenbrock", method="torch:Adam", lr=0.125, betas=(0.5, 0.75), max_steps=5)
    for lr in (np.float32(0.125), np.array(0.125), torch.tensor(0.125), torch.tensor([0.125])):
        run = flowopt.minimize("rosenbrock", method="torch:Adam", lr=lr, betas=[0.5, np.float64(0.75)], max_steps=5)
        assert np.array_equal(run.x, wanted.x)
    tensor = torch.tensor(0.125, dtype=torch.float64)
    factory = flowopt.minimize("rosenbrock", method=lambda params: torch.optim.SGD(params, lr=tensor), max_steps=5)
    assert factory.about["parts"]["torch_optimizer_step"]["lr"] == 0.125
