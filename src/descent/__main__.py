"""`python -m descent train ...`."""

from descent.console import main

main()
