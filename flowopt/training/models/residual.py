"""Residual networks for small images: the stem is a 3 x 3 convolution, without the pooling of the ImageNet forms."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from flowopt.core.errors import BadValue, check_range
from flowopt.training.models.data_shape import DataShape

Block = Callable[[int, int, int], nn.Module]
"""(channels in, channels out, stride) -> block."""


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


def _normalised_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, activated after the sum (He et al. 2015, figure 2)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(inputs, width, 3, stride),
            *_normalised_relu(width),
            _convolution(width, width, 3),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(_convolution(inputs, width, 1, stride), nn.BatchNorm2d(width))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        summed: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return summed


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that sees the means of all channels (Hu et al. 2018, section 3)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // reduction, 1),
            nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        gated: Tensor = x * self.gate(x)
        return gated


class PreactivationBlock(nn.Module):
    """Two convolutions, each after its activation, beside a shortcut (He et al. 2016, figure 1b).

    A shortcut that changes the shape starts from the activated input, as in both networks below.
    """

    def __init__(self, inputs: int, width: int, stride: int, *, dropout: float = 0.0, excited: bool = False) -> None:
        super().__init__()
        self.activated = nn.Sequential(*_normalised_relu(inputs))
        self.branch = nn.Sequential(
            _convolution(inputs, width, 3, stride),
            *_normalised_relu(width),
            nn.Dropout(dropout),
            _convolution(width, width, 3),
            SqueezeExcitation(width) if excited else nn.Identity(),
        )
        changes_shape = stride != 1 or inputs != width
        self.shortcut = _convolution(inputs, width, 1, stride) if changes_shape else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        activated = self.activated(x)
        summed: Tensor = self.branch(activated) + (x if self.shortcut is None else self.shortcut(activated))
        return summed


def _stages(block: Block, inputs: int, widths: Sequence[int], counts: Sequence[int]) -> nn.Sequential:
    """`counts` blocks of each width; every stage but the first begins by halving the image."""
    blocks: list[nn.Module] = []
    for stage, (width, count) in enumerate(zip(widths, counts, strict=True)):
        for index in range(count):
            blocks.append(block(inputs, width, 2 if stage and not index else 1))
            inputs = width
    return nn.Sequential(*blocks)


def _network(stem: Sequence[nn.Module], stages: nn.Sequential, top: Sequence[nn.Module], head: nn.Linear) -> nn.Module:
    pooled = nn.Sequential(*top, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(stem=nn.Sequential(*stem), stages=stages, top=pooled, head=head))


def _residual(data: DataShape, block: Block, counts: Sequence[int]) -> nn.Module:
    """The four stages of He et al. (2015, table 1)."""
    channels, _, _ = data.image()
    stem = (_convolution(channels, 64, 3), *_normalised_relu(64))
    return _network(stem, _stages(block, 64, (64, 128, 256, 512), counts), (), nn.Linear(512, data.outputs))


def resnet18(data: DataShape) -> nn.Module:
    """ResNet-18 for small images (any size), with torch's own initialisation."""
    return _residual(data, BasicBlock, (2, 2, 2, 2))


def resnet34(data: DataShape) -> nn.Module:
    """ResNet-34 for small images (any size), with torch's own initialisation."""
    return _residual(data, BasicBlock, (3, 4, 6, 3))


def senet18(data: DataShape) -> nn.Module:
    """SENet-18 for small images (any size): ResNet-18 with preactivation and gated channels.

    As in kuangliu/pytorch-cifar, where the name comes from; Hu et al. (2018) have no network of this size, and ECCO-DNN
    gives no more than the name.
    """

    def block(inputs: int, width: int, stride: int) -> nn.Module:
        return PreactivationBlock(inputs, width, stride, excited=True)

    return _residual(data, block, (2, 2, 2, 2))


def wrn(data: DataShape, depth: int = 28, widening: int = 10, *, dropout: float = 0.0) -> nn.Module:
    """Wide residual network WRN-depth-widening for small images (any size); depth = 6 n + 4.

    Dropout stands between the two convolutions of a block (Zagoruyko and Komodakis 2016, section 2.4); the weights of
    the convolutions start as in their code (He et al. 2015, by outgoing connections).
    """
    if depth < 10 or (depth - 4) % 6:
        raise BadValue(f"{data.model}: the depth {depth} is not 6 n + 4, such as 16, 22, 28 or 40")
    check_range(data.model, "dropout", dropout, 0.0, 1.0)

    def block(inputs: int, width: int, stride: int) -> nn.Module:
        return PreactivationBlock(inputs, width, stride, dropout=dropout)

    channels, _, _ = data.image()
    widths = [16 * widening, 32 * widening, 64 * widening]
    stages = _stages(block, 16, widths, ((depth - 4) // 6,) * 3)
    head = nn.Linear(widths[-1], data.outputs)
    network = _network((_convolution(channels, 16, 3),), stages, _normalised_relu(widths[-1]), head)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
