"""Which failures are worth another try, and how long to wait before it."""

import email.utils
import random
import time

__all__ = ["RETRIED_STATUSES", "backoff_seconds", "retry_after_seconds"]

RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT_SECONDS = 60.0


def backoff_seconds(attempt: int) -> float:
    """Return a random wait that doubles its range with every attempt, counted from 0.

    "Full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(_LONGEST_WAIT_SECONDS, 0.5 * 2**attempt))


def retry_after_seconds(header: str | None) -> float | None:
    """Read a Retry-After header in either form, seconds or a date; None if it is neither."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
