"""What the data ask of a model, and the errors for a model that does not fit them."""

from __future__ import annotations

from dataclasses import dataclass

from flowopt.core.errors import BadValue


@dataclass(frozen=True)
class DataShape:
    """The shape of one sample (without the batch), what is to come out, and the model that is asked for it."""

    model: str
    """Its name, for the errors."""
    sample: tuple[int, ...]
    """(F,) features, (C, H, W) an image, (T, F) a series, (T,) tokens where the task is "language"."""
    outputs: int
    """Classes, numbers to predict, or for "language" the size V of the vocabulary."""
    task: str

    def image(self) -> tuple[int, int, int]:
        """(channels, height, width); BadValue if the samples are not images."""
        if len(self.sample) != 3:
            raise self.refusal("images (channels, height, width)")
        channels, height, width = self.sample
        return channels, height, width

    def series_features(self) -> int:
        """F of a series (T, F); BadValue if the samples are not series."""
        if len(self.sample) != 2:
            raise self.refusal("series (time steps, features); one number a step is (time steps, 1)")
        return self.sample[1]

    def context(self) -> int:
        """T of a text (T,); BadValue if the samples are not texts."""
        if len(self.sample) != 1:
            raise self.refusal("texts (tokens,)")
        return self.sample[0]

    def refusal(self, wanted: str) -> BadValue:
        """The error that says what the model takes and what it was given."""
        return BadValue(f"{self.model} takes {wanted}, not samples of shape {self.sample}")
