"""Waits that cost a test nothing, and a clock that runs only while somebody waits."""

import asyncio

from soda.endpoint.waits import Waits

SHORT = Waits(longest=0.005, crowd=0.02, outage=0.0, poll=0.01)


class Clock:
    """A clock that stands still but for what is waited for, which takes no time."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.waited.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    def waits(self, **values: float) -> Waits:
        """Return waits by this clock."""
        return Waits(now=self, sleep=self.sleep, **values)
