"""Training, stopped 50 times at random moments by SIGTERM or SIGKILL, beside an undisturbed run.

    python -m tests.soda.training.soak [--kills 50] [--method dpo]

On one device: prints whether the losses of every step and the trained weights have the same bits,
and how long SIGTERM took.
"""

import argparse
import functools
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads cannot be forked

import torch  # noqa: F401 - loaded once, for all children
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

import soda
from soda.stage import load_stage
from soda.training.run import trainer  # noqa: F401
from tests.fakes.artifacts import make_pairs
from tests.fakes.teacher import fake_teacher
from tests.killing import killed_after

RECIPE: dict[str, Any] = {
    "learning_rate": 1e-3,
    "epochs": 12,
    "batch_size": 8,
    "device": {"micro_batch_tokens": 200},
    "check_every_steps": 3,
    "checkpoint_minutes": 0.002,  # between the checks, too
    "health": {"chosen_reward": "off", "accuracy": "off", "answers": 0},
}
LONGEST = 300.0  # seconds that an undisturbed run may take on a busy machine
CHANGES: dict[str, dict[str, Any]] = {
    "sft": {"learning_rate": 3e-1},  # its best checkpoint is not the last one
    "dpo": {},
    "gad": {  # whose steps are dear
        "adversarial": {"rollouts": 2, "max_new_tokens": 4, "sft_learning_rate": 1e-3},
        "epochs": 4,
    },
}


def _figures(model: soda.Model) -> list[dict[str, Any]]:
    """Return every step's figures but the ones that time and memory give."""
    text = (model.path / "logs" / "metrics.jsonl").read_text()
    left_out = {"seconds", "tokens_per_second", "peak_memory_gib"}
    return [
        {key: value for key, value in json.loads(line).items() if key not in left_out}
        for line in text.splitlines()
    ]


def soak(root: Path, kills: int, method: str, seed: int) -> dict[str, Any]:
    """Stop a run again and again, let it end, and compare it with one that nobody disturbed."""
    moments = random.Random(seed)
    load_stage("train")
    with fake_teacher() as teacher:
        made = make_pairs(root, teacher)
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    values = RECIPE | {"method": method} | CHANGES[method]

    def train(name: str) -> soda.Model:
        return soda.run("train", inputs=inputs, config=values, out=root / name / "model")

    begin = time.monotonic()
    killed_after(LONGEST, lambda: train("alone"))
    whole = time.monotonic() - begin
    alone = soda.Model.open(root / "alone" / "model", verify=True)
    count = {signal.SIGTERM: 0, signal.SIGKILL: 0}
    slowest, runs, same_losses, same_weights = 0.0, 0, True, True
    while sum(count.values()) < kills:
        runs, over = runs + 1, False
        again = functools.partial(train, f"killed-{runs}")
        while not over:
            number = moments.choice(list(count))
            limit = moments.uniform(0, whole / 4) if sum(count.values()) < kills else LONGEST
            begin = time.monotonic()
            over = killed_after(limit, again, number)
            if not over:
                count[number] += 1
            if not over and number == signal.SIGTERM:
                slowest = max(slowest, time.monotonic() - begin - limit)
        killed = soda.Model.open(root / f"killed-{runs}" / "model", verify=True)
        same_losses &= _figures(killed) == _figures(alone)
        same_weights &= killed.digest == alone.digest
    return {
        "method": method,
        "SIGTERM": count[signal.SIGTERM],
        "SIGKILL": count[signal.SIGKILL],
        "runs": runs,
        "steps": len(_figures(alone)),
        "checkpoint": alone.trainings[-1]["checkpoint"],
        "same losses": same_losses,
        "same weights": same_weights,
        "slowest SIGTERM, s": round(slowest, 2),
    }


def main() -> None:
    """Run the soak, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--method", default="dpo", choices=["sft", "dpo", "gad"])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), arguments.kills, arguments.method, arguments.seed)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
