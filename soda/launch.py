"""Run a stage as a process of its own would: under `accelerate launch` where there are devices."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from soda.artifact import Artifact
from soda.errors import SodaError
from soda.stage import load_stage, run

__all__ = ["launch", "refuse"]


def refuse(error: SodaError) -> SystemExit:
    """Print a refusal as one line and return the exit to raise: code 2."""
    print(f"soda: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return SystemExit(2)


def launch(
    name: str, *, inputs: Mapping[str, str | Path], config: Mapping[str, Any], out: str | Path
) -> Artifact:
    """Run a stage like `soda.run`, and end the process with one line and code 2 if it refuses.

    SODA_ACCELERATE holds the arguments of `accelerate launch`, such as `--num_processes 8
    --use_fsdp`. Without it the stage runs in this process.

    Raises:
        SystemExit: the stage refused (code 2), or a launched process failed (its own code).
    """
    arguments = os.environ.get("SODA_ACCELERATE")
    try:
        if arguments is None:
            return run(name, inputs=inputs, config=config, out=out)
        stage = load_stage(name)
        stage.config.parse(config)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as recipe:
            yaml.safe_dump({stage.name: dict(config)}, recipe)
            recipe.flush()
            command = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(arguments)]
            command += ["-m", "soda", stage.name, "--recipe", recipe.name, "--out", str(out)]
            for key, path in inputs.items():
                command += [f"--{key}", str(path)]
            code = subprocess.run(command, check=False).returncode
        if code:
            raise SystemExit(code)
        return stage.output.open(out)
    except SodaError as error:
        raise refuse(error) from None
