"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import os
import sys
from typing import Any, TextIO

__all__ = ["progress", "say"]


_QUIET = os.environ.get("RANK", "0") != "0"  # of processes that train together one speaks


class _Lines:
    """A stream that turns tqdm's redrawn bar into one line for each redraw."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.replace("\r", "").strip():
            self.stream.write(line + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(label: str, total: int, unit: str, done: int = 0) -> Any:
    """Return a tqdm bar with rate and time left; `done` counts what an earlier run finished.

    Args:
        unit: a word in the plural, or "B" for bytes, which are shown as kB, MB and GB.
    """
    from tqdm import tqdm  # a tenth of a second, which `soda --help` saves

    scale = unit == "B"
    unit = unit if scale else f" {unit}"
    if sys.stderr.isatty():
        return tqdm(
            desc=label, total=total, unit=unit, unit_scale=scale, initial=done, disable=_QUIET
        )
    form = "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, {elapsed} elapsed, {remaining} left{postfix}"
    return tqdm(
        desc=label,
        total=total,
        unit=unit,
        unit_scale=scale,
        initial=done,
        bar_format=form,
        mininterval=10,
        miniters=1,
        disable=_QUIET,
        file=_Lines(sys.stderr),
    )


def say(text: str) -> None:
    """Print one line for the person who watches, without breaking a bar."""
    if not _QUIET:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()
