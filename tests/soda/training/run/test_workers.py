"""A launcher's exit code is that of the worker that failed first, under accelerate and torchrun."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
# A refusal is code 2, and a shell calls a process that SIGKILL ended 137; the launchers say 1.
REFUSED = ["-m", "soda", "train", "--recipe", "missing.yaml", "--data", "a", "--model", "b"]
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    "launcher",
    [
        ["torchrun", "--nnodes", "1", "--nproc-per-node", "2", "--master-port", "0"],
        ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"],
    ],
    ids=["torchrun", "accelerate"],
)
@pytest.mark.parametrize(("what", "code"), [("refused", 2), ("killed", 137)])
def test_the_exit_code_is_the_workers(launcher, what, code, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    words = [*REFUSED, "--out", str(tmp_path / "out")] if what == "refused" else [str(script)]
    command = [sys.executable, "-m", "soda.training.run.workers", *launcher, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stderr
