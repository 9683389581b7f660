"""FlowOptimizer's state: resumed bit for bit, copied, pickled, shared with nobody, and no larger than promised."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from catalogue import NAMES, leaves, same, walk
from networks import REJECTING, assert_same, build, closure, loss_of, network, train, trained, vector
from together import together
from torch import Tensor, nn
from torch.optim import SGD, Adam, lr_scheduler

import flowopt
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.pi import PI
from flowopt.core.errors import BadValue
from flowopt.core.parts import Integrator
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.runge_kutta import Heun
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.heavy_ball import HeavyBall
from flowopt.transforms.iterate_averaging import IterateAveraging
from flowopt.transforms.shrink import Shrink

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
UNSOLVED = ("implicit", torch.bfloat16)
"""Equations that cannot be solved where parameters are rounded to three digits."""


def through_a_file(state: Any) -> Any:
    """Saved by torch.save and read as a stranger's file would be."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def tensors(optimizer: FlowOptimizer) -> dict[str, Tensor]:
    """Every tensor of the state, by where it stands."""
    return tensors_of(optimizer.state_dict())


def tensors_of(saved: dict[str, Any]) -> dict[str, Tensor]:
    state = saved["state"]
    found = {f"{key}.{name}": leaf for key, leaves in state.items() for name, leaf in leaves.items()}
    return {path: leaf for path, leaf in found.items() if isinstance(leaf, Tensor)}


def assert_same_state(one: FlowOptimizer, other: FlowOptimizer) -> None:
    mine, theirs = tensors(one), tensors(other)
    assert mine.keys() == theirs.keys()
    wrong = [path for path in mine if not same(mine[path], theirs[path])]
    assert not wrong


# --- going on later


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flowopt. the step size cannot fall further:UserWarning")  # elra in bfloat16
@together(("name", "dtype"), [(name, dtype) for name in NAMES for dtype in DTYPES if (name, dtype) != UNSOLVED])
def test_resumed_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    """With a scheduler, in the middle of everything; numbers of the flow stay float64 and int64 in any network."""
    model, optimizer = network(dtype), None
    optimizer = build(model.parameters(), name, seed=3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for number in range(5):
        train(model, optimizer, 1, number)
        scheduler.step()
    saved = through_a_file([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()])
    assert saved[1]["state"]["flow"]["h"].dtype == torch.float64
    assert saved[1]["state"]["flow"]["steps"].dtype == torch.int64

    again = network(dtype, seed=9)
    resumed = build(again.parameters(), name, seed=3)
    following = lr_scheduler.CosineAnnealingLR(resumed, 20)
    for thing, state in zip((again, resumed, following), saved, strict=True):
        thing.load_state_dict(state)
    assert_same_state(optimizer, resumed)
    for number in range(5, 9):
        for each, stepper, schedule in ((model, optimizer, scheduler), (again, resumed, following)):
            train(each, stepper, 1, number)
            schedule.step()
        assert_same(model, again)
        assert repr(resumed.last_step) == repr(optimizer.last_step)
    assert_same_state(optimizer, resumed)
    assert resumed.last_step.steps == 9


@together("name", NAMES)
def test_a_state_is_shared_with_nobody(name: str) -> None:
    """Neither with the optimizer it came from, nor between two that load it."""
    model, optimizer = trained(name, 5)
    state = optimizer.state_dict()
    kept = copy.deepcopy(state)
    others = []
    for _ in range(2):
        other = network()
        other.load_state_dict(model.state_dict())
        others.append((other, build(other.parameters(), name)))
        others[-1][1].load_state_dict(state)
    places = [
        leaf.data_ptr() for each in (optimizer, *(other for _, other in others)) for leaf in tensors(each).values()
    ]
    assert len(set(places)) == len(places)
    train(*others[0], 3, 5)
    assert all(same(leaf, tensors_of(kept)[path]) for path, leaf in tensors(optimizer).items())
    for each in ((model, optimizer), others[1]):
        train(*each, 3, 5)
        assert_same(each[0], others[0][0])


def test_numbers_survive_that_are_not_float32() -> None:
    """The base class casts what stands under a parameter to its dtype: so the flow's numbers stand elsewhere."""
    _, optimizer = trained("ecco_stable", 5, torch.bfloat16)
    state = optimizer.state_dict()
    state["state"]["flow"]["h"] = torch.tensor([0.1], dtype=torch.float64)
    state["state"]["flow"]["steps"] = torch.tensor([2**40 + 1])
    other = network(torch.bfloat16)
    resumed = build(other.parameters(), "ecco_stable")
    resumed.load_state_dict(through_a_file(state))
    found = resumed.state_dict()["state"]["flow"]
    assert same(found["h"], torch.tensor([0.1], dtype=torch.float64))
    assert same(found["steps"], torch.tensor([2**40 + 1]))


def test_the_state_of_an_older_version_loads() -> None:
    (model, optimizer), other = trained("elra", 5), network()
    state = through_a_file(optimizer.state_dict())
    flow = state["state"]["flow"]
    flow["pace"] = 0.5 * flow.pop("lr_factors")
    other.load_state_dict(model.state_dict())
    resumed = build(other.parameters(), "elra")
    resumed.load_state_dict(state)
    assert same(resumed.state_dict()["state"]["flow"]["lr_factors"], flow["pace"])
    del flow["pace"]
    with pytest.raises(BadValue, match=r"with other parameters: .* lr_factors"):
        resumed.load_state_dict(state)


def test_the_state_before_the_first_step_is_one_too() -> None:
    model, other = network(), network()
    optimizer, resumed = build(model.parameters(), "elra"), build(other.parameters(), "elra")
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    train(model, optimizer, 5)
    train(other, resumed, 5)
    assert_same(model, other)


def test_group_options_come_back_with_the_state() -> None:
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.3, "weight_decay": 0.2}, {"params": model[2].parameters()}]
    optimizer = FlowOptimizer(groups, "gd", lr=0.1, maximize=True)
    train(model, optimizer, 2)
    other = network()
    other.load_state_dict(model.state_dict())
    resumed = FlowOptimizer([{"params": other[k].parameters()} for k in (0, 2)], "gd")
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    train(model, optimizer, 2)
    train(other, resumed, 2)
    assert_same(model, other)
    assert [group["lr"] for group in resumed.param_groups] == [0.3, 0.1]


