"""Test functions with known minimisers, wrappers for them, and users' own objectives."""

from flowopt.problems.library import library, problem, problems
from flowopt.problems.problem import Problem

__all__ = ["Problem", "library", "problem", "problems"]
