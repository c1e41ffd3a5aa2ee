"""python -m millpond: the command millpond."""

from ._command import main

main()
