"""Networks: the same methods as optimizers of PyTorch models, alone or many at once, and the papers' training parts."""

from flowopt.networks._batch_size import BatchSizeController
from flowopt.networks._trainable_lr import TrainableLR
from flowopt.training._fit import fit
from flowopt.training._heat_map import heat_map

__all__ = ["BatchSizeController", "TrainableLR", "fit", "heat_map"]
