"""A signal ends a run in order; a second one, or half a minute, ends it at once."""

import asyncio
import os
import signal
import threading

import pytest

from soda.endpoint.stopping import Stopped, stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_second_gives_up(number):
    heard = []

    async def run():
        with stopping(lambda stopped: heard.append(stopped.number), lambda: heard.append("up")):
            for _ in range(2):
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)

    before = signal.getsignal(number)
    asyncio.run(run())
    assert heard == [number, "up", number] and signal.getsignal(number) == before


def test_what_stopped_it_is_named():
    assert str(Stopped(signal.SIGTERM)) == "Terminated"


def test_in_another_thread_there_are_no_signals_to_hear():
    done = []

    async def run():
        with stopping(done.append, lambda: None):
            done.append("ran")

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join(10)
    assert done == ["ran"]
