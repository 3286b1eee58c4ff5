"""How long it takes to begin: importing soda, its help, compiling a pipeline, linting one.

python -m bench.startup [--runs 10]
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from bench.measure import run, table

__all__: list[str] = []


RECIPE = str(Path(__file__).parents[1] / "pipelines" / "distill" / "recipes" / "quickstart.yaml")


def main() -> None:
    """Print a row for each command: what it took at best and in the median, warmed up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        spec = str(Path(folder) / "distill.yaml")
        commands = {
            "python, nothing": ["-c", "pass"],
            "import soda": ["-c", "import soda"],
            "soda --help": ["-m", "soda", "--help"],
            "import kfp": ["-c", "import kfp"],
            "soda compile": ["-m", "soda", "compile", "--recipe", RECIPE, "--out", spec],
            "soda lint": ["-m", "soda", "lint", spec],
        }
        # in turns, so that a slow minute of the machine is nobody's
        taken = [
            {what: run([sys.executable, *words]).seconds for what, words in commands.items()}
            for _ in range(runs + 1)
        ][1:]
    rows = [
        [what, *(f"{of(each[what] for each in taken):.2f}" for of in (min, statistics.median))]
        for what in commands
    ]
    table(["what", "best, s", "median, s"], rows)


if __name__ == "__main__":
    main()
