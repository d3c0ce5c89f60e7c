"""`python -m pipeline` is `force`."""

from pipeline.cli import main

main()
