"""`python -m soda_lint`, where the folder is installed by itself."""

from .command import main

main()
