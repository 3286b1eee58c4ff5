"""teacher-gen through a server full of faults, killed 200 times at random moments.

    python -m bench.soak [--prompts 10000] [--kills 200]

Prints what was lost, what was asked twice, and whether the artifact equals an undisturbed run's.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

import soda
from bench.measure import table
from bench.teacher import config, make_prompts
from soda.endpoint.job import Rules
from soda.endpoint.waits import Waits
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.teacher_gen import generate as generate_by
from soda.storage import Place
from tests.fakes.faulty_teacher import FAULTS, faulty_teacher

__all__ = ["killed_after", "soak"]

UNDER_WAY = 8


def killed_after(
    seconds: float, work: Callable[[], object], number: signal.Signals = signal.SIGKILL
) -> bool:
    """Do the work in a process of its own and kill it; returns whether it had come to its end.

    Raises:
        RuntimeError: the work failed, or did not end within a minute of the signal.
    """
    child = os.fork()
    if not child:
        # tqdm's own is one semaphore for parent and children: a child that is killed with it in
        # its hand would stop all that come after
        tqdm.set_lock(threading.RLock())
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        except SystemExit as error:
            os._exit(error.code if isinstance(error.code, int) else 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = _ended(child, seconds)
    if status is not None:
        if status:
            raise RuntimeError(f"the work ended with {os.waitstatus_to_exitcode(status)}")
        return True
    os.kill(child, number)
    status = _ended(child, 60)
    if status is None:
        os.kill(child, signal.SIGKILL)
        raise RuntimeError(f"the work did not end within 60 s of {number.name}")
    return status == 0


def _ended(child: int, seconds: float) -> int | None:
    """Wait for a process; return its status, or None if it still runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    return None


def soak(root: Path, prompts: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill a run again and again, let it end, and compare it with one that nobody disturbed."""
    moments = random.Random(seed)
    rules = Rules(waits=Waits(longest=0.02, crowd=0.02))  # the server's faults pass at once
    with faulty_teacher(delay=0.02, faults=FAULTS) as server:
        made_prompts = make_prompts(root, prompts)
        values = config(server, concurrency=UNDER_WAY, timeout_seconds=0.5)

        def generate(out: Path) -> soda.Responses:
            return generate_by(made_prompts, TeacherGenConfig.parse(values), Place.of(out), rules)

        killed, begin, over = 0, time.monotonic(), False
        while not over:
            limit = moments.uniform(0.02, 0.5) if killed < kills else 600
            over = killed_after(limit, lambda: generate(root / "killed" / "out"))
            killed += not over
        took = time.monotonic() - begin
        answered = server.answered()
        made = soda.Responses.open(root / "killed" / "out", verify=True)
        values["limits"]["concurrency"] = 64
        undisturbed = generate(root / "alone" / "out")
    same = all(
        (made.path / name).read_bytes() == (undisturbed.path / name).read_bytes()
        for name in made.manifest.files
    )
    return {
        "prompts": prompts,
        "kills": killed,
        "rows": len(made),
        "lost": prompts - len(answered),
        "answered twice": answered.total() - len(answered),
        "under way at the kills": UNDER_WAY * killed,
        "same bytes": same and made.digest == undisturbed.digest,
        "seconds": round(took),
    }


def main() -> None:
    """Run the soak; print a table, and the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="an empty one, which stays; else a temporary one"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.folder or Path(folder)
        found = soak(root, arguments.prompts, arguments.kills, arguments.seed)
    table(list(found), [list(found.values())])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
