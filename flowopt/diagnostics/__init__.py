"""Diagnostics of training: which part of an adaptive optimizer's step adapts, and what its eps should be.

Source: Silva, Rodriguez, Optimal hyperparameter epsilon for adaptive stochastic optimizers through gradient histograms.
"""

from flowopt.diagnostics._bounds import AdaptiveShare, EpsilonBounds, Share, adaptive_share, epsilon_bounds
from flowopt.diagnostics._gradient_histograms import GradientHistograms
from flowopt.diagnostics._histogram import Histogram
from flowopt.diagnostics._histogram_record import HistogramRecord, Snapshot
from flowopt.diagnostics._suggest import suggest_epsilon
from flowopt.diagnostics._verdicts import verdict
from flowopt.diagnostics.z_hat import rules, z_hats

__all__ = [
    "AdaptiveShare",
    "EpsilonBounds",
    "GradientHistograms",
    "Histogram",
    "HistogramRecord",
    "Share",
    "Snapshot",
    "adaptive_share",
    "epsilon_bounds",
    "rules",
    "suggest_epsilon",
    "verdict",
    "z_hats",
]
