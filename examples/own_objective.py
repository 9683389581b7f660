"""Your own objective: a torch function of (..., D), a NumPy function, or either from SciPy's minimize."""

import numpy as np
import scipy.optimize
import torch

import flowopt


def torch_well(x: torch.Tensor) -> torch.Tensor:
    """A double well; any number of points (..., 2) at once, gradients by autograd."""
    return (x[..., 0] ** 2 - 1) ** 2 + 0.5 * (x[..., 1] - 0.3 * x[..., 0]) ** 2


def numpy_well(x: np.ndarray) -> float:
    """The same for one point, without a gradient: finite differences are counted as evaluations."""
    return float((x[0] ** 2 - 1) ** 2 + 0.5 * (x[1] - 0.3 * x[0]) ** 2)


starts = np.random.default_rng(0).uniform(-2, 2, size=(1000, 2))
run = flowopt.minimize(torch_well, starts, method="elra")
print(run.summary())
print(f"to the left well: {np.sum(run.final_x[:, 0] < 0)} of {run.rows} starts")

run = flowopt.minimize(flowopt.from_numpy(numpy_well), [1.5, -1.0], method="elra")
print(f"NumPy: x = {run.final_x[0].round(6)}, {run.evaluations['value'][0]} values for {run.steps[0]} steps")

result = scipy.optimize.minimize(numpy_well, [1.5, -1.0], method=flowopt.scipy_method("elra"))
print(f"through SciPy: x = {result.x.round(6)}, success = {result.success}, nfev = {result.nfev}")
