"""Which kind of prompt one is, as far as its text alone says: for figures by slice."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from soda.rows import Expected, Message

__all__ = ["slices_of"]

_LENGTHS = ((200, "under 200 characters"), (1000, "200 to 1,000 characters"))
_LETTERS = 200  # are looked at
_SCRIPTS = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


def slices_of(messages: Sequence[Message], expected: Expected | None = None) -> dict[str, str]:
    """Return the slices that a prompt belongs to: its length, script, turns, and if checkable."""
    text = messages[-1]["content"]
    length = next((name for end, name in _LENGTHS if len(text) < end), "over 1,000 characters")
    return {
        "length": length,
        "script": _script(text),
        "turns": "one" if sum(turn["role"] == "user" for turn in messages) < 2 else "several",
        "checkable": "no" if expected is None else "yes",
    }


def _script(text: str) -> str:
    """Return the script of most letters; kana make Chinese characters Japanese."""
    found: Counter[str] = Counter()
    for letter in filter(str.isalpha, text[: 4 * _LETTERS]):
        word = unicodedata.name(letter, "").partition(" ")[0]
        found[_SCRIPTS.get(word, word.capitalize())] += 1
    if found["Japanese"] and found["Chinese"]:
        found["Japanese"] += found.pop("Chinese")
    return found.most_common(1)[0][0] if found else "none"
