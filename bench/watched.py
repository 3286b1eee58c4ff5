"""Run a command and its descendants in a session: watch its memory, kill it whole."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Watched", "watch"]

_STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Watched:
    """What a command took; `ended` is "well", "badly", "killed" or "late" (past the limit)."""

    ended: str
    began: float
    seconds: float
    cpu_seconds: float
    peak_mib: float


def watch(
    command: list[str], *, log: Path, limit_seconds: float, stop: Callable[[], bool] | None = None
) -> Watched:
    """Run a command to its end, to the limit, or until `stop` says to kill it."""
    began, peak, ended = time.time(), 0.0, ""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=Path(__file__).parents[1],
        )
    next_look = 0.0
    while not ended:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            ended = "badly" if process.returncode else "well"
            break
        if stop and stop():
            ended = "killed"
        elif time.time() - began > limit_seconds:
            ended = "late"
        elif time.time() > next_look:
            peak = max(peak, _memory_mib(process.pid))
            next_look = time.time() + 4 * _STEP_SECONDS
        time.sleep(0 if ended else _STEP_SECONDS)
    seconds = time.time() - began
    for member in _members(process.pid):
        os.kill(member, signal.SIGKILL)
    if process.returncode is None:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Watched(ended, began, seconds, usage.ru_utime + usage.ru_stime, peak)


def _members(session: int) -> list[int]:
    """Return the processes of a session; its first comes first, so that it starts no more."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(folder.name))
    return sorted(found)


def _memory_mib(session: int) -> float:
    """Return the memory of a session; a page that processes share counts once."""
    total = 0
    for member in _members(session):
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total / 1024
