"""Keys: each kind of change makes those stages run again that it can reach, and no others."""

import shutil
from pathlib import Path

import pytest

import soda
from soda.artifacts.keys import code_digest, deciding, module_of, run_key
from soda.rows import digest
from soda.stage import load_stage
from soda.stages import STAGES

ROOT = Path(soda.__file__).parent
TRAINED = {"train", "eval", "choose-rejects"}
LOADED = {"import-student", "snapshot", *TRAINED}
JUDGED = {"audit", "judge"}  # by a reward model, or at an endpoint


def keys(root=ROOT, version=str):
    return {
        stage: digest(deciding(module_of(stage), root=root, version=version)) for stage in STAGES
    }


def changed(before, after):
    return {stage for stage in STAGES if before[stage] != after[stage]}


@pytest.fixture(scope="module")
def before():
    return keys()


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to change."""
    return Path(shutil.copytree(ROOT, tmp_path / "soda"))


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("cli.py", set()),
        ("launch.py", set()),
        ("storage/gcs.py", set()),
        ("artifacts/writer.py", set()),
        ("training/model/head.py", TRAINED),
        ("training/run/loop.py", {"train"}),
        ("student/generate.py", {"snapshot", *TRAINED}),
        ("student/chat.py", {"pair-build", *LOADED, *JUDGED}),
        ("endpoint/client.py", {"teacher-gen", "snapshot", *JUDGED}),
        ("rows.py", set(STAGES)),
        ("stages/pair_build.py", {"pair-build"}),
        ("evaluation/lm_eval_runner.py", {"eval"}),
    ],
)
def test_a_line_of_code_counts_where_it_can_run_and_a_comment_nowhere(before, copy, file, stages):
    source = (copy / file).read_text()
    (copy / file).write_text(f"# a comment\n{source}")
    assert changed(before, keys(copy)) == set()
    (copy / file).write_text(f"{source}\nADDED = 1\n")
    assert changed(before, keys(copy)) == stages


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("evaluation/tasks/soda_facts/soda_facts.jsonl", {"eval"}),
        ("evaluation/tasks/soda_facts/soda_facts.yaml", {"eval"}),
        ("evaluation/tasks/soda_facts/README.md", set()),
        ("evaluation/report.html.j2", {"eval", "judge"}),
        ("evaluation/evidence.html.j2", {"eval", "compare", *JUDGED}),
        ("dataset/task_sets/vicuna-80.yaml", {"audit", "eval"}),
        ("evaluation/comparison.md.j2", {"compare"}),
    ],
)
def test_packaged_data_counts_for_the_code_that_names_it(before, copy, file, stages):
    with (copy / file).open("a") as data:
        data.write("\n")
    assert changed(before, keys(copy)) == stages


@pytest.mark.parametrize(
    ("library", "stages"),
    [
        ("torch", LOADED | JUDGED),
        ("transformers", {"pair-build", *LOADED, *JUDGED}),
        ("lm_eval", {"eval"}),
        ("peft", {"import-student", "train"}),
        ("bitsandbytes", {"train"}),
        ("gguf", {"import-student"}),
        ("datasets", {"prepare-prompts", "audit", "eval"}),
        ("vllm", {"snapshot"}),
        ("pydantic", set()),
        ("aiohttp", set()),
        ("json", set()),
    ],
)
def test_a_librarys_version_counts_where_it_computes(before, library, stages):
    after = keys(version=lambda name: "another" if name == library else name)
    assert changed(before, after) == stages


def test_a_module_that_is_imported_inside_a_function_counts(copy):
    (copy / "training" / "fresh.py").write_text("import sympy\n")
    with (copy / "training" / "model" / "head.py").open("a") as head:
        head.write("\ndef late():\n    from soda.training import fresh\n    return fresh\n")
    found = deciding("soda.stages.train", root=copy, version=str)
    assert "soda.training.fresh" in found and found["sympy"] == "sympy"


def test_every_packaged_file_counts_for_some_stage():
    counted = {name for stage in STAGES for name in deciding(module_of(stage), version=str)}
    packaged = {
        path.relative_to(ROOT.parent).as_posix()
        for path in ROOT.rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and path.name not in ("README.md", "pyproject.toml")
    }
    assert packaged and packaged <= counted


def test_versions_are_those_that_are_installed():
    import torch

    found = deciding("soda.stages.snapshot")
    assert found["torch"] == torch.__version__
    assert found["soda.stages.snapshot"] != found["soda.student.chat"]


def test_a_stage_without_a_module_is_our_mistake():
    with pytest.raises(AssertionError, match="no such modules"):
        code_digest("soda.stages.none")


def test_a_key_holds_stage_code_config_and_inputs(made):
    config = load_stage("pair-build").config
    one, other = config.parse({}), config.parse({"max_answer_tokens": 9})
    teacher, student = made["teacher"], made["student"]
    found = [
        run_key(one, {"teacher": teacher, "student": student}),
        run_key(other, {"teacher": teacher, "student": student}),
        run_key(one, {"teacher": student, "student": teacher}),
        run_key(load_stage("eval").config.parse({}), {"teacher": teacher, "student": student}),
        run_key(one, {"candidates": [teacher, student]}),
        run_key(one, {"candidates": [student, teacher]}),
        run_key(one, {"candidates": [teacher]}),
        run_key(one, {"candidates": teacher}),
    ]
    assert len(set(found)) == 8
    assert run_key(config.parse({}), {"student": student, "teacher": teacher}) == found[0]
