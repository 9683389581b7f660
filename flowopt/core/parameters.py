"""The vocabulary of the named methods' parameters: one name, one meaning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue, shown


@dataclass(frozen=True)
class Meaning:
    """What a parameter's name stands for, in every method that has it."""

    words: str
    unit: str = ""
    """In units of the position x and of the objective f; empty for a pure number."""
    letters: str = ""
    """What papers call it."""


_TIME, _GRADIENT = "time (x^2/f in gradient flow)", "f/x, squared where it stands under a root"

VOCABULARY = {
    # how far a step goes
    "lr": Meaning(
        "learning rate: the factor of the direction in the first step, and in all if nothing changes it (MADGRAD: to "
        "the power 2/3; nesterov: h = sqrt(lr))",
        "x^2/f; x where the direction has no unit (Adam and its relatives)",
        "alpha, eta",
    ),
    "dt": Meaning("step size, the same in every step", "time of the system"),
    "h0": Meaning(
        "where the step size starts: the first step (armijo, bb), the first that a search tries (sls), or the one "
        "before the first (sps)",
        _TIME,
        "eta_0",
    ),
    "alpha0": Meaning("the first step size", _TIME),
    "h_max": Meaning("upper bound of every step size", _TIME, "gamma_b (SPS), eta_max (SLS)"),
    "weight_decay": Meaning(
        "rate of L2, 0 for none: the objective is f + w/2 |x|^2, with the gradient grad f + w x (adamw alone: "
        "decoupled, every step takes lr w x from x, as torch's AdamW does)",
        "f/x^2; of adamw 1/lr",
        "w, lambda",
    ),
    "shrink": Meaning("factor that x is multiplied by in every step, 1 for none", "", "wd (ELRA's weight decay)"),
    # memory
    "beta": Meaning("what a momentum keeps of itself in a step"),
    "beta1": Meaning("what the average of gradients keeps of itself in a step", "", "beta_1; 1 - c (MADGRAD)"),
    "beta2": Meaning("what the average of squared gradients keeps of itself in a step", "", "alpha (RMSprop)"),
    "beta3": Meaning("what the average of learning rates keeps of itself in a step"),
    "r": Meaning("friction r/t of Nesterov's flow"),
    "eps": Meaning("positive number in the denominator; where it stands is part of the method", _GRADIENT, "epsilon"),
    "form": Meaning("'paper', or 'library': as the authors' code departs from it"),
    "dual_averaging": Meaning("sum all gradients from the start on (True), or go on from the last position"),
    # error control
    "eta": Meaning("tolerated local truncation error of the position in a step", "x"),
    "rtol": Meaning("tolerated error of a step, relative to the state"),
    "atol": Meaning("tolerated error of a step, absolute", "x"),
    "safety": Meaning("share of the stability limit 2/L that a step may take"),
    "scaling": Meaning(
        "the diagonal that scales the gradient: 'identity', 'curvature', 'gradient_difference'", "", "Z"
    ),
    "difference": Meaning("gradient difference over h ('divide', eqs 9 and 10) or times h ('multiply', Algorithm 1)"),
    "normalise": Meaning("divide the scaling by its largest entry ('max') or its mean ('mean'), or not (None)"),
    # step sizes from the last step
    "gamma": Meaning("damping of the Newton step on the learning rate, 1 for none"),
    "K": Meaning("steps between two changes of the learning rate", "steps"),
    "p": Meaning("share of an epoch between two changes of the learning rate: K = int(p batches_per_epoch)"),
    "schedule": Meaning("use a new learning rate at once ('in_step'), or as late as the authors' code ('lagged')"),
    "guard": Meaning("keep the learning rate where the formula would make it negative"),
    "max_factor": Meaning("upper bound of the factor of the learning rate in one change"),
    "hyper_lr": Meaning("learning rate of the learning rate", "x^4/f^2 (additive); none (multiplicative)", "beta"),
    "rule": Meaning("the learning rate's own step: 'additive' or 'multiplicative'"),
    "variant": Meaning("of the two steps: 1 is <s, s>/<s, y>, 2 is <s, y>/<y, y>"),
    "grow": Meaning("factor of the step size after a success (armijo), or where the curvature is negative (bb)"),
    "kappa": Meaning("factor of the orthogonal step; 'auto' is 1 + 0.15/(1 + alpha^2)"),
    "gamma_max": Meaning("upper bound of the factor of the step size in one step"),
    "retrace": Meaning("send a step back above 1.1 f_0 ('initial'), mean + 5 sigma of an epoch ('epoch'), or never"),
    "retrace_formula": Meaning("step after that: by the parabola ('corrected') or with |G| ('printed')"),
    "crop": Meaning("upper bound of the length of a move; None: none", "x"),
    "warmup": Meaning("lower bound of the length of a move; None: none", "x"),
    "average": Meaning("keep the mean of the iterates as well, to evaluate"),
    # step sizes from the value of f
    "f_star": Meaning("minimum of f, or a lower bound", "f", "f*"),
    "scale": Meaning("factor of Polyak's step"),
    "c": Meaning("Polyak's step is divided by it"),
    "c1": Meaning("share of the predicted fall of f that a step must make", "", "c, sigma"),
    "backtrack": Meaning("factor of a step size that failed", "", "beta, rho"),
    "tries": Meaning("step sizes that a search tries", "steps"),
    "epoch_growth": Meaning("factor by which the step size may grow in an epoch", "", "gamma, 2 (SPS)"),
    "factor": Meaning("what is left of the learning rate after `every` steps", "", "gamma (StepLR)"),
    "every": Meaning("steps from one fall of the learning rate to the next", "steps"),
    "batches_per_epoch": Meaning("steps in an epoch: the length of the data loader", "steps", "N, n/b"),
    "epoch_length": Meaning("accepted steps in an epoch", "steps", "s"),
    # energy
    "exponent": Meaning("exponent of V = (F - F0)^exponent", "", "eta (ECDSep)"),
    "F0": Meaning("lower bound of f, from which V is measured", "f"),
    "v0": Meaning("lower bound of f, from which V is measured", "f", "V_0"),
    "nu": Meaning("strength of the random rotation of the momentum, 0 for none: the angle is arctan(nu sqrt(D))"),
    "s": Meaning("the 1 or 0 of H = log(|p|^2 + s) + exponent log(F - F0)"),
    "delta_energy": Meaning("|p|^2 at the start: the energy is V (s + delta_energy)", "", "delta E"),
    "added_energy": Meaning("energy at the start beyond V", "f", "delta E (BBI)"),
    "conserve_energy": Meaning("rescale the momentum before each step to the energy of the start"),
    "tune_F0": Meaning("lower F0 where f falls below it, by 5 |V|"),
    "fixed_bounces": Meaning("bounces at fixed times", "bounces", "N_b"),
    "fixed_interval": Meaning("steps from one of these to the next", "steps", "T_0"),
    "progress_interval": Meaning("steps without a new lowest f after which the momentum bounces", "steps", "T_1"),
    "damping": Meaning("multiple of the identity added to the Hessian", "f/x^2"),
}
"""The meaning of every parameter of every named method."""

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


def warn_of_a_factor(owner: str, name: str, rate: Any, factor: str) -> None:
    """Warn of a rate of L2 that was meant as the paper's factor of the weights, close to 1: that is called `factor`."""
    value = as_parameter(owner, name, rate)
    if isinstance(value, (float, int, Tensor)) and bool((torch.as_tensor(value) > 0.5).any()):
        warnings.warn(
            f"{owner}: {name} = {shown(rate)} is a rate of L2, 0 for none, as it is of every method; "
            f"the factor that {owner} multiplies the weights by in every step (0.9997 in the paper) is called {factor}",
            stacklevel=3,
        )
