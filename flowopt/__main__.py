"""``python -m flowopt``: the command line."""

from flowopt.cli.main import main

main()
