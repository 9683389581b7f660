"""Plain convolutional networks: convolutions and pooling, then fully connected layers."""

from __future__ import annotations

from torch import nn

from flowopt.core.errors import check_choice, check_range
from flowopt.training.models.data_shape import DataShape
from flowopt.training.models.mlp import activation_named, dense

POOLS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def _features(
    data: DataShape,
    channels: tuple[int, ...],
    paddings: tuple[int, ...],
    *,
    kernel: int,
    activation: str,
    pool: str,
    normalise: bool = False,
) -> tuple[list[nn.Module], int]:
    """Convolution, activation and 2 x 2 pooling for each entry of `channels`, flattened; and how many features come."""
    nonlinearity = activation_named(data.model, activation)
    check_choice(data.model, "pool", pool, POOLS)
    inputs, height, width = data.image()
    layers: list[nn.Module] = []
    for outputs, padding in zip(channels, paddings, strict=True):
        layers.append(nn.Conv2d(inputs, outputs, kernel, padding=padding))
        if normalise:
            layers.append(nn.BatchNorm2d(outputs))
        layers += [nonlinearity(), POOLS[pool](2)]
        height, width = ((side + 2 * padding - kernel + 1) // 2 for side in (height, width))
        inputs = outputs
    if min(height, width) < 1:
        raise data.refusal(f"larger images: {len(channels)} convolutions and poolings leave nothing of these")
    return [*layers, nn.Flatten()], inputs * height * width


def lenet5(data: DataShape, *, activation: str = "tanh", pool: str = "average") -> nn.Module:
    """LeNet-5 for grey or colour images of 28 x 28 (padded by 2) or 32 x 32.

    The form in general use today: C3 is connected to all of S2, pooling has no weights, and the output is linear
    (LeCun et al. 1998: a sparse C3, trained pooling, radial basis functions). With activation="relu" and pool="max" it
    is the LeNet of kuangliu/pytorch-cifar. ECCO-DNN does not say which one it trains.
    """
    channels, height, width = data.image()
    if channels not in (1, 3) or (height, width) not in ((28, 28), (32, 32)):
        raise data.refusal("images (1 or 3, 28, 28) or (1 or 3, 32, 32)")
    paddings = (2 if height == 28 else 0, 0)
    features, size = _features(data, (6, 16), paddings, kernel=5, activation=activation, pool=pool)
    return nn.Sequential(*features, *dense((size, 120, 84, data.outputs), activation_named(data.model, activation)))


def fashion_cnn(data: DataShape, *, dropout: float = 0.25) -> nn.Module:
    """FashionCNN: two convolutions with batch normalisation, then three linear layers.

    The network of that name in many public repositories, with no activation between its linear layers; ELRA gives the
    name and "3-layer convolutional", nothing more.
    """
    check_range(data.model, "dropout", dropout, 0.0, 1.0)
    features, size = _features(data, (32, 64), (1, 0), kernel=3, activation="relu", pool="max", normalise=True)
    head = (nn.Linear(size, 600), nn.Dropout(dropout), nn.Linear(600, 120), nn.Linear(120, data.outputs))
    return nn.Sequential(*features, *head)


def cnn(data: DataShape, *channels: int, activation: str = "relu", pool: str = "max") -> nn.Module:
    """Convolutions 3 x 3 with these channels, each followed by 2 x 2 pooling, then one linear layer."""
    features, size = _features(data, channels, (1,) * len(channels), kernel=3, activation=activation, pool=pool)
    return nn.Sequential(*features, nn.Linear(size, data.outputs))
