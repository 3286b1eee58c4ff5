"""A part of the work, one of several machines': `2/8` is every eighth item from the second."""

import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Shard", "part_of"]


def _check(shard: str) -> str:
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", shard)
    if not found or int(found[1]) > int(found[2]):
        raise ValueError(f"expected a shard such as 2/8, found '{shard}'")
    return shard


Shard = Annotated[str, AfterValidator(_check)]


def part_of(shard: str) -> slice:
    """Return a shard's items among all."""
    first, _, of = shard.partition("/")
    return slice(int(first) - 1, None, int(of))
