"""The page of an audit: is the teacher better, where prompts were lost, what the data is like."""

from collections.abc import Mapping
from typing import Any

from soda.evaluation.templates import templates

__all__ = ["render_audit", "say_gap"]

_HEADLINES = {
    "pass": "The teacher is clearly better.",
    "fail": "The teacher is not clearly better.",
    "not shown": "It is not shown that the teacher is clearly better.",
    "not measured": "Nobody has measured whether the teacher is better.",
}


def render_audit(audit: Mapping[str, Any]) -> str:
    """Return the page of what `audit.json` holds; it fetches nothing and runs no script."""
    page = (
        templates(autoescape=True)
        .get_template("audit.html.j2")
        .render(audit=audit, title="Audit", headline=say_gap(audit), details=_details(audit))
    )
    return page.encode(errors="replace").decode()


def say_gap(audit: Mapping[str, Any]) -> str:
    """Return what the gap gate decided, in one sentence."""
    return _HEADLINES[audit["gap"]["decision"]]


def _details(audit: Mapping[str, Any]) -> list[str]:
    first, last = audit["funnel"][0]["rows"], audit["funnel"][-1]["rows"]
    reason = audit["gap"]["reason"]
    return [f"{reason[:1].upper()}{reason[1:]}.", f"{first} prompts gave {last} pairs."]
