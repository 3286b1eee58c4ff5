"""Show an artifact: what it is, where its rows were lost, and the rows of one bucket."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from soda.artifacts.artifact import Artifact
from soda.artifacts.kinds import Pairs, open_any
from soda.artifacts.writer import DROPS
from soda.audit.funnel import build_funnel
from soda.config import suggest
from soda.errors import ConfigError

__all__ = ["add_arguments", "funnel_of", "rows_of", "run_command"]

_KEPT = "kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = "Show an artifact; with --reason, the rows that one bucket holds."
    parser.add_argument("artifact", metavar="DIR", help="a finished artifact, of any kind")
    parser.add_argument(
        "--reason",
        metavar="R",
        help="list the dropped rows of a reason or of a step of the funnel, or those that were "
        "kept: a JSON line each",
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Print it."""
    made = open_any(parsed.artifact)
    lines = _summary(made) if parsed.reason is None else rows_of(made, parsed.reason)
    for line in lines:
        print(line)
    return 0


def _summary(made: Artifact) -> Iterator[str]:
    manifest = made.manifest
    by = f"{manifest.stage} of soda {manifest.soda}"
    yield f"{made.path}: {made.kind} {made.digest[:12]}, made by {by}"
    for name, digest in manifest.inputs.items():
        yield f"  from {name}: {digest}"
    for name, count in manifest.rows.items():
        yield f"  {count:>8} rows in {name}"
    if not isinstance(made, Pairs):
        for reason, count in manifest.drops.items():
            yield f"  {count:>8} dropped: {reason}"
        return
    yield "  funnel:"
    for step in funnel_of(made):
        lost = ", ".join(f"{count} {reason}" for reason, count in step["lost"].items())
        yield f"  {step['rows']:>8} {step['name']}" + (f" (lost: {lost})" if lost else "")
    audit = made.audit()
    if audit is not None:
        yield f"  gap: {audit['gap']['decision']}: {audit['gap']['reason']}"


def funnel_of(pairs: Pairs) -> list[dict[str, Any]]:
    """Return the steps from prompts to pairs: name, rows, lost."""
    drops = pairs.manifest.drops
    found = build_funnel(len(pairs) + sum(drops.values()), drops, len(pairs))
    return [{"name": step.name, "rows": step.rows, "lost": step.lost} for step in found.steps]


def rows_of(made: Artifact, reason: str) -> Iterator[str]:
    """Return the rows of one bucket, a JSON line each.

    Raises:
        ConfigError: there is no such bucket.
    """
    reasons = {reason}
    steps = {}
    if isinstance(made, Pairs):
        steps = {step["name"]: set(step["lost"]) for step in funnel_of(made)}
        reasons = steps.get(reason, reasons)
    known = {*made.manifest.drops, *steps, _KEPT}
    if reason not in known:
        raise ConfigError(f"{made.path}: no rows of '{reason}'; {suggest(reason, known)}")
    if reason == _KEPT:
        for name in made.manifest.rows:
            for row in made.read_rows(name):
                yield json.dumps(row, ensure_ascii=False)
        return
    for row in made.read_rows(DROPS):
        if row["reason"] in reasons:
            yield json.dumps(row, ensure_ascii=False)
