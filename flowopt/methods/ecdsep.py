"""Energy-conserving descent: ECDSep, its Strang splitting, and BBI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flowopt.controllers.fixed import Fixed
from flowopt.core.method import Method
from flowopt.core.parts import Integrator, Transform
from flowopt.core.roles import L2, LowerBound, Range, StepSize
from flowopt.core.state import Number
from flowopt.integrators.symplectic import StoermerVerlet, SymplecticEuler
from flowopt.methods._naming import named
from flowopt.systems.born_infeld import BornInfeld
from flowopt.systems.hamiltonian import SeparableHamiltonian
from flowopt.transforms.bounces import Bounces
from flowopt.transforms.energy_projection import EnergyProjection
from flowopt.transforms.momentum_rotation import MomentumRotation


def _ecdsep(
    scheme: Integrator,
    dt: Number,
    nu: Number,
    conserve_energy: bool,
    **system: Any,
) -> Method:
    transforms: tuple[Transform, ...] = (MomentumRotation(nu),) if _nonzero(nu) else ()
    if conserve_energy:  # after the rotation of the last step and before the next kick
        transforms += (EnergyProjection(),)
    return Method(SeparableHamiltonian(**system), scheme, Fixed(dt), transforms)


ECDSEP = """@article{deluca2023ecdsep,
  title  = {Improving Energy Conserving Descent for Machine Learning: Theory and Practice},
  author = {De Luca, G. Bruno and Gatti, Alice and Silverstein, Eva},
  year   = {2023},
  note   = {Preprint}
}
"""


@named(
    "ECDSep",
    ECDSEP,
    "Algorithm 1: p starts along -grad F (section 3.1 prints plus), the energy is restored before the kick (section "
    "3.3 says after); with tune_F0, Algorithm 2, the shift is part of the force (it is not in the authors' code)",
)
def ecdsep(
    exponent: Annotated[Number, Range(0.1, 10.0)] = 1.0,
    dt: Annotated[Number, StepSize(1e-3, 10.0)] = 0.4,
    nu: Annotated[Number, Range(1e-8, 0.1)] = 1e-5,
    F0: Annotated[Number, LowerBound()] = 0.0,
    delta_energy: Annotated[Number, Range(1e-3, 1e3)] = 0.0,
    s: Literal[0, 1] = 1,
    weight_decay: L2 = 0.0,
    conserve_energy: bool = True,
    tune_F0: bool = False,
) -> Method:
    """ECDSep: energy-conserving descent, a separable Hamiltonian by symplectic Euler with a random rotation.

    The paper gives no default for its eta, the exponent; 1 is the choice of its section 3.6.
    """
    return _ecdsep(
        SymplecticEuler(),
        dt,
        nu,
        conserve_energy,
        exponent=exponent,
        F0=F0,
        delta_energy=delta_energy,
        s=s,
        weight_decay=weight_decay,
        tune_F0=tune_F0,
    )


@named("ECDSep, second order", ECDSEP, "the Strang splitting that the paper names as future work")
def ecdsep_strang(
    exponent: Annotated[Number, Range(0.1, 10.0)] = 1.0,
    dt: Annotated[Number, StepSize(1e-3, 10.0)] = 0.4,
    nu: Annotated[Number, Range(1e-8, 0.1)] = 1e-5,
    F0: Annotated[Number, LowerBound()] = 0.0,
    delta_energy: Annotated[Number, Range(1e-3, 1e3)] = 0.0,
    s: Literal[0, 1] = 1,
    weight_decay: L2 = 0.0,
    conserve_energy: bool = True,
) -> Method:
    """ECDSep with the Stoermer-Verlet scheme: the same Hamiltonian to second order, still one gradient a step."""
    return _ecdsep(
        StoermerVerlet(),
        dt,
        nu,
        conserve_energy,
        exponent=exponent,
        F0=F0,
        delta_energy=delta_energy,
        s=s,
        weight_decay=weight_decay,
    )


BBI = """@inproceedings{deluca2022bbi,
  title     = {{Born-Infeld} ({BI}) for {AI}: Energy-Conserving Descent ({ECD}) for Optimization},
  author    = {De Luca, Giuseppe Bruno and Silverstein, Eva},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year      = {2022}
}
"""


@named("BBI (Born-Infeld)", BBI, "the energy is that of the start, V(q_0) + added_energy")
def bbi(
    dt: Annotated[Number, StepSize(1e-5, 1.0)] = 1e-2,
    v0: Annotated[Number, LowerBound()] = 0.0,
    added_energy: Annotated[Number, Range(1e-3, 1e3)] = 0.0,
    conserve_energy: bool = True,
    fixed_bounces: Annotated[int, Range(1, 100)] = 0,
    fixed_interval: Annotated[int, Range(10, 10_000)] = 100,
    progress_interval: Annotated[int, Range(10, 10_000)] = 1000,
) -> Method:
    """BBI: Born-Infeld dynamics by symplectic Euler with bounces, the predecessor of ECDSep."""
    transforms: tuple[Transform, ...] = (Bounces(fixed_bounces, fixed_interval, progress_interval),)
    if conserve_energy:
        transforms += (EnergyProjection(),)
    return Method(BornInfeld(v0, added_energy), SymplecticEuler(), Fixed(dt), transforms)


def _nonzero(value: Number) -> bool:
    return not isinstance(value, float | int) or value != 0
