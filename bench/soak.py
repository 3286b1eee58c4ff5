"""teacher-gen through a server full of faults, killed 200 times at random moments.

    python -m bench.soak [--prompts 10000] [--kills 200]

Prints what was lost, what was asked twice, and whether the artifact equals an undisturbed run's.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import soda
from bench.measure import table
from bench.teacher import config, make_prompts
from soda.endpoint.job import Rules
from soda.endpoint.waits import Waits
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.teacher_gen import generate as generate_by
from soda.storage import Place
from tests.fakes.faulty_teacher import FAULTS, faulty_teacher
from tests.killing import killed_after

__all__ = ["soak"]

UNDER_WAY = 8


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
