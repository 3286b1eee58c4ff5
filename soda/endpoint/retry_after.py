"""How long a server asks us to wait, in the headers it has for that."""

import email.utils
import math
import time
from collections.abc import Mapping

__all__ = ["retry_after_seconds"]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`, seconds or a date, and `retry-after-ms`; None if neither names a time.

    No time is what is not finite or not later than now: a server that says "0" and refuses again
    has said nothing. A date is compared with the server's own clock, its Date header, as ours may
    be wrong; without one ours is used.
    """
    found = _seconds(headers.get("retry-after-ms", ""))
    if found is not None:
        return found / 1000
    header = headers.get("retry-after", "")
    found = _seconds(header)
    if found is not None or _is_number(header):
        return found
    until, now = _timestamp(header), _timestamp(headers.get("date", ""))
    if until is None:
        return None
    wait = until - (time.time() if now is None else now)
    return wait if wait > 0 else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(text: str) -> float | None:
    found = float(text) if _is_number(text) else 0.0
    return found if math.isfinite(found) and found > 0 else None


def _timestamp(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
