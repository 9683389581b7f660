"""Dynamical systems, one a file."""

from flowopt.systems.adabelief import AdaBelief as AdaBelief
from flowopt.systems.adagrad import AdaGrad as AdaGrad
from flowopt.systems.adam import Adam as Adam
from flowopt.systems.adamod import AdaMod as AdaMod
from flowopt.systems.adamomentum import AdaMomentum as AdaMomentum
from flowopt.systems.amsgrad import AMSGrad as AMSGrad
from flowopt.systems.born_infeld import BornInfeld as BornInfeld
from flowopt.systems.diffgrad import DiffGrad as DiffGrad
from flowopt.systems.eadam import EAdam as EAdam
from flowopt.systems.gradient_flow import GradientFlow as GradientFlow
from flowopt.systems.hamiltonian import SeparableHamiltonian as SeparableHamiltonian
from flowopt.systems.heavy_ball import HeavyBall as HeavyBall
from flowopt.systems.madgrad import MADGRAD as MADGRAD
from flowopt.systems.momentum import Momentum as Momentum
from flowopt.systems.nesterov_flow import NesterovFlow as NesterovFlow
from flowopt.systems.newton_flow import NewtonFlow as NewtonFlow
from flowopt.systems.rmsprop import RMSprop as RMSprop
from flowopt.systems.scaled_gradient_flow import ScaledGradientFlow as ScaledGradientFlow
