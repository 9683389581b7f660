"""Integration schemes, one a file; the registry finds them."""
