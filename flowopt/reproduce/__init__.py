"""The papers' claims: the number that a paper prints, what we made of it, and what we ran.

No verdict is one that rounding decides: what is chaotic is told by an invariant, or as a distribution over ten seeds or
more with its interval (`flowopt.testing`).

One file a paper; `EXPERIMENTS` has them by name. ``flowopt reproduce`` prints the tables.
"""

from __future__ import annotations

from flowopt.reproduce import (
    ecco_facts,
    ecdsep_facts,
    elra_facts,
    epsilon_facts,
    network_facts,
    scheme_facts,
    tlr_facts,
)
from flowopt.reproduce.facts import Experiment, Fact

__all__ = ["EXPERIMENTS", "Experiment", "Fact"]

EXPERIMENTS: dict[str, tuple[Experiment, ...]] = {
    "ecco": ecco_facts.EXPERIMENTS,
    "ecdsep": ecdsep_facts.EXPERIMENTS,
    "elra": elra_facts.EXPERIMENTS,
    "tlr": tlr_facts.EXPERIMENTS,
    "schemes": scheme_facts.EXPERIMENTS,
    "networks": network_facts.EXPERIMENTS,
    "epsilon": epsilon_facts.EXPERIMENTS,
}
