"""Several trainings side by side, as a page with a figure and as a table."""

from collections.abc import Mapping
from typing import Any

from soda.evaluation.templates import templates

__all__ = ["render_comparison"]

_TEMPLATES = ("comparison.html.j2", "comparison.md.j2")
_LEFT, _WIDTH, _LINE = 130, 420, 20  # of a figure, in its own pixels


def render_comparison(page: Mapping[str, Any]) -> dict[str, str]:
    """Return the pages by the names of their files."""
    seeds = sorted(set(page["seeds"].values()))
    drawn = {
        "differences": [_figure(row, page["names"], "beside") for row in page["rows"]],
        "changes": [_figure(row, page["names"], "change") for row in page["rows"]],
        "seeds_of_each": seeds[0] if len(seeds) == 1 else None,
    }
    return {
        name.removesuffix(".j2"): templates(autoescape=".html" in name)
        .get_template(name)
        .render(**page, **drawn)
        for name in _TEMPLATES
    }


def _figure(row: Mapping[str, Any], names: list[str], of: str) -> dict[str, Any]:
    """Return a metric's changes or differences as points with intervals, in pixels."""
    changes = {name: row["trained"][name][of] for name in names if row["trained"][name][of]}
    ends = [0.0, *(value for change in changes.values() for value in change.values())]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def across(value: float) -> float:
        return float(round(_LEFT + (_WIDTH - _LEFT - 10) * (value - low) / span, 1))

    points = [
        {
            "name": name,
            "y": 14 + _LINE * number,
            **{key: across(value) for key, value in change.items()},
        }
        for number, (name, change) in enumerate(changes.items())
    ]
    return {
        "label": row["label"],
        "zero": across(0.0),
        "height": 14 + _LINE * len(changes),
        "width": _WIDTH,
        "low": f"{low:+.3f}",
        "high": f"{high:+.3f}",
        "points": points,
    }
