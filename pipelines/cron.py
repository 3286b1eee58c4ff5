"""The six fields of a recurring run's cron expression, checked before anything is sent."""

import re

__all__ = ["check_cron"]

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_PART = re.compile(r"(?:\*|\?|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>[1-9]\d*))?")


def check_cron(text: str) -> str:
    """Return the expression if Kubeflow's scheduler (robfig/cron v1) reads it as it is meant.

    Raises:
        ValueError: it does not have six fields, or one of them is out of range.
    """
    fields = text.split()
    if len(fields) == 5:
        raise ValueError(
            f"expected six fields, seconds first, found five in '{text}'; "
            f"did you mean '0 {' '.join(fields)}'?"
        )
    if len(fields) != 6:
        raise ValueError(f"expected six fields, seconds first, found {len(fields)} in '{text}'")
    for field, (name, least, most, words) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if not _is_valid(part, least, most, words):
                spelled = f" or {words[0]} to {words[-1]}" if words else ""
                raise ValueError(
                    f"expected {least} to {most}{spelled}, '*', a-b or */n as {name}, "
                    f"found '{part}' in '{text}'"
                )
    return " ".join(fields)


def _is_valid(part: str, least: int, most: int, words: tuple[str, ...]) -> bool:
    found = _PART.fullmatch(part)
    if not found:
        return False
    ends = [end for end in (found["low"], found["high"]) if end is not None]
    numbers = [_number(end, least, words) for end in ends]
    return all(least <= number <= most for number in numbers) and numbers == sorted(numbers)


def _number(text: str, least: int, words: tuple[str, ...]) -> int:
    if text.upper() in words:
        return words.index(text.upper()) + least
    return int(text) if text.isascii() and text.isdigit() else -1
