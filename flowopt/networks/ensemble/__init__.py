"""Many networks of one kind, trained as the rows of one kernel."""

from flowopt.networks.ensemble._ensemble import Ensemble

__all__ = ["Ensemble"]
