"""Shift and scale of inputs, always those of the training samples."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from flowopt.training.datasets.dataset import Dataset

Preprocessing = Literal["standardised", "scaled"]
PREPROCESSING: tuple[Preprocessing, ...] = ("standardised", "scaled")
LEVELS = 256
"""Of a byte."""


def affine(values: Tensor, shift: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """``(values - shift) / scale``, calculated at least in float32 and in the precision of either end."""
    wide = torch.promote_types(values.dtype, torch.promote_types(dtype, torch.float32))
    return values.to(wide, copy=True).sub_(shift.to(wide)).div_(scale.to(wide)).to(dtype)


def column_scaling(rows: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Shift and scale ``(D,)`` of the columns of ``(N, D)``: mean and standard deviation, or minimum and range.

    A constant column has the scale 1.
    """
    low, high = rows.amin(0), rows.amax(0)
    if preprocessing == "scaled":
        shift, scale = low, high - low
    else:
        shift, scale = rows.mean(0), rows.std(0, correction=0)
    # not scale > 0: rounding in the mean gives a constant column a tiny deviation
    return shift, torch.where(high > low, scale, 1.0)


class Images(NamedTuple):
    """Images ``(N, C, H, W)`` uint8 and their labels ``(N,)`` int64."""

    pixels: Tensor
    labels: Tensor


def image_dataset(
    name: str, train: Images, test: Images, classes: int, preprocessing: Preprocessing, dtype: torch.dtype
) -> Dataset:
    """A classification of images, "standardised" by channel or "scaled" from 0 to 1."""
    shift, scale = _image_scaling(train.pixels, preprocessing)
    return Dataset(
        name=name,
        task="classification",
        train_inputs=affine(train.pixels, shift, scale, dtype),
        train_targets=train.labels,
        test_inputs=affine(test.pixels, shift, scale, dtype),
        test_targets=test.labels,
        outputs=classes,
    )


def _image_scaling(images: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Shift and scale ``(C, 1, 1)`` of the channels of uint8 images ``(N, C, H, W)``: mean and deviation, or 0 and 255.

    From the counts of each level, hence exact, however many the pixels. A constant channel has the scale 1.
    """
    channels = images.shape[1]
    if preprocessing == "scaled":
        return torch.zeros(channels, 1, 1), torch.full((channels, 1, 1), LEVELS - 1.0)
    levels = torch.arange(LEVELS, dtype=torch.float64)
    counts = torch.stack([images[:, c].flatten().bincount(minlength=LEVELS) for c in range(channels)]).double()
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ levels
    deviation = (share * (levels - mean.unsqueeze(1)) ** 2).sum(1).sqrt()
    constant = (counts > 0).sum(1) == 1
    return mean.view(-1, 1, 1), torch.where(constant, 1.0, deviation).view(-1, 1, 1)
