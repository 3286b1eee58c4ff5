"""How many requests are let through, and how fast."""

import asyncio
import time

import pytest

from soda.endpoint.caller import Caller
from soda.endpoint.pace import Pace, Rate
from soda.endpoint.waits import Waits
from tests.fakes.waits import Clock

JUDGE = Caller("judge", "grader", "KEY")


def pace(ceiling, waits=None, **limits):
    return Pace(ceiling, JUDGE, waits or Waits(), **limits)


def test_a_rate_has_no_bursts_and_takes_back_what_was_not_used():
    clock = Clock()
    rate = Rate(60, clock)
    assert [rate.take(1) for _ in range(3)] == [0, 1, 2]
    rate.give_back(1)
    assert rate.take(1) == 2
    clock.time += 100
    assert [rate.take(1) for _ in range(2)] == [0, 1]  # an idle minute saves up nothing
    assert [Rate(None, clock).take(9) for _ in range(3)] == [0, 0, 0]


def test_requests_a_minute_are_kept_by_the_clock():
    clock = Clock()
    started = []

    async def one(kept):
        async with kept.turn(1) as began:
            started.append(began)

    async def run():
        kept = pace(100, clock.waits(), requests_per_minute=60)
        for _ in range(4):
            await one(kept)

    asyncio.run(run())
    assert [at - started[0] for at in started] == pytest.approx([0, 1, 2, 3])


def test_no_more_than_the_level_are_under_way_and_a_cancelled_one_loses_no_turn():
    async def run():
        kept, most = pace(3), 0

        async def one():
            nonlocal most
            async with kept.turn(1):
                most = max(most, kept.under_way)
                await asyncio.sleep(0.001)

        tasks = [asyncio.create_task(one()) for _ in range(60)]
        await asyncio.sleep(0.002)
        for task in tasks[10::2]:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        return most, kept.under_way, all(task.done() for task in tasks)

    assert asyncio.run(run()) == (3, 0, True)


def paused(*refusals, clock=None):
    """Refuse one request after another, each named wait in turn; return how long all waited."""
    clock = clock or Clock()

    async def run():
        kept = pace(1, clock.waits())
        for wait in refusals:
            async with kept.turn(1) as sent_at:
                clock.time += 0.01
                kept.pause(wait, "429 slow down", sent_at)
        async with kept.turn(1):
            pass

    begin = clock.time
    asyncio.run(run())
    return clock.time - begin


def test_the_named_time_is_waited():
    assert 30 <= paused(30.0) <= 30.2


def test_a_wait_without_a_name_is_short_at_first_and_grows_while_nobody_is_answered():
    assert paused(None) <= 0.2
    assert sum(paused(*[None] * 40) for _ in range(5)) / 5 > 10


def test_a_server_that_names_the_same_short_time_again_and_again_is_asked_ever_less():
    """4,000 requests in 25 seconds were sent to one that said 0."""
    clock = Clock()
    refusals = 0

    async def run():
        nonlocal refusals
        kept, begin = pace(1, clock.waits()), clock.time
        while clock.time - begin < 600:
            async with kept.turn(1) as sent_at:
                clock.time += 0.005
                refusals += 1
                kept.pause(0.01, "429", sent_at)

    asyncio.run(run())
    assert refusals < 200


def test_refusals_of_one_burst_make_one_pause():
    """Sixteen were under way when the first was refused: their refusals come after its pause."""
    clock = Clock()

    async def run():
        kept = pace(32, clock.waits())
        sent_at = clock.time
        for _ in range(16):
            clock.time += 1.0
            kept.pause(None, "429", sent_at)
        async with kept.turn(1):
            return clock.time

    assert asyncio.run(run()) <= 1016 + 0.1


def test_a_long_wait_is_said_once_with_the_callers_name(capsys):
    kept = pace(1)
    for _ in range(2):
        kept.pause(7200, "429 come back later", time.monotonic())
    assert capsys.readouterr().err == (
        "judge: waiting 7200 s, as the grader asks: 429 come back later\n"
    )
