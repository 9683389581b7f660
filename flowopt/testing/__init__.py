"""What tests and experiments share, here and in other people's packages."""

from flowopt.core._rounding import (
    LEAST,
    Distribution,
    Share,
    common_length,
    nudged,
    over_seeds,
    reproducible_length,
)

__all__ = ["LEAST", "Distribution", "Share", "common_length", "nudged", "over_seeds", "reproducible_length"]
