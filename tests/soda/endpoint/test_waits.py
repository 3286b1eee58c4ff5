"""How long is waited between attempts."""

import pytest

from soda.endpoint.waits import Waits


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.5), (1, 1), (4, 8), (50, 60)])
def test_the_wait_is_random_below_a_bound_that_doubles_up_to_the_longest(attempt, longest):
    waits = [Waits().backoff(attempt) for _ in range(500)]
    assert 0 <= min(waits) < longest / 2 < max(waits) <= longest
    assert max(Waits(longest=0.1).backoff(attempt) for _ in range(50)) <= 0.1
