"""What is done beside the motion, one a file: to a trial, or to an accepted state."""

from flowopt.transforms.bounces import Bounces as Bounces
from flowopt.transforms.decoupled_decay import DecoupledDecay as DecoupledDecay
from flowopt.transforms.energy_projection import EnergyProjection as EnergyProjection
from flowopt.transforms.iterate_averaging import IterateAveraging as IterateAveraging
from flowopt.transforms.momentum_rotation import MomentumRotation as MomentumRotation
from flowopt.transforms.shrink import Shrink as Shrink
