"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere.

What runs a step in a process of its own reads its plain lines with `share_done`, to draw the bar.
"""

import contextlib
import os
import re
import sys
import weakref
from typing import Any, TextIO

from soda.escape import escape_terminal

__all__ = ["INTERVAL", "close_bars", "progress", "say", "share_done"]

INTERVAL = "SODA_PROGRESS_SECONDS"  # the variable that says how long it is between two plain lines
_QUIET = os.environ.get("RANK", "0") != "0"  # of processes that train together one speaks
_FORM = (
    "{desc}: {n_fmt}/{total_fmt}{unit} ({percentage:.0f} %), {rate_noinv_fmt}, {elapsed} elapsed, "
    "{remaining} left{postfix}"
)
_bars: weakref.WeakSet[Any] = weakref.WeakSet()
_DONE = re.compile(r": \S+/\S+.* \((\d+) %\), .* left")


class _Lines:
    """A stream that turns tqdm's redrawn bar into one line for each redraw."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.replace("\r", "").strip():
            with contextlib.suppress(BrokenPipeError):
                self.stream.write(line + "\n")
                self.stream.flush()

    def flush(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stream.flush()


def progress(label: str, total: int, unit: str, done: int = 0) -> Any:
    """Return a tqdm bar with rate and time left; `done` counts what an earlier run finished.

    Args:
        unit: a word in the plural, or "B" for bytes, which are shown as kB, MB and GB.
    """
    from tqdm import tqdm  # a tenth of a second, which `soda --help` saves

    how: dict[str, Any] = {"unit": unit if unit == "B" else f" {unit}", "unit_scale": unit == "B"}
    if not sys.stderr.isatty():
        interval = float(os.environ.get(INTERVAL) or 10)
        how |= {"bar_format": _FORM, "mininterval": interval, "miniters": 1}
        how |= {"file": _Lines(sys.stderr)}
    bar = tqdm(desc=escape_terminal(label), total=total, initial=done, disable=_QUIET, **how)
    _bars.add(bar)
    return bar


def close_bars() -> None:
    """Close the bars that an error left open: they would be drawn again after the refusal."""
    for bar in list(_bars):
        bar.close()


def share_done(line: str) -> float | None:
    """Return the share that a plain line of progress says is done, 0 to 1; None for other lines."""
    found = _DONE.search(line)
    return int(found[1]) / 100 if found else None


def say(text: str) -> None:
    """Print one line for the person who watches, without breaking a bar.

    Nobody may watch any more: a run that is cancelled loses what reads its lines first.
    """
    if not _QUIET:
        from tqdm import tqdm

        with contextlib.suppress(BrokenPipeError):
            tqdm.write(escape_terminal(text), file=sys.stderr)
            sys.stderr.flush()
