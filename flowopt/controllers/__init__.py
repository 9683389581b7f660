"""Step-size rules, one a file; the registry finds them."""
