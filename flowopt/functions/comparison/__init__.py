"""Methods beside each other on one problem, from one start, with the same budget and the same chance to be tuned."""

from flowopt.functions.comparison.choosing import BASELINES, DEFAULTS, everything
from flowopt.functions.comparison.comparing import compare
from flowopt.functions.comparison.own_flow import HORIZON
from flowopt.functions.comparison.result import FLOW, Comparison, Entrant
from flowopt.functions.comparison.twins import TWINS

__all__ = ["BASELINES", "DEFAULTS", "FLOW", "HORIZON", "TWINS", "Comparison", "Entrant", "compare", "everything"]
