"""The command line, `soda COMMAND`: a stage or a tool, of which only the wanted one is imported."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import NoReturn

from soda import __version__
from soda.errors import ConfigError, SodaError, refuse
from soda.progress import close_bars
from soda.stages import STAGES

__all__ = ["TOOLS", "main"]

# What is no stage. Each module has `add_arguments(parser)` and `run_command(parsed) -> exit code`.
TOOLS = {
    "quickstart": ("soda_pipelines.quickstart", "the whole pipeline on a laptop, with no key"),
    "run": ("soda_pipelines.local", "run a recipe from prompts to a registered student, here"),
    "preflight": ("soda.commands.preflight", "check in seconds whether a run can work"),
    "plan": ("soda.commands.plan", "say what teacher-gen will ask, and what it will cost"),
    "watch": ("soda.commands.watch", "say whether the champion's teacher has changed"),
    "show": ("soda.commands.show", "show an artifact, its funnel, and the rows that were dropped"),
    "report": ("soda.commands.report", "make a report's page of artifacts alone"),
    "registry": ("soda.commands.registry", "list, promote, roll back, diff registered versions"),
    "compile": ("soda_pipelines.compile", "write a pipeline's spec, for any KFP v2 cluster"),
    "lint": ("soda.lint.command", "check compiled KFP pipelines, ours or anybody's"),
    "submit": ("soda_pipelines.submit", "start a run on a cluster"),
    "schedule": ("soda_pipelines.schedule", "make a cluster's recurring runs those of a file"),
    "gitops": ("soda_pipelines.gitops", "write a run's pipeline and kustomization for Git"),
}
# Package -> what of soda-distill brings it in.
_EXTRAS = {
    **dict.fromkeys(("kfp", "kfp_server_api", "kubernetes"), "kfp"),
    **dict.fromkeys(("datasets", "transformers"), "cpu"),
    "mlflow": "mlflow",
    "cryptography": "signed",
    **dict.fromkeys(
        ("accelerate", "gguf", "lm_eval", "rouge_score", "safetensors", "torch"), "gpu"
    ),
}
_HELP = """usage: soda COMMAND ...

Distil a large teacher, reached only through an API, into a small student.

stages: each makes one artifact, a folder, from finished ones

  prompts ──> teacher answers ──┬─> warmed-up student ─┐
     └──────> student answers ──┴─> pairs ─────────────┴─> trained student ─> report ─> registration

{stages}

tools

{tools}

`soda COMMAND --help` explains a command; of a stage, also the values a recipe can give it.
`soda --version` prints the version."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; with 2 and one line where the user can act."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        raise SystemExit(_dispatch(words))
    except SodaError as error:
        raise refuse(error) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        install = f"pip install 'soda-distill[{_EXTRAS[package]}]'"
        raise refuse(ConfigError(f"expected the package {package}; {install}")) from None
    except KeyboardInterrupt:
        close_bars()
        print("soda: stopped; run the same command to go on", file=sys.stderr)
        raise SystemExit(130) from None


def _dispatch(words: list[str]) -> int:
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if name == "--version":
        print(__version__)
        return 0
    parser = argparse.ArgumentParser(
        prog=f"soda {name}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if name in STAGES:
        from soda.commands import run_stage

        run_stage.add_arguments(parser, name)
        return run_stage.run_command(parser.parse_args(rest), name)
    if name not in TOOLS:
        from soda.config import suggest

        raise ConfigError(f"no command '{name}'; {suggest(name, [*STAGES, *TOOLS])}")
    module = importlib.import_module(TOOLS[name][0])
    module.add_arguments(parser)
    return int(module.run_command(parser.parse_args(rest)))


def _help() -> str:
    """Return what `soda --help` prints; a stage's line is the first of its file's docstring."""
    stages = {name: _first_line(name.replace("-", "_")) for name in STAGES}
    tools = {name: text for name, (_, text) in TOOLS.items()}
    return _HELP.format(stages=_table(stages), tools=_table(tools))


def _table(rows: dict[str, str]) -> str:
    return "\n".join(f"  {name:<18}{text}" for name, text in rows.items())


def _first_line(stage: str) -> str:
    with (Path(__file__).parent / "stages" / f"{stage}.py").open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')
