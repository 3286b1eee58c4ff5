"""What a signal does to a run: nothing more is sent, and what is under way ends."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["Stopped", "stopping"]

_DRAIN_SECONDS = 25.0  # Kubernetes kills a pod 30 seconds after it asks it to stop


class Stopped(BaseException):
    """A signal asked the process to stop; all that was answered is kept."""

    def __init__(self, number: int):
        super().__init__(signal.strsignal(number))
        self.number = number


@contextlib.contextmanager
def stopping(stop: Callable[[Stopped], None], give_up: Callable[[], None]) -> Iterator[None]:
    """On SIGTERM or SIGINT let requests under way end, until a second one or 25 seconds.

    Args:
        stop: sends nothing more.
        give_up: ends what is still under way.
    """
    loop = asyncio.get_running_loop()
    came: list[int] = []

    def hear(number: int) -> None:
        if came:
            give_up()
        came.append(number)
        stop(Stopped(number))
        loop.call_later(_DRAIN_SECONDS, give_up)

    numbers = [signal.SIGTERM, signal.SIGINT]
    try:
        for number in numbers:
            loop.add_signal_handler(number, hear, number)
    except (RuntimeError, ValueError):  # another thread than the main one gets no signals
        numbers = []
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
