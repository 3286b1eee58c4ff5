"""Refresh on KFP's local runner: a new teacher is learned from, an unchanged one costs nothing."""

import subprocess
import sys

import pytest

from tests.end_to_end.test_pipeline import environment, reused, write_recipe
from tests.fakes.teacher import fake_teacher

pytestmark = pytest.mark.slow


def refresh(root, teacher):
    command = [sys.executable, "-m", "soda", "run", "--pipeline", "refresh"]
    command += ["--recipe", str(root / "recipe.yaml"), "--root", str(root / "runs")]
    done = subprocess.run(command, env=environment(teacher), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def watched(done):
    """Return what the run's first line says of the teacher."""
    line = done.stdout.splitlines()[0]
    assert line.startswith("Look at the teacher ")
    return line.split()[-1]


def test_a_new_teacher_is_learned_from_an_unchanged_one_asks_the_probes_a_changed_one_all(tmp_path):
    write_recipe(tmp_path)
    with fake_teacher() as teacher:
        first = refresh(tmp_path, teacher)
        assert watched(first) == "new" and "tiny version 1 is the champion" in first.stdout
        assert teacher.asked.total() == 40

        probes = teacher.probed.total()
        again = refresh(tmp_path, teacher)
        assert watched(again) == "unchanged" and "is the champion" not in again.stdout
        assert teacher.asked.total() == 40 and teacher.probed.total() == probes + 12

        teacher.says = "what another model says"
        changed = refresh(tmp_path, teacher)
        assert watched(changed) == "changed" and "tiny version 2" in changed.stdout
        assert set(teacher.asked.values()) == {2}  # each prompt once more, and none twice
        assert "Student's answers" in reused(changed)  # the student's side is as it was
