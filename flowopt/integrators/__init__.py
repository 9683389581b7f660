"""Integration schemes, one family a file."""

from flowopt.integrators.backtracking_euler import BacktrackingEuler as BacktrackingEuler
from flowopt.integrators.euler import ForwardEuler as ForwardEuler
from flowopt.integrators.implicit import BackwardEuler as BackwardEuler
from flowopt.integrators.lookahead import Lookahead as Lookahead
from flowopt.integrators.runge_kutta import RK4 as RK4
from flowopt.integrators.runge_kutta import DormandPrince as DormandPrince
from flowopt.integrators.runge_kutta import Heun as Heun
from flowopt.integrators.symplectic import StoermerVerlet as StoermerVerlet
from flowopt.integrators.symplectic import SymplecticEuler as SymplecticEuler
