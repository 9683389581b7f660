"""Transforms of an accepted state, one a file; the registry finds them."""
