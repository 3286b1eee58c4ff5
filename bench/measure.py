"""Run a piece of work in a process of its own, and say what it took."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Taken", "in_child", "run", "table"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took: wall seconds, CPU seconds, peak memory in MiB, and what it returned."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    result: Any = None


def in_child(work: Callable[[], Any]) -> Taken:
    """Fork, do the work, and measure the child; its result must be JSON."""
    read, write = os.pipe()
    begin = time.perf_counter()
    child = os.fork()
    if not child:
        os.close(read)
        code = 1
        try:
            with os.fdopen(write, "w") as pipe:
                pipe.write(json.dumps(work()))
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"the work ended with {os.waitstatus_to_exitcode(status)}")
    return _taken(time.perf_counter() - begin, usage, json.loads(text))


def run(command: list[str], environment: Mapping[str, str] | None = None) -> Taken:
    """Run a command and measure it; its last line of output is the result, if it is JSON."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None and process.stderr is not None
    out = process.stdout.read()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command}: {errors.decode()[-2000:]}")
    last = out.decode().strip().rpartition("\n")[2]
    try:
        result = json.loads(last)
    except ValueError:
        result = None
    return _taken(time.perf_counter() - begin, usage, result)


def _taken(seconds: float, usage: resource.struct_rusage, result: Any) -> Taken:
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, result)


def table(head: list[str], rows: list[list[Any]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    sys.stdout.flush()
