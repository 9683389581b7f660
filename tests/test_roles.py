"""Roles: what a parameter is, is declared with it."""

from typing import Annotated

import numpy as np
import pytest
import torch

import flowopt
from flowopt.core.errors import BadValue
from flowopt.core.roles import LowerBound, StepSize, roles
from flowopt.methods import METHODS


def test_every_method_declares_one_step_size_with_its_default_inside_and_takes_a_value_for_each_row():
    for name, entry in METHODS.items():
        ((parameter, step),) = roles(entry.build, StepSize).items()
        assert step.low < entry.defaults[parameter] < step.high, name
        values = torch.tensor(step.grid(3), dtype=torch.float64)
        run = flowopt.minimize("himmelblau", [[0.0, 0.0]] * 3, name, 5, **{parameter: values})
        for row, value in enumerate(values.tolist()):
            alone = flowopt.minimize("himmelblau", None, name, 5, seed=row, **{parameter: value})
            np.testing.assert_array_equal(run.row(row).x, alone.x, err_msg=f"{name} {parameter}={value}")


def test_the_lower_bounds_are_declared():
    declared = {name: list(found) for name, entry in METHODS.items() if (found := roles(entry.build, LowerBound))}
    assert declared == {
        "ecdsep": ["F0"],
        "ecdsep_strang": ["F0"],
        "bbi": ["v0"],
        "polyak": ["f_star"],
        "sps": ["f_star"],
    }


def test_a_grid_is_even_in_powers_and_its_ends_are_the_range():
    grid = StepSize(1e-6, 10.0).grid(16)
    assert (grid[0], grid[-1]) == (1e-6, 10.0)
    np.testing.assert_allclose(np.diff(np.log10(grid)), 7 / 15, rtol=1e-9)
    assert StepSize(0.01, 1.0).grid(1) == pytest.approx((0.1,))


def test_a_range_that_is_not_one_is_refused():
    for low, high in ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (-1.0, 1.0)):
        with pytest.raises(BadValue, match="0 < low < high"):
            StepSize(low, high)


def test_an_object_that_can_be_called_has_roles_as_a_function_has():
    class Builder:
        def __call__(self, lr: Annotated[float, StepSize(0.1, 1.0)] = 0.5):
            return lr

    assert roles(Builder(), StepSize) == {"lr": StepSize(0.1, 1.0)}
    assert roles(lambda lr=1: lr, StepSize) == {}
