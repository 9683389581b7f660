"""Digits: the 1797 images of handwritten digits, 8 by 8, that scikit-learn carries."""

from __future__ import annotations

from typing import Annotated

import torch

from flowopt.core.errors import BadValue, check_choice, check_range
from flowopt.core.roles import Seed
from flowopt.training.datasets.dataset import Dataset
from flowopt.training.datasets.preprocessing import PREPROCESSING, Preprocessing, affine, column_scaling

BRIGHTEST = 16.0
"""The highest value of a pixel."""


def digits(
    *,
    preprocessing: Preprocessing = "standardised",
    seed: Annotated[int, Seed()] = 0,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """10 classes, images ``(N, 1, 8, 8)``, split 80 to 20 % with the same share of every class (stratified) by `seed`.

    `preprocessing`: "standardised", each pixel by its mean and standard deviation over the training images; "scaled",
    divided by 16. Source: Alpaydin, Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", its test set.
    Raises BadValue for other values, and without scikit-learn.
    """
    check_choice("digits", "preprocessing", preprocessing, PREPROCESSING)
    check_range("digits", "seed", seed, 0, 2**32 - 1)
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise BadValue("digits come with scikit-learn: pip install scikit-learn") from error
    pixels, labels = load_digits(return_X_y=True)
    parts = train_test_split(pixels, labels, test_size=0.2, random_state=seed, stratify=labels)
    train, test, train_labels, test_labels = map(torch.from_numpy, parts)
    shift, scale = torch.zeros(1), torch.full((1,), BRIGHTEST)
    if preprocessing == "standardised":
        shift, scale = column_scaling(train, preprocessing)
    return Dataset(
        name="digits",
        task="classification",
        train_inputs=affine(train, shift, scale, dtype).view(-1, 1, 8, 8),
        train_targets=train_labels.long(),
        test_inputs=affine(test, shift, scale, dtype).view(-1, 1, 8, 8),
        test_targets=test_labels.long(),
        outputs=10,
    )
