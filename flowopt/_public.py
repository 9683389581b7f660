"""The names of `import flowopt`: everything that a user is meant to import from there."""

from flowopt.comparison import compare
from flowopt.errors import BadValue, FlowoptError, IncompatibleParts, UnknownName
from flowopt.kernel import Method
from flowopt.listing import list_controllers, list_integrators, list_methods, list_problems, list_systems
from flowopt.papers import method
from flowopt.problems import Problem, noisy, problem, rotated, scaled, shifted
from flowopt.problems.numpy_functions import from_numpy
from flowopt.reference_solution import reference
from flowopt.scipy_adapter import scipy_method
from flowopt.solve import minimize
from flowopt.state import Status
from flowopt.training.ensemble import Ensemble
from flowopt.training.limiting import ActivationLimiting
from flowopt.training.optimizer import FlowOptimizer
from flowopt.trajectory import Trajectory

__all__ = [
    "ActivationLimiting",
    "BadValue",
    "Ensemble",
    "FlowOptimizer",
    "FlowoptError",
    "IncompatibleParts",
    "Method",
    "Problem",
    "Status",
    "Trajectory",
    "UnknownName",
    "compare",
    "from_numpy",
    "list_controllers",
    "list_integrators",
    "list_methods",
    "list_problems",
    "list_systems",
    "method",
    "minimize",
    "noisy",
    "problem",
    "reference",
    "rotated",
    "scaled",
    "scipy_method",
    "shifted",
]
