"""The command line: one line and code 2 for what the user can mend."""

import json

import pytest

from soda.cli import main
from soda.stage import STAGES, load_stage


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
        (["--pairs", "none", "--model", "none"], "none: expected a folder with pairs"),
        (["--pairs", "unfinished", "--model", "none"], "expected a finished artifact"),
        (["--pairs", "made:prompts", "--model", "none"], "expected 'pairs', found 'prompts'"),
        (["--pairs", "made:pairs", "--model", "made:base", "--set", "betta=1"], "unknown key"),
        (["--pairs", "made:pairs", "--model", "made:base", "--set", "beta"], "key=value"),
        (["--pairs", "made:pairs", "--model", "made:base", "--recipe", "no.yaml"], "a recipe"),
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
