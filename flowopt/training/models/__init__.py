"""The papers' small networks, by name: see `flowopt.training.models.build`."""

from flowopt.training.models._builders import MODELS, Family, build

__all__ = ["MODELS", "Family", "build"]
