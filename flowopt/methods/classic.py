"""Classic methods: gradient descent and its momentum, step-size rules of old, a scheme of order five, Newton."""

from __future__ import annotations

from typing import Annotated, Literal

from flowopt.controllers.armijo import Armijo
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein
from flowopt.controllers.fixed import Fixed
from flowopt.controllers.growing import Growing
from flowopt.controllers.pi import PI
from flowopt.controllers.polyak import Polyak
from flowopt.controllers.step_decay import StepDecay
from flowopt.controllers.stochastic_polyak import StochasticPolyak
from flowopt.core.errors import check_count, check_positive, check_range
from flowopt.core.method import Method
from flowopt.core.roles import EpochLength, LearningRate, LowerBound, MomentumFactor, Range, StepSize
from flowopt.core.state import Number
from flowopt.integrators.backtracking_euler import BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler
from flowopt.integrators.implicit import BackwardEuler
from flowopt.integrators.lookahead import Lookahead
from flowopt.integrators.runge_kutta import DormandPrince
from flowopt.integrators.symplectic import SymplecticEuler
from flowopt.methods._naming import named
from flowopt.systems.gradient_flow import GradientFlow
from flowopt.systems.momentum import Momentum
from flowopt.systems.nesterov_flow import NesterovFlow
from flowopt.systems.newton_flow import NewtonFlow

CAUCHY = """@article{cauchy1847,
  title   = {M{\\'e}thode g{\\'e}n{\\'e}rale pour la r{\\'e}solution des syst{\\`e}mes d'{\\'e}quations simultan{\\'e}es},
  author  = {Cauchy, Augustin-Louis},
  journal = {Comptes rendus de l'Acad{\\'e}mie des sciences},
  volume  = {25},
  pages   = {536--538},
  year    = {1847}
}
"""


@named("gradient descent", CAUCHY)
def gd(lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3) -> Method:
    """Gradient descent: gradient flow by forward Euler with a fixed step, which is torch.optim.SGD(lr).

    The default is half the stability limit 2/1002 of Rosenbrock's minimum.
    """
    return Method(GradientFlow(), ForwardEuler(), Fixed(lr))


POLYAK_1964 = """@article{polyak1964,
  title   = {Some methods of speeding up the convergence of iteration methods},
  author  = {Polyak, Boris T.},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume  = {4},
  number  = {5},
  pages   = {1--17},
  year    = {1964}
}
"""


@named("gradient descent with momentum: Polyak's heavy ball, its memory counted in steps; ECDSep eq 13", POLYAK_1964)
def gdm(
    lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3, beta: Annotated[Number, MomentumFactor(0.0, 0.999)] = 0.9
) -> Method:
    """Gradient descent with momentum by symplectic Euler, which is torch.optim.SGD(lr, momentum=beta).

    p <- beta p - grad f, q <- q + lr p.
    """
    check_range("gdm", "beta", beta, 0.0, 1.0)
    return Method(Momentum(beta), SymplecticEuler(), Fixed(lr))


NESTEROV = """@article{su2016,
  title   = {A Differential Equation for Modeling {N}esterov's Accelerated Gradient Method: Theory and Insights},
  author  = {Su, Weijie and Boyd, Stephen and Cand{\\`e}s, Emmanuel J.},
  journal = {Journal of Machine Learning Research},
  volume  = {17},
  number  = {153},
  pages   = {1--43},
  year    = {2016}
}
"""


@named("Nesterov; Su, Boyd, Candes", NESTEROV)
def nesterov(
    lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3, r: Annotated[Number, Range(1.0, 30.0)] = 3.0
) -> Method:
    """Nesterov's accelerated gradient: Nesterov's flow by look-ahead Euler with h = sqrt(lr).

    With r = 3 the momentum factor is Nesterov's k/(k+3).
    """
    check_positive("nesterov", lr=lr)
    return Method(NesterovFlow(r), Lookahead(), Fixed(lr**0.5))


ARMIJO = """@article{armijo1966,
  title   = {Minimization of functions having {L}ipschitz continuous first partial derivatives},
  author  = {Armijo, Larry},
  journal = {Pacific Journal of Mathematics},
  volume  = {16},
  number  = {1},
  pages   = {1--3},
  year    = {1966}
}
"""


