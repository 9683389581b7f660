"""The papers' claims: the number that a paper prints, what we made of it, and what we ran.

No verdict is one that rounding decides: what is chaotic is told by an invariant, or as a distribution over ten seeds or
more with its interval (`flowopt.testing`).

One file a paper; `EXPERIMENTS` has them by name. ``flowopt reproduce`` prints the tables.
"""

from __future__ import annotations

from flowopt.reproduce import ecco, ecdsep, elra, schemes, tlr
from flowopt.reproduce import epsilon_facts as epsilon
from flowopt.reproduce import network_facts as networks
from flowopt.reproduce.facts import Experiment, Fact

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
