"""What tests and experiments share, here and in other people's packages: `check_part` runs the contract of a part."""

from flowopt.core._rounding import (
    LEAST,
    Distribution,
    Share,
    common_length,
    nudged,
    over_seeds,
    reproducible_length,
)
from flowopt.testing._check_part import BrokenContract, check_part

__all__ = [
    "LEAST",
    "BrokenContract",
    "Distribution",
    "Share",
    "check_part",
    "common_length",
    "nudged",
    "over_seeds",
    "reproducible_length",
]
