"""Which failures are worth another try, and how long to wait before it."""

import email.utils
import random
import time

__all__ = ["ATTEMPTS", "RETRIED_STATUSES", "backoff_seconds", "retry_after_seconds"]

ATTEMPTS = 6
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT_SECONDS = 60.0


def backoff_seconds(attempt: int) -> float:
    """Return a random wait that doubles its range with every attempt, counted from 0.

    "Full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(_LONGEST_WAIT_SECONDS, 0.5 * 2 ** min(attempt, 16)))


def retry_after_seconds(header: str | None, date: str | None = None) -> float | None:
    """Read a Retry-After header in either form, seconds or a date; None if it is neither.

    Args:
        header: the header.
        date: the response's own Date header: a date to wait for is compared with the server's
            clock, as ours may be wrong. Without it ours is used.
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    until = _timestamp(header)
    if until is None:
        return None
    now = _timestamp(date) if date else None
    return max(0.0, until - (time.time() if now is None else now))


def _timestamp(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
