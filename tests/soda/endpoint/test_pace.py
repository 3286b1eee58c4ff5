"""How many requests are let through, how fast, and whether the endpoint's limit is found."""

import asyncio
import time

import pytest

from soda.endpoint.pace import Climber, Pace, Rate


class Clock:
    """A clock that a simulated server moves."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def climb(rate_at, answers=20_000, ceiling=1000):
    """Answer so often at the rate the server gives at each level; return the levels it was at."""
    clock = Clock()
    climber, levels = Climber(ceiling, clock), []
    for _ in range(answers):
        clock.time += 1 / rate_at(climber.level)
        climber.answered()
        levels.append(climber.level)
    return levels


@pytest.mark.parametrize("best", [10, 64, 300])
def test_the_level_is_found_where_more_requests_bring_no_more_answers(best):
    levels = climb(lambda level: min(level, best))
    late = levels[len(levels) // 2 :]
    assert best * 0.75 <= sum(late) / len(late) <= best * 1.5


def test_a_level_that_brings_fewer_answers_is_left():
    levels = climb(lambda level: level if level <= 50 else 10)  # 429 and pauses above
    late = levels[len(levels) // 2 :]
    assert 30 <= sum(late) / len(late) <= 56 and levels.count(64) < 400


def test_a_server_without_a_limit_takes_all_that_is_allowed():
    assert climb(lambda level: level, ceiling=200)[-1] >= 150
    assert set(climb(lambda level: level, ceiling=3)) <= {2, 3}
    assert set(climb(lambda level: level, ceiling=1)) == {1}


def test_the_climb_takes_a_few_rounds_only():
    levels = climb(lambda level: level, answers=4000)
    assert max(levels) == 1000


def test_a_server_that_changes_is_followed():
    def after(best):
        clock.time += 1 / min(climber.level, best)
        climber.answered()
        return climber.level

    clock = Clock()
    climber = Climber(1000, clock)
    high = [after(200) for _ in range(20_000)][-1]
    low = [after(20) for _ in range(20_000)][-1]
    assert low < high / 3 and [after(100) for _ in range(40_000)][-1] > 1.5 * low


def test_a_rate_has_no_bursts_and_takes_back_what_was_not_used():
    clock = Clock()
    rate = Rate(60, clock)
    assert [rate.take(1) for _ in range(3)] == [0, 1, 2]
    rate.give_back(1)
    assert rate.take(1) == 2
    clock.time = 100
    assert [rate.take(1) for _ in range(2)] == [0, 1]  # an idle minute saves up nothing
    assert [Rate(None, clock).take(9) for _ in range(3)] == [0, 0, 0]


def test_requests_a_minute_are_kept_by_the_clock():
    async def run():
        pace = Pace(100, requests_per_minute=1200)
        async with asyncio.TaskGroup() as group:
            for _ in range(11):
                group.create_task(one(pace))

    async def one(pace):
        async with pace.turn(1):
            pass

    begin = time.monotonic()
    asyncio.run(run())
    assert 0.5 <= time.monotonic() - begin < 1


def test_no_more_than_the_level_are_under_way_and_a_cancelled_one_loses_no_turn():
    async def run():
        pace, most = Pace(3), 0

        async def one():
            nonlocal most
            async with pace.turn(1):
                most = max(most, pace.under_way)
                await asyncio.sleep(0.001)

        tasks = [asyncio.create_task(one()) for _ in range(60)]
        await asyncio.sleep(0.002)
        for task in tasks[10::2]:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        return most, pace.under_way, all(task.done() for task in tasks)

    assert asyncio.run(run()) == (3, 0, True)


def test_a_long_wait_is_said(capsys):
    async def run():
        pace = Pace(1)
        pace.pause(7200, "429 come back later", time.monotonic())
        pace.pause(7200, "429 come back later", time.monotonic())

    asyncio.run(run())
    assert capsys.readouterr().err == (
        "teacher-gen: waiting 7200 s, as the teacher asks: 429 come back later\n"
    )
