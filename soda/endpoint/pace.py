"""When the next request may start: so many at once, so many a minute, none after a 429."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from soda.endpoint.caller import Caller
from soda.endpoint.climber import Climber
from soda.endpoint.waits import Waits
from soda.progress import say

__all__ = ["Pace", "Rate"]

_PATIENCE_SECONDS = 5.0  # a longer pause is said
_SILENCE_SECONDS = 60.0  # between two lines about a server that keeps us waiting


class Rate:
    """A ceiling of so many units a minute, without bursts."""

    def __init__(self, per_minute: float | None, now: Callable[[], float] = time.monotonic):
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._now = now
        self._free_at = 0.0

    def take(self, units: float) -> float:
        """Take units, and return how many seconds to wait before they may be used."""
        start = max(self._now(), self._free_at)
        self._free_at = start + units * self._seconds_each
        return start - self._now()

    def give_back(self, units: float) -> None:
        """Return units that were taken and not used."""
        self._free_at -= units * self._seconds_each


class Pace:
    """Lets requests start: so many at once, so many a minute, and none while a 429 says wait."""

    def __init__(
        self,
        ceiling: int,
        caller: Caller,
        waits: Waits,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ):
        self._caller = caller
        self._waits = waits
        self._now = waits.now
        self._climber = Climber(ceiling, waits.now)
        self._requests = Rate(requests_per_minute, waits.now)
        self._tokens = Rate(tokens_per_minute, waits.now)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._resume_at = 0.0
        self._paused_at = float("-inf")
        self._refused_since = float("inf")
        self._said_at = float("-inf")
        self.under_way = 0

    @property
    def level(self) -> int:
        """How many requests may be under way now."""
        return self._climber.level

    @contextlib.asynccontextmanager
    async def turn(self, tokens: int) -> AsyncIterator[float]:
        """Wait for a turn to send one request of at most so many tokens, and hold it.

        Yields: when it began, by the clock; see `pause`.
        """
        while self.under_way >= self.level:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # it may have been this one's turn
                raise
        self.under_way += 1
        try:
            wait = max(self._requests.take(1), self._tokens.take(tokens))
            resume = self._resume_at - self._now()
            while (wait := max(wait, resume)) > 0:
                await self._waits.sleep(wait)
                wait, resume = 0.0, self._resume_at - self._now()
            yield self._now()
        finally:
            self.under_way -= 1
            self._wake()

    def _wake(self) -> None:
        free = self.level - self.under_way
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def answered(self, unused_tokens: int = 0) -> None:
        """Count an answer; tokens that it did not need are free for others."""
        self._refused_since = float("inf")
        self._tokens.give_back(unused_tokens)
        self._climber.answered()

    def pause(self, seconds: float | None, problem: str, sent_at: float) -> None:
        """Let nobody send for a time: the server's own, or a random one, whichever is longer.

        The random one grows with the time since the first refusal after an answer: a refusal comes
        at once and an answer takes long, so the number of refusals in a row says nothing. It also
        keeps us from a server that names one short time again and again.

        Args:
            seconds: what the server named, if anything.
            problem: its words.
            sent_at: when the request began that was answered so. One that was under way when a
                pause began belongs to what that pause is for, and adds no random wait.
        """
        now = self._now()
        wait = seconds or 0.0
        if sent_at > self._paused_at:
            self._paused_at = now
            self._refused_since = min(self._refused_since, now)
            refused = (now - self._refused_since) / 2
            crowd = 0.0 if seconds else self._waits.crowd
            wait = max(wait, random.uniform(0, min(self._waits.longest, max(crowd, refused))))
        self._resume_at = max(self._resume_at, now + wait)
        left = self._resume_at - now
        if left > _PATIENCE_SECONDS and now - self._said_at > _SILENCE_SECONDS:
            self._said_at = now
            caller = self._caller
            say(f"{caller.name}: waiting {left:.0f} s, as the {caller.asked} asks: {problem}")
