"""The papers' claims, each run and held against what was measured on prototypes of the methods.

One file a paper; `EXPERIMENTS` has them by name. ``python -m flowopt.experiments`` prints the tables.
"""

from __future__ import annotations

from flowopt.experiments import ecco, ecdsep, elra, epsilon, networks, schemes, tlr
from flowopt.experiments.facts import Experiment, Fact

__all__ = ["EXPERIMENTS", "Experiment", "Fact"]

EXPERIMENTS: dict[str, tuple[Experiment, ...]] = {
    "ecco": ecco.EXPERIMENTS,
    "ecdsep": ecdsep.EXPERIMENTS,
    "elra": elra.EXPERIMENTS,
    "tlr": tlr.EXPERIMENTS,
    "schemes": schemes.EXPERIMENTS,
    "networks": networks.EXPERIMENTS,
    "epsilon": epsilon.EXPERIMENTS,
}
