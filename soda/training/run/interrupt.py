"""SIGTERM, as a cluster sends it before it takes a machine away: stop at the next good moment."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["Interrupt", "listen"]


class Interrupt:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.came = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        self.came = True


@contextlib.contextmanager
def listen() -> Iterator[Interrupt]:
    """Note SIGTERM instead of dying of it; only a process's main thread can."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGTERM, interrupt.note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
