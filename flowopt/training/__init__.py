"""Networks: the same methods as optimizers of PyTorch models, alone or many at once, and the papers' training parts."""

from flowopt.training.batch_size import BatchSizeController
from flowopt.training.heatmap import heat_map
from flowopt.training.loop import fit
from flowopt.training.trainable_lr import TrainableLR

__all__ = ["BatchSizeController", "TrainableLR", "fit", "heat_map"]
