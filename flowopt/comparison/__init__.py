"""Methods beside each other on one problem, from one start, with the same budget and the same chance to be tuned."""

from flowopt.comparison.choosing import BASELINES, DEFAULTS, everything
from flowopt.comparison.comparing import compare
from flowopt.comparison.own_flow import HORIZON
from flowopt.comparison.result import FLOW, Comparison, Contestant
from flowopt.comparison.twins import TWINS

__all__ = ["BASELINES", "DEFAULTS", "FLOW", "HORIZON", "TWINS", "Comparison", "Contestant", "compare", "everything"]
