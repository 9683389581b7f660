"""Activation limiting (ECCO-DNN, section 3.2.2)."""

from flowopt.networks.limiting._limiting import ActivationLimiting

__all__ = ["ActivationLimiting"]
