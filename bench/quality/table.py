"""The journal of `bench.quality.grid` as Markdown tables, to be pasted into RESULTS.md.

    python -m bench.quality.table JOURNAL

Each figure is a mean over seeds and held-out prompts; each difference is to SeqKD with as many
passes as SODA (one epoch more than the warm-up), on the same seeds and prompts, with a 95 %
interval over both (soda.statistics).
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import table
from bench.quality.cells import PRESETS, REJECTS, Cell, Job
from bench.quality.journal import read_journal
from soda.statistics.bootstrap import resample

__all__ = ["main"]

Seeds = dict[int, dict[str, Any]]  # figures by seed
Cells = dict[Cell, Seeds]  # by the cell, its seed set to 0
# Of an axis its title, how its values are written, and what they are at the centre.
_AXES: dict[str, tuple[str, str, str]] = {
    "good_share": ("The teacher", "{:.0%}", "{:.0%} of the teacher's answers good"),
    "pairs": ("The number of pairs", "{}", "{} pairs"),
    "warm_rate": ("The warm-up's rate", "{:.0e}", "warm-up at {:.0e}"),
    "warm_epochs": ("The warm-up's epochs", "{}", "epochs: {}"),
}
_METRICS = {"right": (100, "{:.1f}", "{:+.1f}"), "logp": (1, "{:.3f}", "{:+.3f}")}
_METRICS |= {"rouge_l": (1, "{:.3f}", "{:+.3f}")}


def _by_seed(path: Path, setting: str) -> Cells:
    found: Cells = {}
    for cell, figures in read_journal(path):
        if figures["setting"] == setting:
            job = cell.job._replace(seed=0)
            alike = Cell(job, cell.method, cell.epochs, cell.rejects, cell.rate, cell.beta)
            found.setdefault(alike, {})[cell.job.seed] = figures
    return found


def _scores(figures: dict[str, Any], metric: str) -> Any:
    """Return a figure of every held-out prompt for which there is one."""
    found = np.array(figures[metric], dtype=float)
    return found[~np.isnan(found)]


def _columns(own: Seeds, other: Seeds) -> list[str]:
    """Return a student's figures, each followed by its difference from another's."""
    found = []
    seeds = sorted(own.keys() & other.keys()) if own is not other else []
    for name, (scale, plain, signed) in _METRICS.items():
        scores = {seed: scale * _scores(one, name) for seed, one in own.items()}
        if not len(next(iter(scores.values()))):
            found += ["", ""]
            continue
        found.append(plain.format(np.mean([*scores.values()])))
        if not seeds:
            found.append("")
            continue
        rows = [scores[seed] - scale * _scores(other[seed], name) for seed in seeds]
        change = resample(np.array(rows))
        ends = " to ".join(signed.format(end) for end in (change.low, change.high))
        found.append(f"{signed.format(change.mean)} ({ends})")
    tokens = np.mean([one["tokens"] for one in own.values()])
    return [*found, f"{tokens:.1f}", str(len(own))]


def _equal(cell: Cell, cells: Cells) -> Seeds:
    """Return SeqKD of the same job with as many passes as SODA."""
    return cells.get(Cell(cell.job, "sft", cell.job.warm_epochs + 1), {})


def _order(cell: Cell) -> tuple[Any, ...]:
    source = REJECTS.index(cell.rejects) if cell.rejects else -1
    return (*cell.job[1:], cell.method == "dpo", source, cell.beta, cell.rate, cell.epochs)


def _section(title: str, axis: str, cells: Cells, belongs: Callable[[Cell], bool]) -> None:
    """Print a table of the cells that belong to it, under the value of its axis."""
    chosen = sorted(filter(belongs, cells), key=_order)
    if not chosen:
        return
    epochs = {cell.job.warm_epochs + 1 for cell in chosen}
    beside = f"beside x{epochs.pop()}" if len(epochs) == 1 else "beside equal passes"
    head = [axis.replace("_", " "), "student", "right, %", beside]
    head += ["log-likelihood", beside, "ROUGE-L", beside, "tokens", "seeds"]
    rows = []
    for cell in chosen:
        value = _AXES[axis][1].format(getattr(cell.job, axis)).replace("e-0", "e-")
        rows.append([value, str(cell), *_columns(cells[cell], _equal(cell, cells))])
    print(f"\n{title}:\n")
    table(head, rows)


def _fixed(centre: Job, walked: str = "") -> str:
    """Say what the jobs of a table have in common."""
    values = [
        text.format(getattr(centre, axis)) for axis, (_, _, text) in _AXES.items() if axis != walked
    ]
    return ", ".join(values).replace("e-0", "e-")


def _sections(preset: str, cells: Cells) -> None:
    """Print every section that has cells."""
    made = PRESETS[preset]
    centre = made.centre._replace(seed=0)
    usual = {(rate, made.beta) for rate in made.rates}

    def plain(cell: Cell) -> bool:
        """Tell whether a cell is one of those that every job has."""
        is_usual = cell.rejects == "student" and (cell.rate, cell.beta) in usual
        return cell.method == "sft" or is_usual

    def walks(axis: str) -> Callable[[Cell], bool]:
        others = _AXES.keys() - {axis}
        return lambda cell: (
            plain(cell) and all(getattr(cell.job, one) == getattr(centre, one) for one in others)
        )

    axes = [axis for axis in _AXES if made.axes.get(axis)]
    for axis in axes:
        _section(f"{_AXES[axis][0]} ({_fixed(centre, axis)})", axis, cells, walks(axis))
    if made.grid_rates or not axes:
        _section(
            f"DPO's rate and beta ({_fixed(centre, 'pairs')})",
            "pairs",
            cells,
            lambda cell: cell.job == centre and cell.rejects in ("", "student"),
        )
    if made.rejects:
        _section(
            f"Whose answers are rejected ({_fixed(centre, 'pairs')})",
            "pairs",
            cells,
            lambda cell: (
                cell.job == centre
                and (
                    cell.method == "sft" or (cell.rate, cell.beta) == (made.rejects_rate, made.beta)
                )
            ),
        )


def _print(path: Path, setting: str) -> None:
    """Print what was run, and its tables."""
    preset, student, *prompts = setting.split()
    made, cells = PRESETS[preset], _by_seed(path, setting)
    lines = [figures for seeds in cells.values() for figures in seeds.values()]
    minutes = sum(one["train_s"] + one["measure_s"] for one in lines) / 60
    machines = "; ".join(dict.fromkeys(one["machine"] for one in lines))
    among = f", prompts {prompts[0]}" if prompts else ""
    print(f"\n### {preset}\n")
    print(
        f"{len(lines)} of {lines[0]['of']} cells, {minutes:.0f} minutes of one process in all; "
        f"{machines}; student {student}{among}. Batch {made.batch}, "
        f"{len(lines[0]['tokens'])} held-out prompts, greedy answers of at most "
        f"{made.answer_tokens} tokens. "
        '"beside": paired difference to SeqKD with as many passes as SODA, with a 95 % interval '
        "over prompts and seeds."
    )
    for cell, seeds in cells.items():
        if cell.method == "base":
            right, _, logp, _, rouge, _, tokens, _ = _columns(seeds, {})
            told = f"{right} % right, " if right else ""
            print(
                f"Base student: {told}log-likelihood {logp}, ROUGE-L {rouge}, "
                f"{tokens} tokens an answer."
            )
    _sections(preset, cells)


def _settings(path: Path) -> Iterable[str]:
    return dict.fromkeys(figures["setting"] for _, figures in read_journal(path))


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables of every setting in the journal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journal", type=Path)
    path = parser.parse_args(words).journal
    for setting in _settings(path):
        _print(path, setting)


if __name__ == "__main__":
    main()
