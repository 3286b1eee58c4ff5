"""Several trainings side by side, as a page and as a table."""

from collections.abc import Mapping
from typing import Any

from soda.evaluation.templates import templates

__all__ = ["render_comparison"]

_TEMPLATES = ("comparison.html.j2", "comparison.md.j2")


def render_comparison(page: Mapping[str, Any]) -> dict[str, str]:
    """Return the pages by the names of their files."""
    return {
        name.removesuffix(".j2"): templates(autoescape=".html" in name)
        .get_template(name)
        .render(**page)
        for name in _TEMPLATES
    }
