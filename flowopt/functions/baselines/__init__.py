"""Other people's optimizers where a method stands: torch.optim's and SciPy's."""

from __future__ import annotations

from typing import Any

from flowopt.functions.baselines.scipy_minimizers import ScipyMinimizer, as_scipy_minimizer
from flowopt.functions.baselines.torch_optimizers import OptimizerRecipe, as_optimizer, each_its_own

__all__ = ["OptimizerRecipe", "ScipyMinimizer", "as_baseline", "each_its_own"]


def as_baseline(method: Any, overrides: dict[str, Any]) -> OptimizerRecipe | ScipyMinimizer | None:
    """A baseline from ``"torch:Adam"``, ``"scipy:BFGS"``, an Optimizer class or a factory; None for anything else.

    Raises UnknownName for an optimizer, a minimizer or a parameter that does not exist.
    """
    return as_optimizer(method, overrides) or as_scipy_minimizer(method, overrides)
