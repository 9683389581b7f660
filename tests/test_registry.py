"""Every part is found, says what it is and where it comes from, and refuses nonsense."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
from typing import Any

import pytest
import torch
from catalogue import CONTROLLERS, INTEGRATORS, KINDS, PARTS, SYSTEMS, accepts_numbers, build
from together import together

from flowopt.core._registry import FOLDERS, discover, lookup
from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.parts import MEANING, Part
from flowopt.core.roles import LowerBound, roles
from flowopt.methods import METHODS, method

WITHOUT_SOURCE = {"fixed": "a constant step has no inventor"}

NUMBERS = [
    (part, field.name) for part in PARTS for field in dataclasses.fields(part) if accepts_numbers(part, field.name)
]
SWITCHES = [(part, field.name) for part in PARTS for field in dataclasses.fields(part) if field.type in (bool, "bool")]


def defined_in(kind: type[Part]) -> set[type[Part]]:
    """Concrete classes of a kind that stand in its folder, found without the registry."""
    package = importlib.import_module(f"flowopt.{FOLDERS[kind]}")
    found = set()
    for entry in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        module = importlib.import_module(entry.name)
        for _, member in inspect.getmembers(module, inspect.isclass):
            if member.__module__ == module.__name__ and issubclass(member, kind) and "name" in vars(member):
                found.add(member)
    return found


@together("kind", KINDS)
def test_every_part_in_the_folder_is_found_by_name(kind: type[Part]) -> None:
    assert set(discover(kind).values()) == defined_in(kind)
    for name, part in discover(kind).items():
        assert part.name == name
        assert lookup(kind, name) is part
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="separable_hamiltonian"):
        lookup(KINDS[0], "separable_hamiltonien")


@together("part", PARTS)
def test_part_documents_itself(part: type[Part]) -> None:
    assert part.__doc__
    assert not part.__doc__.startswith(f"{part.__name__}("), "the docstring is the one that dataclass makes up"
    assert part.summary().endswith((".", ":", ","))
    assert bool(part.source) != (part.name in WITHOUT_SOURCE)


@together("part", PARTS)
def test_part_is_a_frozen_record_of_its_parameters(part: type[Part]) -> None:
    made = build(part)
    assert made == build(part)
    for name in made.parameters:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 1)


@together("part", PARTS)
def test_what_a_part_requires_has_a_meaning_and_a_provider(part: type[Part]) -> None:
    provided = {"error"}.union(*(other.provides for other in (*SYSTEMS, *INTEGRATORS)))
    assert part.provides <= set(MEANING)
    assert part.requires <= set(MEANING)
    assert part.requires <= provided


def test_orders_and_stages_are_declared() -> None:
    for integrator in INTEGRATORS:
        assert integrator.order >= 1
        assert integrator.stages >= 1


def test_a_controller_that_keeps_its_step_says_so() -> None:
    assert [controller.name for controller in CONTROLLERS if not controller.adaptive] == ["fixed"]


@together(
    ("part", "name", "nonsense"),
    [
        (part, name, nonsense)
        for part, name in NUMBERS
        for nonsense in (math.nan, -math.inf, -1, "1", True, [1.0], 1j)
        if nonsense != -1 or name not in roles(part, LowerBound)  # a level of the objective has any sign
    ],
)
def test_nonsense_is_refused_by_name_and_range(part: type[Part], name: str, nonsense: Any) -> None:
    with pytest.raises(BadValue) as refusal:
        build(part, **{name: nonsense})
    message = str(refusal.value)
    assert part.name in message
    assert re.search(rf"\b{name}\b", message)
    assert repr(nonsense) in message
    if isinstance(nonsense, float | int) and nonsense is not True:
        assert re.search(r"range [\[(]|whole number", message)


@together(("part", "name"), NUMBERS)
def test_one_bad_row_of_a_parameter_is_enough(part: type[Part], name: str) -> None:
    good = getattr(build(part), name)
    good = 1.0 if good is None or isinstance(good, str) else float(good)
    with pytest.raises(BadValue, match=rf"\b{name}\b"):
        build(part, **{name: torch.tensor([good, math.nan])})


@together(("part", "name"), SWITCHES)
def test_a_switch_takes_true_and_false_only(part: type[Part], name: str) -> None:
    with pytest.raises(BadValue, match=rf"\b{name}\b"):
        build(part, **{name: "false"})


@together("name", sorted(METHODS))
def test_named_method_documents_itself(name: str) -> None:
    entry = METHODS[name]
    made = method(name)
    assert made.name == name
    assert entry.summary.endswith(".")
    assert entry.paper
    assert re.match(r"@\w+\{", made.citation.strip())
    assert made.citation == entry.citation
    assert made.reading == entry.reading


@together("name", sorted(METHODS))
def test_named_method_refuses_unknown_parameters(name: str) -> None:
    with pytest.raises(UnknownName, match=f"parameter of {name}"):
        method(name, momentum_of_inertia=1.0)


@together(
    ("name", "parameter"),
    [
        (name, parameter)
        for name in sorted(METHODS)
        for parameter, default in METHODS[name].defaults.items()
        if isinstance(default, float) or (isinstance(default, int) and not isinstance(default, bool))
    ],
)
def test_named_method_refuses_nonsense(name: str, parameter: str) -> None:
    with pytest.raises(BadValue):
        method(name, **{parameter: math.nan})
    with pytest.raises(BadValue):
        method(name, **{parameter: "1"})
