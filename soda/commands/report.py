"""Make a report's page of artifacts alone: figures, lineage, time and cost by step."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from soda import storage
from soda.artifacts.artifact import Artifact
from soda.artifacts.kinds import Report, open_any
from soda.errors import ArtifactError
from soda.evaluation.report import render_html

__all__ = ["add_arguments", "make_page", "run_command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = (
        "Write a report as one page that fetches nothing. The more of the artifacts that it was "
        "made of are named, the more steps are listed with their time, cost and values."
    )
    parser.add_argument(
        "artifacts", nargs="+", metavar="DIR", help="a report of eval or judge, and any before it"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the page to write")


def run_command(parsed: argparse.Namespace) -> int:
    """Write the page."""
    page = make_page([open_any(each) for each in parsed.artifacts])
    with storage.explain_os_errors():
        parsed.out.parent.mkdir(parents=True, exist_ok=True)
        storage.write_atomically(parsed.out, page.encode())
    print(f"{parsed.out}: written")
    return 0


def make_page(artifacts: Sequence[Artifact]) -> str:
    """Return the page of the last report among some artifacts.

    Raises:
        ArtifactError: there is no report, or an artifact is none that the report was made of.
    """
    report, before = _ordered(artifacts)
    made = [*before, report]
    return render_html(
        report.figures(),
        list(report.read_rows(Report.SAMPLES)),
        report.charts(),
        steps=[_step(each) for each in made],
        recipe=_recipe(made),
    )


def _ordered(artifacts: Sequence[Artifact]) -> tuple[Report, list[Artifact]]:
    """Return the report, and what it was made of in an order in which each follows its inputs."""
    reports = [each for each in artifacts if isinstance(each, Report)]
    used = {digest for each in reports for digest in each.manifest.inputs.values()}
    last = [each for each in reports if each.digest not in used]
    if len(last) != 1:
        raise ArtifactError(f"report: expected one report, found {len(last)}")
    known = {each.digest: each for each in artifacts}
    order: list[Artifact] = []

    def visit(each: Artifact) -> None:
        for digest in each.manifest.inputs.values():
            if digest in known:
                visit(known[digest])
        if each not in order:
            order.append(each)

    visit(last[0])
    for each in artifacts:
        if known[each.digest] not in order:
            raise ArtifactError(f"{each.path}: expected what the report was made of, found another")
    return last[0], order[:-1]


def _step(made: Artifact) -> dict[str, Any]:
    account = made.manifest.account
    bill = account.get("judge", account)
    return {
        "stage": made.manifest.stage,
        "soda": made.manifest.soda,
        "digest": made.digest,
        "inputs": made.manifest.inputs,
        "seconds": account.get("seconds"),
        "usd": bill.get("usd"),
    }


def _recipe(made: Sequence[Artifact]) -> str:
    """Return the values of every step as a recipe; the first training of two is the warm-up."""
    trainings = [each for each in made if each.manifest.stage == "train"]
    recipe = {}
    for each in made:
        stage = each.manifest.stage
        first = len(trainings) > 1 and each is trainings[0]
        recipe["warm-up" if first else stage] = each.manifest.config | each.manifest.aside
    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
