"""The pipeline with audit and judge: they are asked, they gate, and the report has it all."""

import os
import subprocess

import pytest

import soda
from soda.artifacts.kinds import Report
from soda.registry.registry import Registry
from tests.end_to_end.test_pipeline import command, write_recipe
from tests.fakes.judges import shown
from tests.fakes.teacher import completion, echo, fake_teacher

pytestmark = pytest.mark.slow


def both(body, times):
    """Teach, and judge: the teacher's answers are the good ones."""
    if body["model"] != "grader":
        return echo(body, times)
    first, second = (text.startswith("The answer") for text in shown(body["messages"]))
    return completion("[[C]]" if first == second else "[[A]]" if first else "[[B]]")


def test_audit_and_judge_run_where_a_recipe_names_them_and_the_gate_keeps_the_champion(tmp_path):
    with fake_teacher(both) as teacher:
        asked = {"base_url": teacher.url, "model": "grader", "calibration": 4}
        write_recipe(
            tmp_path, audit={"judge": asked}, judge={"judge": asked}, register={"gate": {}}
        )
        environment = {"SODA_TEACHER_BASE_URL": teacher.url, "SODA_TEACHER_MODEL": "fake"}
        environment["SODA_JUDGE_API_KEY"] = "canary-key"
        done = subprocess.run(
            command(tmp_path), env=os.environ | environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Audit" in done.stdout and "Judge" in done.stdout
    assert "Bearer canary-key" in teacher.keys
    registry = Registry(tmp_path / "registry")
    assert registry.versions("tiny") == [1] and registry.alias("tiny", "champion") is None
    report = Report.open(registry.place_of("tiny", 1) / "report")
    figures = report.figures()
    assert figures["audit"]["gap"]["decision"] == "pass"
    assert set(figures["judge"]["opponents"]) == {"base", "warmed"}
    assert figures["judge"]["opponents"]["base"]["digest"] == ""
    assert soda.Report is Report
    for path in (tmp_path / "registry").rglob("*"):
        assert not path.is_file() or b"canary-key" not in path.read_bytes()
