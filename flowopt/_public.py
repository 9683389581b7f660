"""The names of `import flowopt`: everything that a user is meant to import from there."""

from flowopt.core.errors import BadValue, FlowoptError, IncompatibleParts, UnknownName
from flowopt.core.kernel import Method
from flowopt.core.state import Status
from flowopt.functions.comparison import compare
from flowopt.functions.reference_solution import reference
from flowopt.functions.scipy_method import scipy_method
from flowopt.functions.solve import minimize
from flowopt.functions.trajectory import Trajectory
from flowopt.methods.papers import method
from flowopt.networks.ensemble.ensemble import Ensemble
from flowopt.networks.limiting.limiting import ActivationLimiting
from flowopt.networks.optimizer import FlowOptimizer
from flowopt.problems import Problem, noisy, problem, rotated, scaled, shifted
from flowopt.problems.numpy_functions import from_numpy
from flowopt.show.listing import list_controllers, list_integrators, list_methods, list_problems, list_systems

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
