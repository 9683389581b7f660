"""Runs on functions: minimize and what it leaves behind, reference solutions, comparisons, baselines."""

from flowopt.core._progress import Progress
from flowopt.functions._minimize import minimize
from flowopt.functions._reference import reference
from flowopt.functions._scipy_method import scipy_method
from flowopt.functions._trajectory import Trajectory
from flowopt.functions.comparison import Comparison, compare

__all__ = ["Comparison", "Progress", "Trajectory", "compare", "minimize", "reference", "scipy_method"]
