import math

import numpy as np
import pytest

from soda.statistics.intervals import sample_size, wilson


def test_wilson_gives_the_published_interval():
    # Newcombe 1998, table I, method 3: 81 of 263 and 15 of 148
    for wins, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        found = wilson(wins, count)
        assert found.mean == wins / count
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_no_win_and_no_comparison_have_intervals_too():
    assert wilson(0, 20).low == 0 and 0 < wilson(0, 20).high < 0.2
    assert math.isnan(wilson(0, 0).mean) and (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


@pytest.mark.parametrize("ties", [0.0, 0.3])
@pytest.mark.parametrize("rate", [0.5, 0.65, 0.9])
def test_wilson_holds_the_truth_as_often_as_it_claims(rate, ties):
    draw, trials, count = np.random.default_rng(0), 20_000, 100
    ties = min(ties, 2 * (1 - rate))
    wins = draw.multinomial(count, [rate - ties / 2, ties, 1 - rate - ties / 2], size=trials)
    scores = wins[:, 0] + wins[:, 1] / 2
    found = {score: wilson(score, count) for score in np.unique(scores)}
    inside = np.mean([found[score].low <= rate <= found[score].high for score in scores])
    assert inside > 0.93  # the true coverage swings around 0.95 with rate and count


@pytest.mark.parametrize("width", [0.05, 0.1, 0.3])
def test_the_sample_size_gives_the_width_and_one_fewer_does_not(width):
    count = sample_size(width)

    def widest(size):
        return max(
            wilson(wins, size).high - wilson(wins, size).low
            for wins in np.arange(0, size + 0.5, 0.5)
        )

    assert widest(count) <= width < widest(count - 1)
