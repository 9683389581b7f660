"""Networks: the same methods as optimizers of PyTorch models, alone or many at once, and the papers' training parts."""

from flowopt.networks.batch_size import BatchSizeController
from flowopt.networks.trainable_lr import TrainableLR
from flowopt.training.heatmap import heat_map
from flowopt.training.loop import fit

__all__ = ["BatchSizeController", "TrainableLR", "fit", "heat_map"]
