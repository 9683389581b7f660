"""The same vector field integrated by flowopt, SciPy and torchdiffeq; and how far a method strays from its own flow."""

import numpy as np

import flowopt
from flowopt.controllers import PI
from flowopt.integrators import DormandPrince
from flowopt.systems import GradientFlow

T_END = 2.0
TIGHT = {"rtol": 1e-10, "atol": 1e-11}
tight = flowopt.Method(GradientFlow(), DormandPrince(), PI(**TIGHT))
ours = flowopt.minimize("rosenbrock", method=tight, t_end=T_END, max_steps=20000).final_x[0]
scipy = flowopt.reference("rosenbrock", t_end=T_END, solver="scipy:DOP853", **TIGHT).final_x[0]
torchdiffeq = flowopt.reference("rosenbrock", t_end=T_END, solver="torchdiffeq:dopri5", **TIGHT).final_x[0]
print(
    f"x({T_END}) by flowopt {ours}, |flowopt - scipy| = {np.abs(ours - scipy).max():.1e}, "
    f"|flowopt - torchdiffeq| = {np.abs(ours - torchdiffeq).max():.1e}"
)

flow = flowopt.reference("rosenbrock", t_end=T_END, solver="scipy:LSODA", dense=True)
for name, parameters in (("gd", {"lr": 1e-3}), ("ecco", {"scaling": "identity", "eta": 1e-3, "h_max": 1e-3})):
    run = flowopt.minimize("rosenbrock", method=name, t_end=T_END, max_steps=20000, **parameters)
    distance = np.linalg.norm(run.x[:, 0] - flow.dense(run.t[:, 0])[:, 0], axis=1)
    print(f"{name}: {run.steps[0]} steps, farthest from the flow {distance.max():.2e}, at the end {distance[-1]:.2e}")
