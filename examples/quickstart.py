"""Why does a method move as it does? Two of them on Rosenbrock's valley, and the pictures that show it."""

import flowopt

published = flowopt.minimize("rosenbrock", method="ecco", eta=0.1, max_steps=2000)
stable = flowopt.minimize("rosenbrock", method="ecco_stable", eta=0.1)

for run in (published, stable):
    print(run.summary())
    run.plot(path=f"{run.about['method']}.png")

print(
    f"the published rule still moves, with h = {published.h[-1, 0]:.1e} and |grad f| = {published.grad_norm[-1, 0]:.3g}"
)
print(f"inside the stability limit: {stable.steps[0]} steps, x = {stable.final_x[0].round(6)}")
