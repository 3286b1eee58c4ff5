"""How many requests under way bring most answers a second.

An endpoint's limit is found by climbing: more requests at once are kept where they bring more
answers a second, fewer where they bring as many. A 429 lowers the rate of answers like a queue
does, so both kinds of limit are found the same way.
"""

import math
import time
from collections.abc import Callable

__all__ = ["Climber"]

_START = 16
_GAIN = 1.05  # more requests at once must bring this much more
_LOSS = 0.98  # fewer may cost this much
_REST = 8  # rounds between two looks for a better level
_ANSWERS = 64  # in a round, at least, and
_ROUND_SECONDS = 1.0


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
