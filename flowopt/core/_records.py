"""Records in .npz files: arrays, and beside them, as JSON, what kind of record it is, its version and what it is about.

NumPy reads the arrays without flowopt; no reading runs code (pickle).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowopt.core._files import replacing
from flowopt.core.errors import BadValue

Array = NDArray[Any]

SUFFIX = ".npz"
TEXT = "text"
"""Name of the array that holds the JSON."""
OLD_TEXT = "about"
"""What it was called in the first files of histograms."""


@dataclass(frozen=True)
class Kind:
    """A kind of record, and the version of it that this flowopt writes.

    A version is raised when files change so that an older flowopt would misread them.
    """

    name: str
    """As people read it: "trajectory"."""
    version: int

    def save(self, path: str | Path, about: Mapping[str, Any], arrays: Mapping[str, Any]) -> Path:
        """Write a record, whole or not at all, and return where it is: with ``.npz`` where the name has no such end.

        `about` is what JSON can hold. Raises BadValue where no file can be.
        """
        target = Path(path)
        if target.suffix != SUFFIX:
            target = target.with_name(target.name + SUFFIX)
        text = json.dumps({"kind": self.name, "format": self.version} | dict(about))
        contents: dict[str, Any] = {TEXT: np.array(text)} | dict(arrays)
        with replacing(target) as file:
            np.savez_compressed(file, **contents)
        return target

    @contextmanager
    def loaded(self, path: str | Path) -> Iterator[tuple[dict[str, Any], dict[str, Array]]]:
        """What `save` wrote: `about` and the arrays, for a block that makes the record of them.

        Raises BadValue for a file that is a record of another kind or of a newer flowopt, no record or a damaged one,
        whether reading it fails or the block does; FileNotFoundError where there is none.
        """
        try:
            # opened here, because np.load leaves a broken archive open
            with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(str(arrays.pop(TEXT if TEXT in arrays else OLD_TEXT)))
            kind, version = about.pop("kind", self.name), about.pop("format", 1)  # early files do not say
            if kind != self.name:
                raise BadValue(f"{path} is a {kind}, not a {self.name}")
            if version > self.version:
                raise BadValue(
                    f"{path} is a {kind} of format {version}, written by a newer flowopt; this one reads formats up "
                    f"to {self.version}"
                )
            yield about, arrays
        except (FileNotFoundError, BadValue):
            raise
        except Exception as error:  # a damaged file fails in as many ways as there are in zip, JSON and NumPy
            raise BadValue(f"{path} is not a {self.name} that flowopt saved, or it is damaged: {error}") from error
