"""Words of a text, in every script: what metrics compare and count.

A word is a run of letters, marks and digits. Scripts that are written without spaces (Chinese,
Japanese, Thai and others) have no such runs: there, every character with its marks is a word of its
own. A text without any word, such as an emoji or a formula's sign, is taken by its characters.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from soda.rows import normalized

if TYPE_CHECKING:
    from regex import Pattern

__all__ = ["holds", "numbers", "repeats", "script", "words"]

_NO_SPACES = (  # scripts without spaces between words, by their Unicode names
    *("Bopomofo", "Han", "Hiragana", "Katakana", "Nushu", "Tangut", "Yi"),
    *("Balinese", "Javanese", "Khmer", "Lao", "Myanmar", "New_Tai_Lue", "Tai_Le", "Tai_Tham"),
    *("Tai_Viet", "Thai", "Tibetan"),
)
_UNSPACED = "".join(rf"\p{{scx={name}}}" for name in _NO_SPACES)
# By `sc` alone, an accent that Tai Le also uses is still an accent of Latin and Cyrillic.
_OWN_MARKS = "".join(rf"\p{{sc={name}}}" for name in _NO_SPACES)
_MARK = rf"[\p{{M}}--[{_OWN_MARKS}]]"
_CHARACTER = rf"[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*"
_SPACED = rf"[[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]||{_MARK}]"
_KANA = r"[\p{Hiragana}\p{Katakana}]"
_SCRIPTS = {
    "Han": "Chinese",
    "Hangul": "Korean",
    **{name: name for name in ("Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari")},
    **{name: name for name in ("Ethiopic", "Georgian", "Greek", "Gujarati", "Gurmukhi", "Hebrew")},
    **{name: name for name in ("Kannada", "Khmer", "Lao", "Latin", "Malayalam", "Myanmar")},
    **{name: name for name in ("Oriya", "Sinhala", "Tamil", "Telugu", "Thai", "Tibetan")},
}
_DIGITS = r"(?:(?<![\p{L}\p{M}\p{N}])[.\u066b])?\d(?:\d|[.,'\u2019\u066c\u066b\u00a0\u202f](?=\d))*"
_NUMBER = (
    r"(\d{1,3}(?:[,'\u2019\u066c\u00a0\u202f]\d{3})+|\d+)(?:[.\u066b](\d+))?",
    r"(\d{1,3}(?:[.\u00a0\u202f]\d{3})+|\d+)(?:,(\d+))?",
    r"(\d{1,2}(?:,\d{2})+,\d{3})(?:\.(\d+))?",  # lakhs and crores: 1,00,000
    r"()[.\u066b](\d+)",
)
_RUN, _TIMES = 4, 3  # an answer goes in circles where a run of so many words comes so often
_CHARACTERS_A_WORD = 3  # where words are not spaced, roughly
_LONGEST_WORD = 80  # a longer run without spaces is looked at by its characters


@functools.cache
def _pattern(text: str) -> "Pattern[str]":
    import regex

    return regex.compile(text, regex.V1 | regex.DOTALL)


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: whatever their case, width and form."""
    text = normalized(text)
    found: list[str] = _pattern(f"{_CHARACTER}|{_SPACED}+").findall(text)
    return found or _pattern(r"\S\p{M}*").findall(text)


def holds(text: str, wanted: str) -> bool:
    """Say whether a text holds another as whole words.

    In scripts without spaces words may begin and end anywhere: 東京 is in 東京です.
    """
    import regex

    text, wanted = normalized(text), normalized(wanted)
    if not wanted:
        return False
    spaced = _pattern(_SPACED)
    before = rf"(?<!{_SPACED})" if spaced.match(wanted[0]) else ""
    before += r"(?<!\d[.,])" if wanted[0].isdigit() else ""
    after = rf"(?!{_SPACED})" if spaced.match(wanted[-1]) else r"(?!\p{M})"
    after += r"(?![.,]\d)" if wanted[-1].isdigit() else ""  # 12 is not in 12.5
    # not kept by `regex`'s own cache: as many patterns as there are prompts
    return regex.search(before + regex.escape(wanted) + after, text, regex.V1) is not None


def numbers(text: str) -> Iterator[Decimal]:
    """Yield the numbers that a text holds, in any script's digits.

    Thousands may be set apart, by a no-break space too: 1,234.5 and 1.234,5 are the same number.
    1,234 and 1.234 are read as in English, 1,00,000 as in India.
    """
    sign = rf"(?:(?<![\p{{L}}\p{{M}}\p{{N}}_)])[-+\u2212])?(?<!{_SPACED}|_|\d[.,])"
    for found in _pattern(rf"({sign})({_DIGITS})(?:[eE]([-+]?\d{{1,3}}))?").finditer(text):
        for whole, fraction in _read(found[2]):
            minus = "-" if found[1] in ("-", "\u2212") else ""
            yield Decimal(f"{minus}{whole}.{fraction or 0}e{found[3] or 0}")


def _read(run: str) -> Iterator[tuple[str, str | None]]:
    """Yield whole part and fraction of the number that digits and separators make, or numbers."""
    for form in _NUMBER:
        if found := _pattern(form).fullmatch(run):
            yield _pattern(r"\D").sub("", found[1]) or "0", found[2]
            return
    if "," in run:  # a list without spaces
        for part in run.split(","):
            yield from _read(part)


def repeats(text: str) -> bool:
    """Say whether a text goes in circles: some run of four words stands in it three times.

    Where words are not spaced, three characters count as one word.
    """
    parts: list[str] = []
    weights: list[int] = []  # in thirds of a word
    for word in normalized(text).split():
        if len(word) > _LONGEST_WORD:
            parts += word
            weights += [1] * len(word)
            continue
        for part in _pattern(rf"{_CHARACTER}|(?:(?!{_CHARACTER}).)+").findall(word):
            parts.append(part)
            weights.append(1 if _pattern(_CHARACTER).match(part) else _CHARACTERS_A_WORD)
    runs: Counter[tuple[str, ...]] = Counter()
    end = weight = 0
    for start in range(len(parts)):
        while end < len(parts) and weight < _RUN * _CHARACTERS_A_WORD:
            weight += weights[end]
            end += 1
        if weight < _RUN * _CHARACTERS_A_WORD:
            break
        runs[tuple(parts[start:end])] += 1
        weight -= weights[start]
    return max(runs.values(), default=0) >= _TIMES


def script(text: str) -> str:
    """Return the script that most letters of a text are in, by a name that people know it by.

    A text in Chinese characters with a tenth of kana is Japanese; one without letters is "none".
    """
    counts: Counter[str] = Counter()
    for unicode, name in _SCRIPTS.items():
        counts[name] += len(_pattern(rf"[\p{{L}}&&\p{{{unicode}}}]").findall(text))
    kana = len(_pattern(rf"[\p{{L}}&&{_KANA}]").findall(text))
    if kana * 9 >= counts["Chinese"]:
        counts["Japanese"] = kana + counts.pop("Chinese")
    name, count = counts.most_common(1)[0]
    others = len(_pattern(r"\p{L}").findall(text)) - counts.total()
    return name if count > max(others, 0) else ("other" if others > 0 else "none")
