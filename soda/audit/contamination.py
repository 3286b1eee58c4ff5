"""Held-out items that stand in the prompts: what a student has seen, it cannot be measured on."""

import functools
import hashlib
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["HeldOut", "Match", "measure_recall"]

Array = NDArray[Any]
_LONG = 13  # words that no two texts share by accident (Brown et al. 2020, appendix C)
_SHORT = 4  # an item of fewer words is only found where it is the whole prompt
_TEMPLATE_SHARE, _TEMPLATE_ITEMS = 0.05, 5  # an n-gram of more items is their template, not theirs
# Scripts that are written without spaces count a character as a word.
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_FACTOR = 0x9E3779B97F4A7C15  # odd: hashes of n-grams are polynomials in it, modulo 2^64


@dataclass(frozen=True, slots=True)
class Match:
    """A held-out item that was found in a prompt."""

    item: str
    how: Literal["exact", "normalized", "n-gram"]


class HeldOut:
    """An index of held-out items, which prompts are then held against one by one.

    It holds 12 bytes for each word of the items and nothing of the prompts. An n-gram is 13 words,
    or all words of an item that has 4 to 12.
    """

    def __init__(self, items: Iterable[tuple[str, str]]):
        """Index items.

        Args:
            items: id and text of each.
        """
        self.ids: list[str] = []
        self._exact: dict[bytes, int] = {}
        self._normalized: dict[bytes, int] = {}
        pieces: dict[int, list[tuple[Array, int]]] = {}
        for name, text in items:
            place = len(self.ids)
            self.ids.append(name)
            words = _words(text)
            if text.strip():
                self._exact.setdefault(_digest(text), place)
            if words:
                self._normalized.setdefault(_digest(" ".join(words)), place)
            size = min(len(words), _LONG)
            if size >= _SHORT:
                pieces.setdefault(size, []).append((np.unique(_hashes(words, size)), place))
        most = max(_TEMPLATE_ITEMS, _TEMPLATE_SHARE * len(self.ids))
        self._grams = {size: _index(found, most) for size, found in sorted(pieces.items())}

    def find(self, prompt: str) -> Match | None:
        """Return the first held-out item that stands in a prompt, or None."""
        place = self._exact.get(_digest(prompt))
        if place is not None:
            return Match(self.ids[place], "exact")
        words = _words(prompt)
        place = self._normalized.get(_digest(" ".join(words))) if words else None
        if place is not None:
            return Match(self.ids[place], "normalized")
        hashed = _word_hashes(words)
        for size, (grams, places) in self._grams.items():
            if len(words) >= size and len(grams):
                wanted = _roll(hashed, size)
                at = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
                hits = np.flatnonzero(grams[at] == wanted)
                if len(hits):
                    return Match(self.ids[int(places[at[hits[0]]])], "n-gram")
        return None


def measure_recall(
    items: Mapping[str, str], count: int = 200, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Plant known items, and return for each way of planting how many of them were found.

    `verbatim`: as they are. `reformatted`: case, punctuation and lines changed. `embedded`: in the
    middle of other text. `short`: only those under 13 words, reformatted and embedded. A way for
    which there is no item is left out.

    Args:
        items: id -> text, the ones that prompts are held against.
        count: planted for each way, at most.
    """
    held_out = HeldOut(items.items())
    names = sorted(name for name, text in items.items() if _words(text))
    random.Random(seed).shuffle(names)
    short = [name for name in names if len(_words(items[name])) < _LONG]
    ways: dict[str, tuple[list[str], Callable[[str], str]]] = {
        "verbatim": (names, str),
        "reformatted": (names, _reformat),
        "embedded": (names, _embed),
        "short": (short, lambda text: _embed(_reformat(text))),
    }
    found: dict[str, dict[str, float]] = {}
    for way, (chosen, change) in ways.items():
        planted = chosen[:count]
        if planted:
            hits = sum(held_out.find(change(items[name])) is not None for name in planted)
            found[way] = {"planted": len(planted), "found": hits, "recall": hits / len(planted)}
    return found


def _reformat(text: str) -> str:
    words = re.sub(r"[^\w\s]", " ", text).upper().split()
    lines = [" ".join(words[start : start + 7]) for start in range(0, len(words), 7)]
    return "1) " + " -\n\t".join(lines) + " ..."


def _embed(text: str) -> str:
    return f"I was given this to do and need your help:\n\n{text}\n\nAnswer in two sentences."


def _words(text: str) -> list[str]:
    return _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


@functools.lru_cache(maxsize=1 << 17)
def _hash(word: str) -> int:
    raw = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "little")


def _word_hashes(words: list[str]) -> Array:
    return np.fromiter(map(_hash, words), dtype=np.uint64, count=len(words))


def _roll(hashed: Array, size: int) -> Array:
    """Return the hash of every run of so many words."""
    windows = np.lib.stride_tricks.sliding_window_view(hashed, size)
    powers = np.array([pow(_FACTOR, place, 1 << 64) for place in range(size)], dtype=np.uint64)
    found: Array = (windows * powers).sum(axis=1, dtype=np.uint64)
    return found


def _hashes(words: list[str], size: int) -> Array:
    return _roll(_word_hashes(words), size)


def _index(found: list[tuple[Array, int]], most: float) -> tuple[Array, Array]:
    """Return n-grams in order and the item each is from; those of too many items are left out."""
    grams = np.concatenate([hashes for hashes, _ in found])
    places = np.repeat([place for _, place in found], [len(hashes) for hashes, _ in found])
    unique, first, counts = np.unique(grams, return_index=True, return_counts=True)
    own = counts <= most
    return unique[own], places[first[own]].astype(np.int32)
