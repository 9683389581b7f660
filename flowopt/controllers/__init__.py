"""Step-size rules, one a file."""

from flowopt.controllers.armijo import Armijo as Armijo
from flowopt.controllers.barzilai_borwein import BarzilaiBorwein as BarzilaiBorwein
from flowopt.controllers.fixed import Fixed as Fixed
from flowopt.controllers.growing import Growing as Growing
from flowopt.controllers.hypergradient import Hypergradient as Hypergradient
from flowopt.controllers.lte import LTE as LTE
from flowopt.controllers.newton_step import NewtonStep as NewtonStep
from flowopt.controllers.orthogonal import OrthogonalGradient as OrthogonalGradient
from flowopt.controllers.pi import PI as PI
from flowopt.controllers.polyak import Polyak as Polyak
from flowopt.controllers.stability_limited_lte import StabilityLimitedLTE as StabilityLimitedLTE
from flowopt.controllers.step_decay import StepDecay as StepDecay
from flowopt.controllers.stochastic_polyak import StochasticPolyak as StochasticPolyak
