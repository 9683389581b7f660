"""Dynamical systems, one a file; the registry finds them."""
