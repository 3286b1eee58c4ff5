"""What a recipe says about pace and bill, refused where it can never be kept."""

import asyncio

import pytest
from pydantic import ValidationError

from soda.endpoint.caller import Caller
from soda.endpoint.limits import Limits
from tests.fakes.waits import Clock

JUDGE = Caller("judge", "grader", "SODA_JUDGE_API_KEY")


@pytest.mark.parametrize(
    "values",
    [
        {"concurrency": 0},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"usd": 0},
        {"timeout_seconds": 0},
        {"patience_seconds": -1},
        {"patience": 1},
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        Limits(**values)


def test_the_pace_is_that_of_the_limits():
    clock = Clock()
    assert Limits(concurrency=3).pace(JUDGE, clock.waits()).level == 3
    pace = Limits(requests_per_minute=60, tokens_per_minute=600).pace(JUDGE, clock.waits())

    async def ask(tokens):
        async with pace.turn(tokens) as sent_at:
            return sent_at

    async def run():
        return [await ask(20) for _ in range(3)]

    first, second, third = asyncio.run(run())
    assert (second - first, third - second) == (2.0, 2.0)  # 20 of 600 tokens a minute, each
