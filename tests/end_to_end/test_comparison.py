"""SODA, SeqKD and GAD side by side on KFP's local runner, on the tiny student."""

import subprocess
import sys

import pytest

from tests.end_to_end.test_pipeline import environment, write_recipe
from tests.fakes.teacher import fake_teacher

pytestmark = pytest.mark.slow


def test_three_methods_learn_from_the_same_answers_and_end_in_one_table(tmp_path):
    values = {"adversarial": {"rollouts": 2, "max_new_tokens": 4}, "epochs": 1}
    write_recipe(tmp_path, train={**values, "health": {"answers": 0}})
    command = [sys.executable, "-m", "soda", "run", "--pipeline", "compare"]
    command += ["--recipe", str(tmp_path / "recipe.yaml"), "--root", str(tmp_path / "runs")]
    with fake_teacher() as teacher:
        done = subprocess.run(command, env=environment(teacher), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert teacher.asked.total() == 40  # once for all three
    assert "| metric | base | SODA | SeqKD | GAD |" in done.stdout
    assert "| training, seconds |" in done.stdout
    assert not (tmp_path / "registry").exists()  # it registers nothing
