"""The same methods on networks: FlowOptimizer, ensembles of networks, and the papers' training parts."""

from flowopt.networks._batch_size import BatchSizeController
from flowopt.networks._optimizer import FlowOptimizer
from flowopt.networks._trainable_lr import TrainableLR
from flowopt.networks.ensemble import Ensemble
from flowopt.networks.limiting import ActivationLimiting

__all__ = ["ActivationLimiting", "BatchSizeController", "Ensemble", "FlowOptimizer", "TrainableLR"]
