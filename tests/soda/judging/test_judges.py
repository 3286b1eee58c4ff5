import pytest

from soda.endpoint.answer import Answer
from soda.judging.judges import ChatJudge, judge_all, same_family
from soda.judging.protocols import PairwiseProtocol
from soda.judging.verdicts import tally
from tests.fakes.judges import BiasedAsk, matchup

PAIRWISE = PairwiseProtocol()
KNOWS = {"Paris.": 50.0, "Lyon.": 0.0}


def test_a_judge_is_asked_in_both_orders_and_keeps_what_was_said():
    ask = BiasedAsk(KNOWS.get)
    (found,) = ChatJudge("j", PAIRWISE, ask).judge([matchup()])
    assert ask.asked == 2
    assert [one.first for one in found.readings] == ["candidate", "baseline"]
    assert [one.text for one in found.readings] == ["[[A]]", "[[B]]"]
    assert found.score == 1 and found.judge == "j" and found.lengths == [6, 5]


def test_a_judge_that_always_takes_the_first_gives_ties():
    ask = BiasedAsk(order=50.0)
    found = tally(ChatJudge("j", PAIRWISE, ask).judge([matchup(str(n)) for n in range(5)]))
    assert (found.wins, found.ties, found.losses, found.disagreements) == (0, 5, 0, 5)


def test_a_refusal_is_no_verdict():
    def ask(conversations):
        said = Answer("[[A]]", "refused"), Answer.missing("503 down")
        return [said[place % 2] for place, _ in enumerate(conversations)]

    found = tally(ChatJudge("j", PAIRWISE, ask).judge([matchup()]))
    assert found.unanswered == 1 and found.clear == 0


def test_many_are_asked_at_once_and_the_order_stays():
    found = list(ChatJudge("j", PAIRWISE, BiasedAsk(KNOWS.get)).judge(map(matchup, "abcdefgh")))
    assert [one.id for one in found] == list("abcdefgh")
    assert not list(ChatJudge("j", PAIRWISE, None).judge([]))


def test_the_same_answer_ties_and_nobody_is_asked():
    ask = BiasedAsk(KNOWS.get)
    same = [matchup("a", "Paris.", "paris. "), matchup("b", " ", ""), matchup("c")]
    found = list(judge_all(ChatJudge("j", PAIRWISE, ask), same))
    assert [one.score for one in found] == [0.5, 0.5, 1] and ask.asked == 2


def test_no_more_than_a_block_is_asked_beyond_what_is_needed():
    ask = BiasedAsk(KNOWS.get)
    found = judge_all(ChatJudge("j", PAIRWISE, ask), (matchup(str(n)) for n in range(100)), 10)
    for _ in range(11):
        next(found)
    assert ask.asked <= 40


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4o", "gpt-5-chat", True),
        ("o3-mini", "chatgpt-4o-latest", True),
        ("Qwen/Qwen2.5-72B-Instruct", "qwen3-8b", True),
        ("meta-llama/Llama-3.1-8B", "codellama-7b", True),
        ("deepseek-r1-distill-llama-70b", "Llama-3.2-3B", True),
        ("claude-sonnet-4", "gpt-4o", False),
        ("mistral-large", "mixtral-8x7b", True),
        ("our-own-model", "our-own-model", True),
        ("our-own-model", "another", False),
        ("phi-4", "graphite-2", False),
    ],
)
def test_a_family_is_told_by_name(one, other, same):
    assert same_family(one, other) == same
