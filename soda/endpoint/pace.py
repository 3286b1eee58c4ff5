"""How many requests are under way, and how soon the next may start.

The endpoint's limit is found by climbing: more requests at once are kept where they bring more
answers a second, fewer where they bring as many. A 429 lowers the rate of answers like a queue
does, so both kinds of limit are found the same way.
"""

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from soda.progress import say

__all__ = ["Climber", "Pace", "Rate"]

_START = 16
_GAIN = 1.05  # more requests at once must bring this much more
_LOSS = 0.98  # fewer may cost this much
_REST = 8  # rounds between two looks for a better level
_ANSWERS = 64  # in a round, at least, and
_ROUND_SECONDS = 1.0
_PAUSE_SECONDS = 0.1  # at most, after a 429 that names no time, while others are answered
_LONGEST_PAUSE_SECONDS = 60.0
_PATIENCE_SECONDS = 5.0  # a longer pause is said
_SILENCE_SECONDS = 60.0  # between two lines about a server that keeps us waiting


class Climber:
    """Finds the number of requests under way that brings most answers a second."""

    def __init__(self, ceiling: int, now: Callable[[], float] = time.monotonic):
        self.level = min(_START, ceiling)
        self._ceiling = ceiling
        self._now = now
        self._known = (0.0, self.level)  # answers a second, and at which level
        self._growing = True
        self._stride = 2.0  # by how much the next look goes up, or down
        self._rest = 0  # plain rounds since the last look
        self._begin_round()

    def _begin_round(self) -> None:
        self._unsettled = self.level  # answers to requests that began at the level before
        self._good = 0
        self._since = self._now()

    def answered(self) -> None:
        """Count one answer; at the end of a round the level may change."""
        if self._unsettled:
            self._unsettled -= 1
            if not self._unsettled:
                self._since = self._now()
            return
        self._good += 1
        took = self._now() - self._since
        half = 0.5 if self._growing else 1.0  # a doubling shows through more noise
        if self._good >= max(2 * self.level, half * _ANSWERS) and took >= half * _ROUND_SECONDS:
            self._judge(self._good / max(took, 1e-9))
            self._begin_round()

    def _judge(self, rate: float) -> None:
        known, level = self._known
        if self.level == level:
            self._judge_plain(rate, known)
        elif self.level < level:
            if rate < known * _LOSS:
                self._settle(known, level)
            else:
                self._known = (rate, self.level)
                self._look(self._stride)
        elif rate > known * (1 + self.level / level) / 2:  # half of what as many more should bring
            self._known = (rate, self.level)
            self._look(2.0)
        elif self._growing:
            self._growing = False  # a longer round at this level will tell
        elif rate > known * _GAIN:  # beyond the limit: what it takes at the pace of below it
            self._settle(rate, min(self.level, math.ceil(level * rate / known)))
        else:
            self._settle(known, level)

    def _judge_plain(self, rate: float, known: float) -> None:
        """See how the level does; now and then look at another."""
        self._rest += 1
        if known == 0:
            self._known = (rate, self.level)
            self._look(2.0)
            return
        self._known = ((known + rate) / 2, self.level)
        if self._rest >= _REST:
            self._look(1.25)
        elif self._rest == _REST // 2:
            self._look(0.8)

    def _look(self, stride: float) -> None:
        """Try another level for a round."""
        self._rest = 0 if stride > 1 else self._rest
        self._stride = stride
        self._growing = stride == 2.0 and self.level < self._ceiling
        wanted = math.ceil(self.level * stride) if stride > 1 else int(self.level * stride)
        self.level = min(self._ceiling, max(1, wanted))

    def _settle(self, rate: float, level: int) -> None:
        self._growing = False
        self._known, self.level = (rate, level), level


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
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ):
        self._climber = Climber(ceiling)
        self._requests = Rate(requests_per_minute)
        self._tokens = Rate(tokens_per_minute)
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

        Yields: when it began, on the monotonic clock; see `pause`.
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
            resume = self._resume_at - time.monotonic()
            while (wait := max(wait, resume)) > 0:
                await asyncio.sleep(wait)
                wait, resume = 0.0, self._resume_at - time.monotonic()
            yield time.monotonic()
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
        """Let nobody send for a time: the server's own, or a random one.

        The random one grows with the time since the first refusal after an answer: a refusal comes
        at once and an answer takes long, so the number of refusals in a row says nothing.

        Args:
            seconds: what the server named, if anything.
            problem: its words.
            sent_at: when the request began that was answered so. One that was under way when a
                pause began belongs to what that pause is for, and adds no random wait.
        """
        now = time.monotonic()
        if seconds is None:
            if sent_at <= self._paused_at:
                return
            self._paused_at = now
            self._refused_since = min(self._refused_since, now)
            refused = (now - self._refused_since) / 2
            seconds = random.uniform(0, min(_LONGEST_PAUSE_SECONDS, max(_PAUSE_SECONDS, refused)))
        self._resume_at = max(self._resume_at, now + seconds)
        left = self._resume_at - now
        if left > _PATIENCE_SECONDS and now - self._said_at > _SILENCE_SECONDS:
            self._said_at = now
            say(f"teacher-gen: waiting {left:.0f} s, as the teacher asks: {problem}")
