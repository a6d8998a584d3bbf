"""`python -m metalbgp.cli`: the same as `metalbgp`."""

from metalbgp.cli.main import main

main()
