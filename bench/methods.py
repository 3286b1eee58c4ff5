"""SFT (the warm-up; alone it is SeqKD), DPO (SODA after it) and GAD: the train stage itself.

    python -m bench.methods --model FOLDER [--prompts 16] [--tokens 48]

Same student, same prompts, one epoch each; the teacher is the quickstart's. Prints the stage's wall
seconds, the seconds and peak memory of the method's own steps (without GAD's warm-up), and the
ratios to DPO.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import soda
from bench.measure import run, table

__all__ = ["main"]

ANSWERS = Path("pipelines/distill/quickstart/teacher.jsonl")
METHODS = ("sft", "dpo", "gad")  # each is the name of its own phase, too


def make_pairs(root: Path, model: Path, prompts: int, tokens: int) -> Path:
    """Return pairs of the quickstart's teacher and of the student as it is."""
    lines = ANSWERS.read_text(encoding="utf-8").splitlines()
    dataset = root / "dataset.jsonl"
    chosen = [line for line in lines if "prompt" in json.loads(line)][:prompts]
    dataset.write_text("\n".join(chosen) + "\n")
    shares = {"validation_share": 0.0, "test_share": 0.0}
    made = soda.run(
        "prepare-prompts", inputs={}, config={"dataset": str(dataset), **shares}, out=root / "p"
    )
    os.environ["SODA_TEACHER_BASE_URL"], os.environ["SODA_TEACHER_MODEL"] = "http://localhost", "x"
    teacher = soda.run(
        "teacher-gen",
        inputs={"prompts": made.path},
        config={"answers": str(dataset), "probe": False},
        out=root / "teacher",
    )
    student = soda.run(
        "snapshot",
        inputs={"prompts": made.path, "model": model},
        config={"max_new_tokens": tokens},
        out=root / "student",
    )
    inputs = {"teacher": teacher.path, "student": student.path}
    return soda.run("pair-build", inputs=inputs, config={}, out=root / "pairs").path


def measure(method: str, pairs: Path, model: Path, tokens: int, batch: int) -> dict[str, Any]:
    """Train by one method in a process of its own; a first run of it is the only one."""
    values = {
        "method": method,
        "epochs": 1,
        "batch_size": batch,
        "health": {"answers": 0},
        "adversarial": {"max_new_tokens": tokens},
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        command = [sys.executable, "-m", "soda", "train", "--out", str(out)]
        command += ["--data", str(pairs), "--model", str(model)]
        for key, value in values.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        taken = run(command)
        lines = map(json.loads, (out / "logs" / "metrics.jsonl").read_text().splitlines())
        steps = [line for line in lines if (line["name"], line["kind"]) == (method, "step")]
    return {
        "seconds": taken.seconds,
        "step": sum(line["seconds"] for line in steps) / len(steps),
        "peak": max(line["peak_memory_gib"] for line in steps),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="an imported student")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="pairs a step")
    parser.add_argument("--tokens", type=int, default=48, help="where answers are cut")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        pairs = make_pairs(Path(folder), arguments.model, arguments.prompts, arguments.tokens)
        found = {
            method: measure(method, pairs, arguments.model, arguments.tokens, arguments.batch)
            for method in METHODS
        }
    dpo = found["dpo"]
    table(
        ["method", "stage, s", "to DPO", "a step, s", "to DPO", "peak GiB", "to DPO"],
        [
            [
                method,
                f"{one['seconds']:.0f}",
                f"{one['seconds'] / dpo['seconds']:.1f}",
                f"{one['step']:.1f}",
                f"{one['step'] / dpo['step']:.1f}",
                f"{one['peak']:.1f}",
                f"{one['peak'] / dpo['peak']:.2f}",
            ]
            for method, one in found.items()
        ],
    )


if __name__ == "__main__":
    main()
