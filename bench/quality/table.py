"""The journal of `bench.quality.grid` as Markdown tables.

    python -m bench.quality.table JOURNAL

Each figure is a mean over seeds and held-out prompts; each difference is to SeqKD with as many
passes as SODA (one epoch more than the warm-up), on the same seeds and prompts, with a 95 %
interval over both (soda.statistics).
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import table
from bench.quality.cells import REJECTS, Cell, Job
from bench.quality.grid import read_journal
from soda.statistics.bootstrap import resample

__all__ = ["main"]

Seeds = dict[int, dict[str, Any]]  # figures by seed
Cells = dict[Cell, Seeds]  # by the cell, its seed set to 0
_METRICS = {"right": (100, "{:.1f}", "{:+.1f}"), "logp": (1, "{:.3f}", "{:+.3f}")}
_METRICS |= {"rouge_l": (1, "{:.3f}", "{:+.3f}")}
_HEAD = ["student", "right, %", "beside x4", "log-likelihood", "beside x4", "ROUGE-L", "beside x4"]
_HEAD += ["tokens", "seeds"]


def _by_seed(path: Path, setting: str) -> Cells:
    found: Cells = {}
    for cell, figures in read_journal(path):
        if figures["setting"] == setting:
            job = cell.job._replace(seed=0)
            alike = Cell(job, cell.method, cell.epochs, cell.rejects, cell.rate, cell.beta)
            found.setdefault(alike, {})[cell.job.seed] = figures
    return found


def _label(cell: Cell) -> str:
    if cell.method == "base":
        return "base"
    if cell.method == "sft":
        return f"SeqKD x{cell.epochs}"
    own = "" if cell.rejects == "student" else f", rejects: {cell.rejects}"
    return f"SODA {cell.rate:.0e}, beta {cell.beta:g}{own}".replace("e-0", "e-")


def _columns(own: Seeds, other: Seeds) -> list[str]:
    """Return a student's figures, each followed by its difference from another's."""
    found = []
    for name, (scale, plain, signed) in _METRICS.items():
        found.append(plain.format(scale * np.mean([one[name] for one in own.values()])))
        seeds = sorted(own.keys() & other.keys())
        if own is other or not seeds:
            found.append("")
            continue
        rows = [np.subtract(own[seed][name], other[seed][name]) for seed in seeds]
        change = resample(scale * np.array(rows, dtype=float))
        ends = " to ".join(signed.format(end) for end in (change.low, change.high))
        found.append(f"{signed.format(change.mean)} ({ends})")
    tokens = np.mean([one["tokens"] for one in own.values()])
    return [*found, f"{tokens:.1f}", str(len(own))]


def _section(
    title: str,
    axis: str,
    cells: Cells,
    belongs: Callable[[Cell], bool],
    value: Callable[[Job], str],
) -> None:
    """Print a table of the cells that belong to it, under the value of its axis."""
    chosen = sorted((cell for cell in cells if belongs(cell)), key=_order)
    if not chosen:
        return
    print(f"\n### {title}\n")
    rows = []
    for cell in chosen:
        rows.append([value(cell.job), _label(cell), *_columns(cells[cell], _equal(cell, cells))])
    table([axis, *_HEAD], rows)


def _order(cell: Cell) -> tuple[Any, ...]:
    source = REJECTS.index(cell.rejects) if cell.rejects else -1
    return (*cell.job[1:], cell.method == "dpo", source, cell.beta, cell.rate, cell.epochs)


def _equal(cell: Cell, cells: Cells) -> Seeds:
    """Return SeqKD of the same job with the most epochs: the same number of passes as SODA."""
    epochs = [other.epochs for other in cells if other.job == cell.job and other.method == "sft"]
    return cells.get(Cell(cell.job, "sft", max(epochs, default=0)), {})


def _print(cells: Cells) -> None:
    """Print every section that has cells."""
    trained = [cell for cell in cells if cell.method != "base"]
    # The job that all axes leave from is the one with the most cells.
    centre = max((cell.job for cell in trained), key=[cell.job for cell in trained].count)
    many = {(c.rate, c.beta) for c in trained if c.method == "dpo" and c.job != centre}

    def plain(cell: Cell) -> bool:
        """Tell whether a cell is one of those that every job has."""
        usual = cell.rejects == "student" and (cell.rate, cell.beta) in many
        return cell.method == "sft" or usual

    def walked(axis: str) -> Callable[[Cell], bool]:
        fixed = [name for name in ("right_share", "pairs", "warm_rate") if name != axis]
        return lambda cell: (
            plain(cell) and all(getattr(cell.job, name) == getattr(centre, name) for name in fixed)
        )

    for cell in cells:
        if cell.method == "base":
            right, _, logp, _, rouge, _, tokens, _ = _columns(cells[cell], {})
            print(
                f"Base student: {right} % right, log-likelihood {logp}, ROUGE-L {rouge}, ", end=""
            )
            print(f"{tokens} tokens an answer.")
    share = "right_share"
    _section("Gap", "teacher right", cells, walked(share), lambda job: f"{job.right_share:.0%}")
    _section("Pairs", "pairs", cells, walked("pairs"), lambda job: f"{job.pairs}")
    rate = "warm_rate"
    _section("Rate of the warm-up", "rate", cells, walked(rate), lambda job: f"{job.warm_rate:.0e}")

    def here(cell: Cell) -> bool:
        return cell.job == centre

    def ours(cell: Cell) -> bool:
        return here(cell) and cell.rejects in ("", "student")

    moved = {(c.rate, c.beta) for c in trained if c.rejects not in ("", "student")}

    def rejects(cell: Cell) -> bool:
        return here(cell) and (cell.method == "sft" or (cell.rate, cell.beta) in moved)

    _section("Rate and beta of DPO", "pairs", cells, ours, lambda job: f"{job.pairs}")
    if moved:
        _section("Whose answers are rejected", "pairs", cells, rejects, lambda job: f"{job.pairs}")


def _settings(path: Path) -> Iterable[str]:
    return dict.fromkeys(figures["setting"] for _, figures in read_journal(path))


def main() -> None:
    """Print the tables of every setting in the journal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journal", type=Path)
    path = parser.parse_args().journal
    for setting in _settings(path):
        print(f"\n## {setting}\n")
        _print(_by_seed(path, setting))


if __name__ == "__main__":
    main()