@together(
    ("saved", "message"),
    [
        (lambda p: build(p, "ecdsep"), r"is that of 'separable_hamiltonian x symplectic_euler \[fixed\]"),
        (Adam, "is that of 'another optimizer', this optimizer's method is 'gradient_flow x"),
        (lambda p: FlowOptimizer(p, "elra", retrace=None), "with other parameters: it holds .*bound"),
        (lambda p: FlowOptimizer([*p][:2], "elra"), "parameter group"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(saved: Any, message: str) -> None:
    theirs = network()
    other = saved(theirs.parameters())
    train(theirs, other, 3)
    (model, optimizer), (spared, spare) = trained("elra", 3), trained("elra", 3)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(other.state_dict())
    train(model, optimizer, 3)
    train(spared, spare, 3)
    assert_same(model, spared)


def test_the_state_of_another_model_is_refused() -> None:
    _, optimizer = trained("elra", 3)
    torch.manual_seed(0)
    wider = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    with pytest.raises(BadValue, match=r"another model: to a parameter of shape \(3, 2\), where this one has \(5, 2\)"):
        build(wider.parameters(), "elra").load_state_dict(optimizer.state_dict())


def test_state_dict_hooks_run_as_in_torch() -> None:
    everything = []
    for kind in ("ours", "theirs"):
        model = network()
        optimizer = build(model.parameters(), "gdm") if kind == "ours" else SGD(model.parameters(), 0.05, momentum=0.9)
        calls: list[str] = []
        optimizer.register_state_dict_pre_hook(lambda o, calls=calls: calls.append("pre save"))
        optimizer.register_state_dict_post_hook(lambda o, state, calls=calls: calls.append("post save"))
        optimizer.register_load_state_dict_pre_hook(lambda o, state, calls=calls: calls.append("pre load"))
        optimizer.register_load_state_dict_post_hook(lambda o, calls=calls: calls.append("post load"))
        train(model, optimizer, 2)
        optimizer.load_state_dict(optimizer.state_dict())
        train(model, optimizer, 2)
        everything.append((model, calls))
    (ours, mine), (theirs, yours) = everything
    assert mine == yours == ["pre save", "post save", "pre load", "post load"]
    assert_same(ours, theirs)


def test_what_a_load_hook_returns_is_what_is_loaded() -> None:
    model, optimizer = trained("ecdsep", 4)
    other = network()
    other.load_state_dict(model.state_dict())
    resumed = build(other.parameters(), "ecdsep")
    state = optimizer.state_dict()
    resumed.register_load_state_dict_pre_hook(lambda o, wrong: state)
    resumed.load_state_dict({"state": {}, "param_groups": []})
    train(model, optimizer, 3)
    train(other, resumed, 3)
    assert_same(model, other)


# --- copies


@pytest.mark.slow
@together("how", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
@together("name", NAMES)
def test_a_copy_goes_on_by_itself(name: str, how: Any) -> None:
    model, optimizer = trained(name, 5, seed=4)
    start = vector(model)
    other, copied = how((model, optimizer))
    train(other, copied, 4, 5)
    assert torch.equal(vector(model), start)
    train(model, optimizer, 4, 5)
    assert_same(model, other)
    assert_same_state(optimizer, copied)
    assert copied.last_step.steps == optimizer.last_step.steps == 9


# --- memory formats


class Images(nn.Module):
    """Two layers of convolution weights, in the memory format asked for; the objective sums in one order for both."""

    def __init__(self, memory_format: torch.memory_format) -> None:
        super().__init__()
        for number in range(2):
            start = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
            setattr(self, f"w{number}", nn.Parameter(start.to(memory_format=memory_format)))


def images_loss(model: nn.Module, number: int | None) -> Tensor:
    a, b = (p.flatten() for p in model.parameters())
    target = torch.linspace(-1, 1, a.numel(), dtype=torch.float64)
    return ((torch.tanh(a) * b - target) ** 2).mean() + 0.05


@pytest.mark.slow
@together("name", NAMES)
def test_memory_formats_make_no_difference(name: str) -> None:
    """Nor when the format changes on the way, by .to() or because the state was saved in another one."""
    given = {"nu": 0.0} if name.startswith("ecdsep") else {}  # noise is drawn in the order of the memory
    models = {
        "contiguous": Images(torch.contiguous_format),
        "channels_last": Images(torch.channels_last),
        "changed": Images(torch.contiguous_format),
        "loaded": Images(torch.channels_last),
    }
    optimizers = {kind: build(model.parameters(), name, **given) for kind, model in models.items()}
    for number in range(8):
        if number == 4:
            models["changed"].to(memory_format=torch.channels_last)
            models["loaded"].load_state_dict(models["contiguous"].state_dict())
            optimizers["loaded"].load_state_dict(optimizers["contiguous"].state_dict())
        for kind, model in models.items():
            if number >= 4 or kind != "loaded":
                optimizers[kind].step(closure(model, optimizers[kind], loss=images_loss))
    for kind, model in models.items():
        torch.testing.assert_close(vector(model), vector(models["contiguous"]), rtol=1e-8, atol=1e-9)
        assert all(p.is_contiguous() == (kind == "contiguous") for p in model.parameters())


# --- memory


def promised(name: str) -> int:
    """Vectors of the parameters' size that a network keeps beside parameters and gradients.

    What the system, the rule and the transforms remember; for a rule that looks back the old gradient as well, if it is
    not among these. The old position and the old field follow from them, where the integrator knows how far it went;
    where it does not, all is kept that a run on a function carries, less what the parameters hold.
    """
    method = flowopt.method(name)
    *_, (carry, _) = walk(method, "rosenbrock", [[-1.2, 1.0]], 2)
    if method.looks_back and type(method.integrator).displacement is Integrator.displacement:
        return sum(leaf.shape == (1, 2) for leaf in leaves(carry).values()) - 1
    state = {leaf: value for leaf, value in carry.point.state.items() if leaf != "q"}
    own = [leaf for leaf in leaves((state, carry.memory, carry.settled)).values() if leaf.shape == (1, 2)]
    gradient = carry.point.evaluation.grad
    return len(own) + (method.looks_back and not any(same(leaf, gradient) for leaf in own))


@together(("name", "dtype"), [(name, dtype) for name in NAMES for dtype in DTYPES if (name, dtype) != UNSOLVED])
def test_state_memory_is_as_promised(name: str, dtype: torch.dtype) -> None:
    model, optimizer = trained(name, 3, dtype)
    size = sum(p.numel() for p in model.parameters())
    kept = [leaf for p in model.parameters() for leaf in optimizer.state[p].values()]
    assert sum(leaf.numel() for leaf in kept) / size == promised(name)
    assert {leaf.dtype for leaf in kept} <= {dtype}
    assert all(leaf.untyped_storage().nbytes() == leaf.numel() * dtype.itemsize for leaf in kept)
    numbers = [leaf for leaf in optimizer.state["flow"].values() if isinstance(leaf, Tensor)]
    assert sum(leaf.numel() for leaf in numbers) < 30


# --- methods that a user builds


def test_parts_put_together_by_hand_train_and_resume() -> None:
    method = flowopt.Method(HeavyBall(mass=1.0, friction=2.0), Heun(), PI(rtol=1e-2, atol=1e-2), (IterateAveraging(),))
    model = network()
    optimizer = FlowOptimizer(model.parameters(), method, compile=False)
    before = loss_of(model).item()
    for _ in range(30):
        optimizer.step(closure(model, optimizer))
    other = network()
    other.load_state_dict(model.state_dict())
    resumed = FlowOptimizer(other.parameters(), method, compile=False)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    train(model, optimizer, 4)
    train(other, resumed, 4)
    assert_same(model, other)
    with optimizer.accepted():
        assert loss_of(model).item() < 0.5 * before
    with pytest.raises(BadValue, match=r"parameters \(mass\) go with a method's name"):
        FlowOptimizer(model.parameters(), method, mass=2.0)


def test_iterates_are_averaged() -> None:
    """The mean of the points after the start."""
    method = flowopt.Method(GradientFlow(), ForwardEuler(), Fixed(0.1), (IterateAveraging(),))
    model = network()
    optimizer = FlowOptimizer(model.parameters(), method, compile=False)
    visited = []
    for number in range(6):
        if number:
            visited.append([p.detach().clone() for p in model.parameters()])
        train(model, optimizer, 1, number)
    for place, parameter in enumerate(model.parameters()):
        mean = torch.stack([point[place] for point in visited]).mean(0)
        torch.testing.assert_close(optimizer.state[parameter]["trial.average"], mean, rtol=1e-12, atol=1e-14)


def test_multiplicative_weight_decay_against_plain_torch() -> None:
    """q <- 0.99 q - h grad f, beside a term of the objective of the groups' own."""
    method = flowopt.Method(GradientFlow(), ForwardEuler(), Fixed(0.1), (Shrink(0.99),))
    model, plain = network(), network()
    optimizer = FlowOptimizer(model.parameters(), method, weight_decay=0.1, compile=False)
    for number in range(10):
        train(model, optimizer, 1, number)
        grads = torch.autograd.grad(loss_of(plain, number), list(plain.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(plain.parameters(), grads, strict=True):
                parameter.copy_(0.99 * parameter - 0.1 * (grad + 0.1 * parameter))
    torch.testing.assert_close(vector(model), vector(plain), rtol=1e-12, atol=1e-14)


@together("name", REJECTING)
def test_no_checkpoint_of_what_is_only_shown(name: str) -> None:
    """Inside accepted() the parameters are not those that the optimizer goes on from."""
    model, optimizer = trained(name, 4)
    state = optimizer.state_dict()
    wrong = [
        optimizer.state_dict,
        lambda: optimizer.load_state_dict(state),
        lambda: copy.deepcopy((model, optimizer)),
        lambda: train(model, optimizer, 1),
    ]
    for act in wrong:
        with optimizer.accepted(), pytest.raises(BadValue, match=r"inside accepted\(\)"):
            act()
    spared, spare = trained(name, 4)
    train(model, optimizer, 3, 4)
    train(spared, spare, 3, 4)
    assert_same(model, spared)


def test_other_parameters_of_the_method_are_noticed() -> None:
    _, optimizer = trained("ecco", 3)
    other = FlowOptimizer(network().parameters(), "ecco", eta=0.2)
    with pytest.warns(UserWarning, match=r"goes on with these: lte.eta was 0.1, is 0.2$"):
        other.load_state_dict(through_a_file(optimizer.state_dict()))
    same_again = FlowOptimizer(network().parameters(), "ecco", eta=0.1)
    same_again.load_state_dict(through_a_file(optimizer.state_dict()))  # a warning would be an error
