"""Which kind of prompt one is, as far as its text alone says: for figures by slice."""

from collections.abc import Sequence

from soda.rows import Expected, Message
from soda.words import script

__all__ = ["slices_of"]

_LENGTHS = ((200, "under 200 characters"), (1000, "200 to 1,000 characters"))


def slices_of(messages: Sequence[Message], expected: Expected | None = None) -> dict[str, str]:
    """Return the slices that a prompt belongs to: its length, script, turns, and if checkable."""
    text = messages[-1]["content"]
    length = next((name for end, name in _LENGTHS if len(text) < end), "over 1,000 characters")
    return {
        "length": length,
        "script": script(text),
        "turns": "one" if sum(turn["role"] == "user" for turn in messages) < 2 else "several",
        "checkable": "no" if expected is None else "yes",
    }
