"""The vocabulary of the named methods' parameters: one name, one meaning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch

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


def hint(name: str, known: Iterable[str]) -> str:
    """What a parameter that a method does not have is called there; empty if nothing is known of it."""
    ours, meaning = OTHER_NAMES.get(name, ("", ""))
    if ours not in known:
        return ""
    return f"what is elsewhere called {name} is called {ours} here" + (f"; {meaning}" if meaning else "")


def warn_of_a_factor(weight_decay: Any) -> None:
    """Warn of an L2 rate for ELRA that was meant as the paper's factor of the weights, which is close to 1."""
    if bool((torch.as_tensor(weight_decay) > 0.5).any()):
        warnings.warn(
            f"elra: weight_decay = {weight_decay} is a rate of L2, 0 for none, as it is of every method; the factor "
            "that ELRA multiplies the weights by in every step (0.9997 in the paper) is called shrink",
            stacklevel=3,
        )
