"""Pairs: what is kept, what is dropped and why, and that others can load them."""

import json
import shutil

import pytest

import soda
from soda.artifacts.kinds import Responses
from soda.errors import ArtifactError, DataError
from soda.rows import Prompt, Response
from soda.stages.pair_build import PairBuildConfig


def responses(made, path, rows, *, tokenizer=False):
    """Write answers by hand: prompt number -> text, outcome."""
    with Responses.create(path, config=PairBuildConfig(), inputs={}) as writer:
        for number, (text, outcome) in rows.items():
            prompt = Prompt(f"p{number}", [{"role": "user", "content": f"q{number}"}], "train")
            Responses.write(writer, Response(prompt, text, outcome))
        if tokenizer:
            (writer.path / "tokenizer").mkdir()
            for file in (made["student"].path / "tokenizer").iterdir():
                (writer.path / "tokenizer" / file.name).write_bytes(file.read_bytes())
    return Responses.open(path)


def build(teacher, student, out, **config):
    inputs = {"teacher": teacher.path, "student": student.path}
    return soda.run("pair-build", inputs=inputs, config=config, out=out)


def test_what_cannot_teach_is_dropped_with_its_reason(made, tmp_path):
    good = ("good", "answered")
    teacher = responses(
        made,
        tmp_path / "teacher",
        {
            0: good,
            1: ("", "empty"),
            2: ("half", "truncated"),
            3: ("", "refused"),
            4: ("", "failed"),
            5: ("The SAME\n answer", "answered"),
            6: ("long " * 50, "answered"),
            7: good,
            8: good,
            9: good,
            11: good,
        },
    )
    student = responses(
        made,
        tmp_path / "student",
        {
            **dict.fromkeys(range(5), ("mine", "answered")),
            5: ("the same answer", "answered"),
            6: ("mine", "answered"),
            7: ("", "empty"),
            8: ("long " * 50, "truncated"),
            9: ("cut", "truncated"),
            10: ("mine", "answered"),
        },
        tokenizer=True,
    )
    pairs = build(teacher, student, tmp_path / "pairs", max_answer_tokens=30)
    reasons = {
        json.loads(line)["id"]: json.loads(line)["reason"]
        for line in (pairs.path / "drops.jsonl").read_text().splitlines()
    }
    assert reasons == {
        "p1": "teacher_empty",
        "p2": "teacher_truncated",
        "p3": "teacher_refused",
        "p4": "teacher_failed",
        "p5": "same_answer",
        "p6": "teacher_too_long",
        "p7": "student_empty",
        "p8": "student_too_long",
        "p10": "teacher_missing",
        "p11": "student_missing",
    }
    kept = {pair.id: pair for pair in pairs.rows("train")}
    assert set(kept) == {"p0", "p9"}
    assert kept["p0"].rejected_stopped and not kept["p9"].rejected_stopped
    assert len(pairs) + sum(pairs.manifest.drops.values()) == 12  # prompts that somebody answered


def test_the_first_of_several_answers_that_makes_a_pair_is_taken(made, tmp_path):
    good = ("good", "answered")
    theirs = responses(made, tmp_path / "teacher", dict.fromkeys(range(3), good))
    drawn = {
        0: [good, ("", "empty"), ("mine", "answered"), ("other", "answered")],
        1: [("first", "answered"), ("other", "answered")],
        2: [("", "empty"), good],
    }
    with Responses.create(tmp_path / "student", config=PairBuildConfig(), inputs={}) as writer:
        for number, (first, *spares) in drawn.items():
            prompt = Prompt(f"p{number}", [{"role": "user", "content": f"q{number}"}], "train")
            Responses.write(writer, Response(prompt, *first))
            for spare in spares:
                writer.write(Responses.SAMPLES, Response(prompt, *spare).to_json())
        shutil.copytree(made["student"].path / "tokenizer", writer.path / "tokenizer")
    pairs = build(theirs, Responses.open(tmp_path / "student"), tmp_path / "pairs")
    rejected = {pair.id: pair.rejected[0]["content"] for pair in pairs.rows("train")}
    assert rejected == {"p0": "mine", "p1": "first"}
    assert pairs.manifest.drops == {"student_empty": 1}


def test_failed_students_and_answers_to_another_prompt_are_dropped(made, tmp_path):
    good = ("good", "answered")
    theirs = responses(made, tmp_path / "teacher", {0: good, 1: good})
    rows = [
        Response(Prompt("p0", [{"role": "user", "content": "another"}], "train"), *good),
        Response(Prompt("p1", [{"role": "user", "content": "q1"}], "train"), "", "failed"),
        Response(Prompt("p2", [{"role": "user", "content": "q2"}], "train"), *good),
    ]
    with Responses.create(tmp_path / "student", config=PairBuildConfig(), inputs={}) as writer:
        for row in rows:
            Responses.write(writer, row)
        shutil.copytree(made["student"].path / "tokenizer", writer.path / "tokenizer")
    mine = Responses.open(tmp_path / "student")
    with pytest.raises(DataError, match="1 prompts_differ, 1 student_failed, 1 teacher_missing"):
        build(theirs, mine, tmp_path / "pairs")


def test_too_long_prompts_are_dropped_and_no_pairs_left_is_refused(made, tmp_path):
    with pytest.raises(DataError, match="found none; dropped: 40 prompt_too_long"):
        build(made["teacher"], made["student"], tmp_path / "pairs", max_prompt_tokens=3)
    assert not (tmp_path / "pairs").exists()


def test_datasets_loads_the_folder_in_the_form_that_trl_takes(made):
    from datasets import load_dataset

    loaded = load_dataset(str(made["pairs"].path))
    assert set(loaded) == {"train", "validation", "test"}
    row = loaded["train"][0]
    assert [turn["role"] for turn in row["prompt"]] == ["user"]
    for side in ("chosen", "rejected"):
        assert [turn["role"] for turn in row[side]] == ["assistant"]
    assert row["chosen"][0]["content"].startswith("The answer to: Say")


def test_another_folder_of_the_same_name_is_not_taken_from_the_cache(made, tmp_path):
    from datasets import load_dataset

    load_dataset(str(made["pairs"].path))
    answered = responses(made, tmp_path / "teacher", {0: ("other", "answered")})
    mine = responses(made, tmp_path / "student", {0: ("x", "answered")}, tokenizer=True)
    other = load_dataset(str(build(answered, mine, tmp_path / "pairs").path))
    assert other["train"]["chosen"] == [[{"role": "assistant", "content": "other"}]]


def test_every_pair_is_in_its_prompts_split(made):
    splits = {row.id: row.split for row in made["prompts"].rows()}
    for split in ("train", "validation", "test"):
        rows = list(made["pairs"].rows(split))
        assert rows and all(splits[row.id] == row.split == split for row in rows)


def test_answers_without_a_tokenizer_are_no_snapshot(made, tmp_path):
    with pytest.raises(ArtifactError, match="expected a student's snapshot, found no tokenizer"):
        build(made["teacher"], made["teacher"], tmp_path / "pairs")


def test_same_inputs_same_digest(made, tmp_path):
    one = build(made["teacher"], made["student"], tmp_path / "one")
    assert one.digest == made["pairs"].digest
