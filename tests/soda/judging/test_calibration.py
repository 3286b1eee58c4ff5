import numpy as np
import pytest

from soda.endpoint.answer import Answer
from soda.judging.calibration import calibrate, measure_bias, plant
from soda.judging.judges import ChatJudge
from soda.judging.protocols import PairwiseProtocol
from soda.judging.verdicts import Reading, Verdict
from tests.fakes.judges import PROMPT, BiasedAsk, matchup

TRIALS, PAIRS, TIES = 1_000, 150, 0.1
# every pair of readings there is, built once: candidate first, then baseline first
VERDICTS = {
    (one, other): Verdict(
        "m",
        "fake",
        "pairwise",
        [Reading("candidate", one, "x"), Reading("baseline", other, "x")],
        [9, 9],
    )
    for one in (0, 0.5, 1)
    for other in (0, 0.5, 1)
}


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def simulate(draw, odds, order):
    """Return trials x pairs of preferences for the candidate, in both orders, and the true rate."""
    chances = sigmoid(np.array([odds + order, odds - order]))
    tie = draw.random((TRIALS, PAIRS, 2)) < TIES
    prefers = draw.random((TRIALS, PAIRS, 2)) < chances
    won, lost = (1 - TIES) * chances, (1 - TIES) * (1 - chances)
    both = won[0] * won[1], lost[0] * lost[1]
    return np.where(tie, 0.5, prefers), both[0] + (1 - both[0] - both[1]) / 2, won[0] + TIES / 2


@pytest.mark.parametrize(
    ("planted", "odds", "order"),
    [
        ("identical", 0.0, 0.0),
        ("identical", 0.0, 0.9),
        ("longer", 0.7, 0.5),
        ("longer", 0.0, 1.5),
        ("own family", 0.4, -0.3),
    ],
)
def test_a_known_bias_is_within_its_interval(planted, odds, order):
    draw = np.random.default_rng(0)
    preferences, of_both, of_first = simulate(draw, odds, order)
    truth = of_first if planted == "identical" else of_both
    inside = 0
    for trial in preferences:
        found = measure_bias(planted, [VERDICTS[tuple(pair)] for pair in trial.tolist()]).rate
        inside += found.low <= truth <= found.high
    assert inside / TRIALS >= 0.93


def judged(ask, own_family=(), count=200):
    rows = [matchup(str(n), f"Answer {n} is right.", "no") for n in range(300)]
    judge = ChatJudge("j", PairwiseProtocol(), ask)
    return {one.planted: one for one in calibrate(judge, rows, count=count, own_family=own_family)}


def fair(text):
    return 0.0


def test_a_fair_judge_is_called_fair_though_it_cannot_tell_swapped_answers():
    found = judged(BiasedAsk(fair))
    assert found["identical"].fair and found["longer"].fair and not found["swapped"].fair
    assert "own family" not in found


def test_a_judge_that_knows_what_belongs_to_the_prompt_passes_the_swapped_pairs():
    def reply(text):
        own = f"Answer {text.split('Question ')[1].split('?')[0]} "
        return "[[A]]" if own in text.split("<answer-B")[0] else "[[B]]"

    def ask(conversations):
        return [Answer(reply(turns[-1]["content"]), "answered") for turns in conversations]

    rows = [matchup(str(n), f"Answer {n} is right.", "no", slices={}) for n in range(100)]
    rows = [
        type(one)(one.id, [{"role": "user", "content": f"Question {one.id}?"}], one.candidate, "no")
        for one in rows
    ]
    found = calibrate(ChatJudge("j", PairwiseProtocol(), ask), rows, count=60)
    swapped = next(one for one in found if one.planted == "swapped")
    assert swapped.rate.mean == 1 and swapped.fair and swapped.pairs == 60


def test_a_biased_judge_is_called_biased_and_its_bias_has_a_size():
    found = judged(BiasedAsk(fair, order=1.0))
    assert not found["identical"].fair
    assert found["identical"].rate.mean == pytest.approx(sigmoid(1.0), abs=0.08)
    assert found["longer"].fair  # both orders: the bias for the first cancels
    assert not judged(BiasedAsk(fair, length=1.0))["longer"].fair
    assert judged(BiasedAsk(fair, length=-1.0))["longer"].fair  # to dislike a repetition is no bias


def test_self_preference_is_measured_on_answers_that_are_both_right():
    own = [matchup(str(n), "Paris, mine.", "Paris.") for n in range(200)]
    ask = BiasedAsk(lambda text: 1.2 * text.endswith("mine."))
    assert not judged(ask, own)["own family"].fair
    assert judged(BiasedAsk(fair), own)["own family"].fair


def test_replies_that_cannot_be_read_are_counted_and_leave_the_rate_alone():
    found = judged(BiasedAsk(fair, broken=0.3))["identical"]
    assert found.pairs + found.unclear == 200 and 40 < found.unclear < 80


def test_planted_pairs_are_what_they_say():
    rows = [matchup("1", "One."), matchup("2", "Two."), matchup("3", " "), matchup("4", "Two.")]
    made = plant(rows, 10, seed=0)
    assert all(one.candidate == one.baseline for one in made["identical"])
    assert len(made["identical"]) == 3  # the empty answer is none
    assert all(one.candidate.count(one.baseline) == 2 for one in made["longer"])
    assert made["swapped"] and all(one.candidate != one.baseline for one in made["swapped"])
    assert all(one.prompt == PROMPT for rows in made.values() for one in rows)
    assert plant(rows, 10, seed=0) == made
