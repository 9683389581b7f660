"""The papers' small networks, by name: see `flowopt.training.models.build`."""

from flowopt.training.models.registry import MODELS, Family, build

__all__ = ["MODELS", "Family", "build"]
