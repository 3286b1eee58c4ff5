"""Small real artifacts, made by the stages themselves."""

import json
from pathlib import Path
from typing import Any

import soda
from tests.fakes.student import save_student
from tests.fakes.teacher import FakeTeacher

WORDS = ["sky", "sea", "tree", "stone", "bird", "moon", "fire", "rain", "road", "salt"]


def write_dataset(path: Path, count: int = 40) -> Path:
    """Write a JSONL of prompts, every other one checkable."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        word = WORDS[number % len(WORDS)]
        row: dict[str, Any] = {"prompt": f"Say {word} {number}."}
        if number % 2:
            row["expected"] = word
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_prompts(root: Path, count: int = 40) -> soda.Prompts:
    """Return prompts with all three splits."""
    dataset = write_dataset(root / "dataset.jsonl", count)
    config = {"dataset": str(dataset), "validation_share": 0.2, "test_share": 0.2}
    return soda.run("prepare-prompts", inputs={}, config=config, out=root / "prompts")


def make_base(root: Path, name: str = "smollm2") -> soda.Model:
    """Return an imported tiny student."""
    source = save_student(root / "source", name)
    return soda.run("import-student", inputs={}, config={"source": str(source)}, out=root / "base")


def teacher_config(teacher: FakeTeacher) -> dict[str, Any]:
    """Return a config that asks the fake teacher."""
    return {"base_url": teacher.url, "model": "fake", "sampling": {"max_tokens": 20}}


def make_pairs(root: Path, teacher: FakeTeacher, name: str = "smollm2") -> dict[str, Any]:
    """Run everything up to the pairs; return all artifacts by name."""
    prompts, base = make_prompts(root), make_base(root, name)
    answers = soda.run(
        "teacher-gen",
        inputs={"prompts": prompts.path},
        config=teacher_config(teacher),
        out=root / "teacher",
    )
    student = soda.run(
        "snapshot",
        inputs={"prompts": prompts.path, "model": base.path},
        config={"max_new_tokens": 8},
        out=root / "student",
    )
    pairs = soda.run(
        "pair-build",
        inputs={"teacher": answers.path, "student": student.path},
        config={},
        out=root / "pairs",
    )
    inputs = {"prompts": prompts, "base": base}
    return {**inputs, "teacher": answers, "student": student, "pairs": pairs}
