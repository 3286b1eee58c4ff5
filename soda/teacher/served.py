"""Whether the model that answered is the one that was asked for."""

import re

__all__ = ["as_asked", "spelling"]

_VERSION = re.compile(r"([-@:.](latest|preview|exp|v?\d[\d.-]*))+")


def spelling(name: str) -> str:
    """Return a model's name in one spelling: lists and answers have several of one model."""
    name = name.lower().removeprefix("models/")
    return re.sub(r"(:latest|@[\w.-]+)$", "", name)


def as_asked(asked: str, served: str | None) -> bool:
    """Tell whether a served name may be the asked one's, with a version or without a folder.

    `gpt-4o-2024-08-06` is a `gpt-4o`, and `gpt-4o-mini` is not. An answer without a name may be.
    """
    if served is None:
        return True
    one, other = (spelling(name).rpartition("/")[2] for name in (asked, served))
    return one == other or (
        other.startswith(one) and bool(_VERSION.fullmatch(other.removeprefix(one)))
    )
