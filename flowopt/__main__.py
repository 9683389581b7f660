"""``python -m flowopt``: the command line."""

from flowopt.cli import main

main()