@named("Armijo line search", ARMIJO)
def armijo(
    h0: Annotated[Number, StepSize(1e-6, 100.0)] = 1.0,
    c1: Annotated[Number, Range(1e-5, 0.5)] = 1e-4,
    backtrack: Annotated[Number, Range(0.1, 0.95, "linear")] = 0.5,
    grow: Annotated[Number, Range(1.0, 100.0)] = 2.0,
) -> Method:
    """Gradient descent with Armijo backtracking."""
    return Method(GradientFlow(), ForwardEuler(), Armijo(h0, c1, backtrack, grow))


POLYAK_1969 = """@article{polyak1969,
  title   = {Minimization of unsmooth functionals},
  author  = {Polyak, Boris T.},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume  = {9},
  number  = {3},
  pages   = {14--29},
  year    = {1969}
}
"""


@named("Polyak's step size", POLYAK_1969)
def polyak(
    f_star: Annotated[Number, LowerBound()] = 0.0,
    scale: Annotated[Number, StepSize(1e-2, 10.0)] = 1.0,
    h_max: Annotated[Number, Range(1e-4, 1e3)] = float("inf"),
) -> Method:
    """Gradient descent with Polyak's step size; f_star is the minimum of f, or a lower bound."""
    return Method(GradientFlow(), ForwardEuler(), Polyak(f_star, scale, h_max))


STEP_DECAY = """@inproceedings{ge2019,
  title     = {The Step Decay Schedule: A Near Optimal, Geometrically Decaying Learning Rate Procedure for Least Squares},
  author    = {Ge, Rong and Kakade, Sham M. and Kidambi, Rahul and Netrapalli, Praneeth},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}
"""


@named("step decay", STEP_DECAY)
def step_decay(
    lr: Annotated[Number, LearningRate(1e-6, 10.0)] = 1e-3,
    factor: Annotated[Number, Range(0.01, 0.9)] = 0.1,
    every: Annotated[int, Range(10, 100_000)] = 1000,
) -> Method:
    """Gradient descent whose learning rate falls by a factor every so many steps, which is SGD with StepLR in torch."""
    return Method(GradientFlow(), ForwardEuler(), StepDecay(lr, factor, every))


SPS = """@inproceedings{loizou2021,
  title     = {Stochastic {P}olyak Step-size for {SGD}: An Adaptive Learning Rate for Fast Convergence},
  author    = {Loizou, Nicolas and Vaswani, Sharan and Laradji, Issam Hadj and Lacoste-Julien, Simon},
  booktitle = {Proceedings of the 24th International Conference on Artificial Intelligence and Statistics},
  pages     = {1306--1314},
  year      = {2021}
}
"""


@named(
    "stochastic Polyak step (SPS)",
    SPS,
    "SPS_max with the smoothing of the experiments; c = 0.5 as in the theory and in the authors' code by default (0.2 "
    "where they train deep networks), without the 1e-8 that the code adds to c |grad f|^2",
)
def sps(
    f_star: Annotated[Number, LowerBound()] = 0.0,
    c: Annotated[Number, Range(0.1, 2.0)] = 0.5,
    epoch_growth: Annotated[Number, Range(1.0, 10.0)] = 2.0,
    batches_per_epoch: Annotated[int, EpochLength()] = 500,
    h0: Annotated[Number, StepSize(1e-6, 100.0)] = 1.0,
    h_max: Annotated[Number, Range(1e-4, 1e3)] = float("inf"),
) -> Method:
    """SPS: gradient descent with Polyak's step on each batch, which may grow by `epoch_growth` in an epoch.

    Give the length of the data loader; 500 is what the authors' code assumes. On a function every step sees all there
    is: with batches_per_epoch = 1 the step can double every time. (On a network that is too much, and it diverges.)
    """
    check_positive("sps", c=c)
    growth = _per_batch("sps", epoch_growth, batches_per_epoch)
    return Method(GradientFlow(), ForwardEuler(), StochasticPolyak(f_star, 1 / c, h_max, growth, h0))


SLS = """@inproceedings{vaswani2019,
  title     = {Painless Stochastic Gradient: Interpolation, Line-Search, and Convergence Rates},
  author    = {Vaswani, Sharan and Mishkin, Aaron and Laradji, Issam and Schmidt, Mark and Gidel, Gauthier and Lacoste-Julien, Simon},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}
"""


