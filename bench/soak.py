"""teacher-gen through a server full of faults, killed 200 times at random moments.

    python -m bench.soak [--prompts 10000] [--kills 200]

Prints what was lost, what was asked twice, and whether the artifact equals an undisturbed run's.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soda
from bench.measure import table
from bench.teacher import config, make_prompts
from soda.stage import load_stage
from soda.teacher import retry
from tests.fakes.load import FAULTS, load_server

__all__ = ["killed_after"]

UNDER_WAY = 8


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Do the work in a process of its own and kill it; returns whether it had come to its end."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the work ended with {os.waitstatus_to_exitcode(status)}")
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    """Run the soak and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    retry._LONGEST_WAIT_SECONDS = 0.02  # the server's faults pass at once
    load_stage("teacher-gen")
    with tempfile.TemporaryDirectory() as folder, load_server(delay=0.02, faults=FAULTS) as server:
        root = Path(folder)
        prompts = make_prompts(root, arguments.prompts)
        values = config(server, concurrency=UNDER_WAY, timeout_seconds=0.5)

        def generate(out: Path) -> soda.Responses:
            inputs = {"prompts": prompts.path}
            return soda.run("teacher-gen", inputs=inputs, config=values, out=out)

        kills, begin, over = 0, time.monotonic(), False
        while not over:
            limit = moments.uniform(0.02, 0.5) if kills < arguments.kills else 3600
            over = killed_after(limit, lambda: generate(root / "killed" / "out"))
            kills += not over
        took = time.monotonic() - begin
        answered = server.answered()
        made = soda.Responses.open(root / "killed" / "out", verify=True)
        values["limits"]["concurrency"] = 64
        undisturbed = generate(root / "alone" / "out")
        equal = all(
            (made.path / name).read_bytes() == (undisturbed.path / name).read_bytes()
            for name in made.manifest["files"]
        )
    table(
        ["prompts", "kills", "rows", "lost", "answered twice", "at most", "same bytes", "seconds"],
        [
            [
                arguments.prompts,
                kills,
                len(made),
                arguments.prompts - len(answered),
                answered.total() - len(answered),
                UNDER_WAY * kills,
                equal and made.digest == undisturbed.digest,
                f"{took:.0f}",
            ]
        ],
    )


if __name__ == "__main__":
    main()
