"""Runs on functions: minimize and what it leaves behind, reference solutions, comparisons, baselines."""
