"""The command line: one line and code 2 for what the user can put right."""

import argparse
import importlib
import json
import subprocess
import sys

import pytest

from soda.cli import TOOLS, main
from soda.stage import load_stage
from soda.stages import STAGES
from tests.fakes.student import save_student


def run(capsys, *words):
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


@pytest.mark.parametrize("name", STAGES)
def test_help_teaches_every_value(capsys, name):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    for key in load_stage(name).config.model_fields:
        assert f"  {key}: " in out
    for key in load_stage(name).inputs:
        assert f"--{key} DIR" in out
    assert out.count("repeat it for each") == len(load_stage(name).lists)


@pytest.mark.parametrize("name", TOOLS)
def test_help_explains_every_option_of_a_tool(name):
    tool = argparse.ArgumentParser()
    importlib.import_module(TOOLS[name][0]).add_arguments(tool)
    assert tool.description
    parsers = [tool]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
                continue
            assert action.help, action
            # without either, an option's value has the option's own name in capitals
            named = action.metavar or action.choices or action.nargs == 0
            assert named or not action.option_strings, action


def test_a_recipe_and_set_values_reach_the_stage(capsys, tmp_path):
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / "recipe.yaml").write_text("prepare-prompts: {test_share: 0.5, limit: 2}\n")
    words = ["prepare-prompts", "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    code, out, _ = run(
        capsys, *words, "--set", f"dataset={tmp_path}/data.jsonl", "--set", "limit=1"
    )
    assert code == 0 and "1 in prompts.jsonl" in out
    config = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]
    assert config["test_share"] == 0.5 and config["limit"] == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--data", "none", "--model", "none"], "none: expected a folder with pairs"),
        (["--data", "unfinished", "--model", "none"], "expected a finished artifact"),
        (["--data", "made:prompts", "--model", "none"], "'pairs' or 'responses', found 'prompts'"),
        (["--data", "made:pairs", "--model", "made:base", "--set", "betta=1"], "unknown key"),
        (["--data", "made:pairs", "--model", "made:base", "--set", "beta"], "key=value"),
        (["--data", "made:pairs", "--model", "made:base", "--recipe", "no.yaml"], "a recipe"),
    ],
)
def test_refusals_are_one_line_and_code_2(capsys, made, tmp_path, monkeypatch, words, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unfinished").mkdir()
    words = [
        made[word.removeprefix("made:")].path if word.startswith("made:") else word
        for word in words
    ]
    code, out, err = run(capsys, "train", *words, "--out", "out")
    assert code == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("soda: ") and problem in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["unfinished"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prepare-prompts: {limit: 3.5}", "prepare-prompts.limit: expected a whole number"),
        ("prepare-prompts: {limit: many}", "prepare-prompts.limit: expected a whole number"),
        ("prepare-prompts: {test_shard: 0}", "unknown key; did you mean 'test_share'?"),
        ("prepare_prompts: {}", "unknown step 'prepare_prompts'; did you mean 'prepare-prompts'?"),
        ("prepare-prompts: {", "recipe.yaml: expected YAML"),
        ("prepare-prompts: 7", "recipe.yaml: prepare-prompts: expected a mapping, found 7"),
        ("", "recipe.yaml: expected a mapping, found nothing"),
        ("prepare-prompts: {7: 1}", "prepare-prompts.7: expected text as a key, found 7"),
    ],
)
def test_wrong_recipes_are_one_line_and_code_2(capsys, tmp_path, text, problem):
    (tmp_path / "recipe.yaml").write_text(text)
    words = ["--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    code, out, err = run(capsys, "prepare-prompts", "--set", "dataset=x", *words)
    assert code == 2 and out == "" and err.count("\n") == 1 and problem in err
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("value", ["dataset=[", "=x", "dataset"])
def test_wrong_assignments_are_one_line_and_code_2(capsys, tmp_path, value):
    code, _, err = run(capsys, "prepare-prompts", "--set", value, "--out", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1 and err.startswith("soda: --set")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"question": "a"}\n', "line 1: expected a column 'messages' or 'prompt'"),
        ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}\n', "expected ids that differ"),
        ('{"prompt": "a"}\n{"prom\n', "line 2: expected JSON"),
    ],
)
def test_wrong_datasets_are_one_line_and_code_2(capsys, tmp_path, text, problem):
    (tmp_path / "data.jsonl").write_text(text)
    words = ["--set", f"dataset={tmp_path}/data.jsonl", "--out", tmp_path / "out"]
    code, out, err = run(capsys, "prepare-prompts", *words)
    assert code == 2 and out == "" and err.count("\n") == 1 and problem in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda source: (source / "chat_template.jinja").unlink(), "expected a chat template"),
        (
            lambda source: (source / "model.safetensors").rename(source / "model.bin"),
            "found only pickled ones: model.bin",
        ),
    ],
)
def test_wrong_students_are_one_line_and_code_2(capsys, tmp_path, damage, problem):
    damage(save_student(tmp_path / "source"))
    capsys.readouterr()
    words = ["--set", f"source={tmp_path}/source", "--out", tmp_path / "out"]
    code, out, err = run(capsys, "import-student", *words)
    assert code == 2 and out == "" and err.count("\n") == 1 and problem in err


def test_no_pairs_left_is_one_line_and_code_2(capsys, made, tmp_path):
    inputs = ["--teacher", made["teacher"].path, "--student", made["student"].path]
    words = ["--set", "max_answer_tokens=1", "--out", tmp_path / "out"]
    code, _, err = run(capsys, "pair-build", *inputs, *words)
    assert code == 2 and "found none; dropped: 40" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--out", "--teacher"])
def test_places_that_cannot_be_reached_are_one_line_and_code_2(
    capsys, made, tmp_path, monkeypatch, option
):
    monkeypatch.chdir(tmp_path)
    places = {"--teacher": made["teacher"].path, "--student": made["student"].path, "--out": "out"}
    words = [word for pair in (places | {option: "ftp://host/x"}).items() for word in pair]
    code, _, err = run(capsys, "pair-build", *words)
    assert code == 2 and err.count("\n") == 1 and "ftp://host/x: expected a path" in err
    assert not list(tmp_path.iterdir())


def test_what_was_made_and_dropped_is_one_line(capsys, tmp_path):
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n' * 3)
    words = ["--set", f"dataset={tmp_path}/data.jsonl", "--set", "limit=3.0"]
    code, out, _ = run(capsys, "prepare-prompts", *words, "--out", tmp_path / "out")
    assert code == 0 and out.count("\n") == 1
    assert "1 in prompts.jsonl; dropped: 2 duplicate" in out


def test_help_of_soda_and_its_prompts_needs_nothing_heavy():
    code = """if True:
        import sys
        from soda.cli import main
        for words in (["--help"], ["prepare-prompts", "--help"], ["pair-build", "--help"]):
            try:
                main(words)
            except SystemExit as done:
                assert done.code == 0
        heavy = {"torch", "kfp", "transformers", "datasets", "accelerate"} & sys.modules.keys()
        sys.exit(str(sorted(heavy)) if heavy else 0)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in STAGES)


def test_the_module_is_the_command(tmp_path):
    command = [sys.executable, "-m", "soda", "prepare-prompts", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "soda: prepare-prompts.dataset: expected a value, found none\n"
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n')
    command += ["--set", f"dataset={tmp_path}/data.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "1 in prompts.jsonl" in done.stdout, done.stderr
