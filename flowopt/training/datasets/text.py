"""Text: a character-level language, learnt from any text file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowopt.core.errors import BadValue, check_count, check_range
from flowopt.training.datasets.dataset import Dataset


def text(file: str | Path, *, length: int = 64, train_fraction: float = 0.9) -> Dataset:
    """The next character, at each place of chunks of `length` characters: inputs and targets ``(N, length)``.

    The first `train_fraction` of the file is for training, the rest for testing; chunks do not overlap, and what is
    left after the last is not used. The vocabulary is that of the whole file, in the order of Unicode.
    Raises BadValue for options out of range, and a file that cannot be read, is not UTF-8 or is too short.
    """
    check_count("text", "length", length, 1)
    check_range("text", "train_fraction", train_fraction, 0.05, 0.95)
    path = Path(file).expanduser()
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadValue(f"cannot read the text {str(path)!r}: {error.strerror}; give a file as text:FILE") from error
    except UnicodeDecodeError as error:
        raise BadValue(f"{path} is not a text in UTF-8: {error}") from error
    characters, tokens = np.unique(np.frombuffer(content.encode("utf-32-le"), "<u4"), return_inverse=True)
    if len(characters) < 2:
        raise BadValue(f"{path} has {len(characters)} different characters; at least 2 are needed")
    cut = int(train_fraction * len(tokens))
    train_inputs, train_targets = _chunks(f"{path}, training", torch.from_numpy(tokens[:cut]), length)
    test_inputs, test_targets = _chunks(f"{path}, test", torch.from_numpy(tokens[cut:]), length)
    return Dataset(
        name=f"text:{path.name}",
        task="language",
        train_inputs=train_inputs,
        train_targets=train_targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
        outputs=len(characters),
        vocabulary="".join(map(chr, characters)),
    )


def _chunks(owner: str, tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    count = (len(tokens) - 1) // length
    if count < 1:
        raise BadValue(f"{owner}: {len(tokens)} characters are too few for chunks of {length} and the next character")
    used = count * length
    return tokens[:used].view(count, length), tokens[1 : used + 1].view(count, length)
