import itertools

import numpy as np
import pytest

from soda.judging.gap import equal_pairs, inverted_pairs, measure_gap, not_measured, random_order
from soda.judging.judges import ChatJudge, judge_all
from soda.judging.protocols import PairwiseProtocol
from soda.statistics.intervals import sample_size, wilson
from tests.fakes.judges import BiasedAsk, matchup, verdict

WIN, TIE, LOSS, UNCLEAR = verdict(1.0), verdict(0.5), verdict(0.0), verdict(None)


def drawn(rate, seed, ties=0.1):
    draw = np.random.default_rng(seed)
    chances = [rate - ties / 2, ties, 1 - rate - ties / 2]
    while True:
        yield from ((WIN, TIE, LOSS)[one] for one in draw.choice(3, p=chances, size=64))


def test_a_clear_teacher_passes_early_and_no_more_is_judged():
    given = []
    found = measure_gap(itertools.chain(given.append(one) or one for one in drawn(0.85, 0)))
    assert found.decision == "pass" and found.stopped_early
    assert len(given) == found.counts.clear < sample_size(0.1) / 3
    assert found.win_rate.low >= 0.6


def test_a_student_as_good_as_the_teacher_fails():
    found = measure_gap(drawn(0.45, 1))
    assert found.decision == "fail" and found.win_rate.high < 0.6


def test_what_is_near_the_threshold_is_judged_to_the_end_and_not_shown():
    found = measure_gap(drawn(0.61, 3))
    assert found.decision == "not shown" and not found.stopped_early
    assert found.counts.clear == sample_size(0.1)
    assert found.win_rate == wilson(found.counts.score, found.counts.clear, 0.96)
    assert "60% is within the interval" in found.reason


def test_a_teacher_at_the_threshold_passes_as_rarely_as_promised():
    passed = sum(
        measure_gap(drawn(0.60, seed), width=0.25).decision == "pass" for seed in range(1_000)
    )
    assert passed / 1_000 <= 0.025


def test_fewer_prompts_than_planned_end_the_test_as_planned():
    found = measure_gap([WIN] * 60 + [LOSS] * 10, width=0.05)
    assert found.decision == "pass"
    found = measure_gap([WIN, LOSS] * 12)
    assert found.decision == "not shown" and found.counts.clear == 24


def test_unclear_verdicts_are_counted_and_too_many_measure_nothing():
    found = measure_gap([WIN, WIN, UNCLEAR] * 40)
    assert found.decision == "not measured" and "no clear verdict" in found.reason
    found = measure_gap(([WIN] * 11 + [UNCLEAR]) * 20)
    assert found.decision == "pass" and found.counts.unclear > 0
    assert measure_gap([]).decision == "not measured"
    assert not_measured(0.6, "no judge").decision == "not measured"


def test_slices_have_rates_of_their_own():
    easy = {"language": "en", "length": "short"}
    rows = [verdict(1.0, slices=easy), verdict(0.0, slices={"language": "de"})] * 10
    found = measure_gap(rows).slices
    assert found["language: en"]["mean"] == 1 and found["language: de"]["mean"] == 0
    assert found["length: short"]["count"] == 10 and found["language: de"]["high"] < 0.35


@pytest.mark.parametrize(
    ("inverted", "action"), [(20, "keep going"), (21, "warn"), (35, "warn"), (36, "stop")]
)
def test_inverted_pairs_are_listed_warn_and_stop(inverted, action):
    rows = [verdict(0.0, f"bad{n}") for n in range(inverted)]
    rows += [verdict(1.0, f"good{n}") for n in range(100 - inverted)] + [UNCLEAR] * 5
    found = inverted_pairs(rows)
    assert found.ids == [f"bad{n}" for n in range(inverted)]
    assert found.share == inverted / 100 and found.action == action


def test_a_tie_is_not_inverted():
    assert inverted_pairs([TIE, WIN, UNCLEAR]).ids == []
    assert inverted_pairs([]).action == "keep going"


def test_the_sample_is_random_and_the_same_whatever_order_prompts_came_in():
    ids = [f"p{n}" for n in range(1_000)]
    found = random_order(ids, 0)
    assert found == random_order(reversed(ids), 0) != random_order(ids, 1)
    assert sorted(found) == sorted(ids)
    assert abs(np.mean([int(one[1:]) for one in found[:300]]) - 500) < 60


def test_pairs_that_are_the_same_or_tie_in_both_orders_are_named_and_undecided_ones_are_not():
    rows = [
        matchup("same", "Paris.", "Paris."),
        matchup("white space", "Paris is it.", " paris\n\tis it. "),
        matchup("empty", "", " \n"),
        matchup("better", "Paris.", "Lyon."),
    ]
    knows = {"Paris.": 50.0, "Lyon.": 0.0}.get

    def judged(ask):
        return equal_pairs(judge_all(ChatJudge("j", PairwiseProtocol(), ask), rows))

    assert judged(BiasedAsk(knows)) == ["same", "white space", "empty"]
    assert judged(BiasedAsk(knows, ties=1.0))[-1] == "better"
    assert "better" not in judged(BiasedAsk(lambda text: 0.0, order=50.0))  # orders disagree
