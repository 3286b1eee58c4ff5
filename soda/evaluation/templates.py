"""The templates of reports: one way to load them."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from soda.escape import escape_markdown

__all__ = ["SHARED", "templates"]

SHARED = ("page.html.j2", "evidence.html.j2")  # only templates name them: here keys see them


def templates(*, autoescape: bool) -> Environment:
    """Return the templates of this folder; a name that a page does not give is an error.

    Args:
        autoescape: write what is put in as HTML writes text.
    """
    environment = Environment(
        loader=PackageLoader("soda", "evaluation"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = escape_markdown
    return environment
