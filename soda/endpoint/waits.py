"""The clock, and how long is waited for what: one value, so that a test brings its own."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Waits"]


@dataclass(frozen=True, slots=True)
class Waits:
    """How long to wait for what, in seconds, and by which clock."""

    longest: float = 60.0  # between two attempts, and after a 429 that names no time
    crowd: float = 0.1  # after such a 429, at most, while other requests are answered
    outage: float = 150.0  # a server that answered before may be down so long, as in a restart
    poll: float = 30.0  # between two looks at a batch
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def backoff(self, attempt: int) -> float:
        """Return a random wait that doubles its range with every attempt, counted from 0.

        "Full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        return random.uniform(0, min(self.longest, 0.5 * 2 ** min(attempt, 16)))
