"""The vocabulary of the named methods' parameters: one name, one meaning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.errors import BadValue, shown

OTHER_NAMES = {
    "eta": ("exponent", "eta is ECCO's error tolerance"),
    "beta": ("hyper_lr", "beta is the factor of a momentum"),
    "form": ("rule", "form tells a paper from its authors' code"),
    "c": ("c1", "c is the factor of SPS"),
    "shrink": ("backtrack", "shrink is the factor that ELRA multiplies the position by"),
    "growth": ("epoch_growth", ""),
    "delta_energy": ("added_energy", "delta_energy is ECDSep's, in units of V"),
}
"""What papers, or earlier versions, call a parameter: our name, and what the other stands for here if it does."""


def as_parameter(owner: str, name: str, value: Any, each: str = "row") -> Any:
    """A parameter as parts take it: NumPy's numbers as Python's, arrays and lists ``(B,)`` as float64 tensors.

    In full precision, as builders compute with it, whatever the run's own. Raises BadValue for an array of anything
    but real numbers; what is not an array is for the part to judge.
    """
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        return value.item()
    if isinstance(value, (np.ndarray, list)):
        try:
            value = torch.as_tensor(np.asarray(value))  # torch would make float32 of a list
        except (TypeError, ValueError, RuntimeError) as error:
            raise BadValue(f"{owner}: {name} = {shown(value)} must be numbers, one a {each}") from error
        value = value if value.dtype in (torch.bool, torch.complex64, torch.complex128) else value.to(torch.float64)
    if isinstance(value, Tensor) and (value.is_complex() or value.dtype == torch.bool):
        raise BadValue(f"{owner}: {name} = {shown(value)} must be real numbers, not {value.dtype}")
    return value.to(torch.float64) if isinstance(value, Tensor) and value.is_floating_point() else value


def hint(name: str, known: Iterable[str]) -> str:
    """What a parameter that a method does not have is called there; empty if nothing is known of it."""
    ours, meaning = OTHER_NAMES.get(name, ("", ""))
    if ours not in known:
        return ""
    return f"what is elsewhere called {name} is called {ours} here" + (f"; {meaning}" if meaning else "")


def warn_of_a_factor(weight_decay: Any) -> None:
    """Warn of an L2 rate for ELRA that was meant as the paper's factor of the weights, which is close to 1."""
    value = as_parameter("elra", "weight_decay", weight_decay)
    if isinstance(value, (float, int, Tensor)) and bool((torch.as_tensor(value) > 0.5).any()):
        warnings.warn(
            f"elra: weight_decay = {shown(weight_decay)} is a rate of L2, 0 for none, as it is of every method; "
            "the factor that ELRA multiplies the weights by in every step (0.9997 in the paper) is called shrink",
            stacklevel=3,
        )
