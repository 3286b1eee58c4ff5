"""Whether an endpoint's limit is found, however it shows."""

import pytest

from soda.endpoint.climber import Climber


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