@named(
    "stochastic line search (SLS)",
    SLS,
    "SGD + Armijo as in the experiments: every search starts at epoch_growth^(b/n) times the last step; after `tries` "
    "steps that will not do, the next smaller one is made (the authors' code: one of 1e-6)",
)
def sls(
    h0: Annotated[Number, StepSize(1e-6, 10.0)] = 1.0,
    c1: Annotated[Number, Range(1e-5, 0.5)] = 0.1,
    backtrack: Annotated[Number, Range(0.1, 0.95, "linear")] = 0.9,
    tries: Annotated[int, Range(2, 200)] = 100,
    epoch_growth: Annotated[Number, Range(1.0, 10.0)] = 2.0,
    batches_per_epoch: Annotated[int, EpochLength()] = 500,
    h_max: Annotated[Number, Range(1e-4, 1e3)] = 10.0,
) -> Method:
    """SLS: gradient descent with an Armijo search on each batch, from a step that may grow from one to the next.

    Give the length of the data loader; 500 is what the authors' code assumes. On a function every step sees all there
    is: with batches_per_epoch = 1 the step can double every time, at the price of about seven more evaluations.
    """
    growth = _per_batch("sls", epoch_growth, batches_per_epoch)
    return Method(GradientFlow(), BacktrackingEuler(c1, backtrack, tries), Growing(h0, growth, h_max))


BARZILAI_BORWEIN = """@article{barzilai1988,
  title   = {Two-Point Step Size Gradient Methods},
  author  = {Barzilai, Jonathan and Borwein, Jonathan M.},
  journal = {IMA Journal of Numerical Analysis},
  volume  = {8},
  number  = {1},
  pages   = {141--148},
  year    = {1988}
}
"""


@named("Barzilai, Borwein", BARZILAI_BORWEIN)
def bb(
    variant: Literal[1, 2] = 1,
    h0: Annotated[Number, StepSize(1e-6, 10.0)] = 1e-3,
    grow: Annotated[Number, Range(1.0, 100.0)] = 10.0,
) -> Method:
    """Gradient descent with the Barzilai-Borwein step size."""
    return Method(GradientFlow(), ForwardEuler(), BarzilaiBorwein(variant, h0, grow))


DORMAND_PRINCE = """@article{dormand1980,
  title   = {A family of embedded {R}unge-{K}utta formulae},
  author  = {Dormand, John R. and Prince, Peter J.},
  journal = {Journal of Computational and Applied Mathematics},
  volume  = {6},
  number  = {1},
  pages   = {19--26},
  year    = {1980}
}
"""


@named("gradient flow, Dormand-Prince 5(4)", DORMAND_PRINCE)
def flow(
    rtol: Annotated[Number, StepSize(1e-10, 1.0)] = 1e-6, atol: Annotated[Number, Range(1e-12, 0.1)] = 1e-9
) -> Method:
    """Gradient flow itself, followed closely by Dormand-Prince 5(4) under PI control."""
    return Method(GradientFlow(), DormandPrince(), PI(rtol, atol))


ROCKAFELLAR = """@article{rockafellar1976,
  title   = {Monotone Operators and the Proximal Point Algorithm},
  author  = {Rockafellar, R. Tyrrell},
  journal = {SIAM Journal on Control and Optimization},
  volume  = {14},
  number  = {5},
  pages   = {877--898},
  year    = {1976}
}
"""


@named("backward Euler (proximal point)", ROCKAFELLAR)
def implicit(dt: Annotated[Number, StepSize(1e-3, 1e4)] = 0.1) -> Method:
    """Gradient flow by backward Euler, which is the proximal point method."""
    return Method(GradientFlow(), BackwardEuler(), Fixed(dt))


BRANIN = """@article{branin1972,
  title   = {Widely Convergent Method for Finding Multiple Solutions of Simultaneous Nonlinear Equations},
  author  = {Branin, Franklin H.},
  journal = {IBM Journal of Research and Development},
  volume  = {16},
  number  = {5},
  pages   = {504--522},
  year    = {1972}
}
"""


@named("Newton's flow", BRANIN)
def newton(
    dt: Annotated[Number, StepSize(1e-2, 10.0)] = 1.0, damping: Annotated[Number, Range(1e-6, 1e3)] = 0.0
) -> Method:
    """Newton's flow by forward Euler; with dt = 1 and no damping, Newton's method."""
    return Method(NewtonFlow(damping), ForwardEuler(), Fixed(dt))


def _per_batch(name: str, epoch_growth: Number, batches_per_epoch: int) -> Number:
    """The factor by which a step may grow from batch to batch, given the one for an epoch."""
    check_range(name, "epoch_growth", epoch_growth, 1.0, infinite=True)
    check_count(name, "batches_per_epoch", batches_per_epoch, 1)
    return epoch_growth ** (1 / batches_per_epoch)
