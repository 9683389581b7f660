"""Commands that are too long to stand in `flowopt.cli.main`."""
