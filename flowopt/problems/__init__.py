"""Test functions with known minimisers, wrappers for them, and users' own objectives."""

from flowopt.problems.library import library, problem, problems
from flowopt.problems.problem import Problem
from flowopt.problems.wrappers import noisy, rotated, scaled, shifted

__all__ = ["Problem", "library", "noisy", "problem", "problems", "rotated", "scaled", "shifted"]
