"""`python -m likewise.cli`, for launchers such as torchrun."""

from likewise.cli.app import main

main()
