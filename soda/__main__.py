"""`python -m soda` is `soda`."""

from soda.cli import main

main()
