"""The named methods, each with its citation and the reading of its paper that it follows."""
