"""Who the teacher is: asked often enough, and compared with its own spread."""

import asyncio
import random
from collections import Counter

import pytest

from soda.endpoint.answer import Answer
from soda.endpoint.failures import Refused, Unanswered
from soda.errors import EndpointError
from soda.teacher.fingerprint import PROBES, Fingerprint, take_fingerprint, verdict

BODY = {"model": "big", "max_tokens": 1536, "top_p": 0.9}


def take(answer, body=BODY):
    """Take a fingerprint of a teacher that answers so; return it, and the bodies it was sent."""
    sent = []

    async def ask(request):
        sent.append(request.body)
        prompt = request.body["messages"][0]["content"]
        found = answer(request.body, PROBES.index(prompt), len(sent))
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Answer) else said(found)

    return asyncio.run(take_fingerprint(ask, "http://h/v1", body)), sent


def said(text, **values):
    values = {"tokens": 2, "prompt_tokens": 5, "model": "big-1", **values}
    return Answer(text, "answered" if text else "empty", **values)


def test_a_teacher_that_repeats_itself_is_asked_twice_with_the_recipes_fields_and_no_spread():
    found, sent = take(lambda body, place, _: f"answer {place}")
    assert len(sent) == 12 and found.answers == tuple((f"answer {n}",) * 2 for n in range(6))
    assert {key: sent[0][key] for key in BODY} == BODY and sent[0]["temperature"] == 0
    assert found.tokens == (60, 24) and found.model == "big-1"
    assert Fingerprint.from_json(found.to_json()) == found


def test_one_that_does_not_is_asked_four_times():
    found, sent = take(lambda body, place, count: f"answer {count}")
    assert len(sent) == 24 and {len(each) for each in found.answers} == {4}


def test_a_model_that_takes_no_temperature_is_asked_as_the_recipe_asks():
    def answer(body, place, count):
        refused = Refused("refused (400): temperature")
        return refused if body.get("temperature") == 0 else "yes"

    body = {"model": "o9", "max_completion_tokens": 5000}
    found, sent = take(answer, body)
    assert len(sent) == 13 and found.answers == (("yes",) * 2,) * 6
    assert all("temperature" not in each for each in sent[1:])
    assert {each["max_completion_tokens"] for each in sent} == {5000}


def test_a_probe_that_fails_leaves_the_others():
    found, _ = take(lambda body, place, _: Unanswered("no", billed=False) if place < 2 else "yes")
    assert [len(each) for each in found.answers] == [0, 0, 2, 2, 2, 2]
    assert take(lambda body, place, _: Unanswered("no", billed=False))[0] is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said(""), "found none: empty"),
        (said("", detail="thoughts only"), "thoughts only"),
        (
            Answer("", "truncated", "thoughts only, cut before an answer began", "hm"),
            "thoughts only, cut before an answer began; a teacher that thinks needs a higher",
        ),
    ],
)
def test_a_teacher_that_says_nothing_is_refused_after_six_requests(answer, why):
    sent = []
    with pytest.raises(EndpointError, match=why):
        take(lambda body, place, count: sent.append(count) or answer)
    assert len(sent) == 6


def test_one_that_says_something_to_one_probe_is_not_useless():
    assert take(lambda body, place, _: "yes" if place == 4 else said(""))[0]


# --- the verdict


def of(*answers, model="big-1"):
    return Fingerprint(model, None, None, tuple(map(tuple, answers)), (0, 0))


STEADY = [[f"the teacher's answer to probe {number}"] * 2 for number in range(6)]


def other(count):
    return [["something else"] * 2 if place < count else STEADY[place] for place in range(6)]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [(0, "same"), (1, "same"), (3, "same"), (4, "changed"), (5, "changed"), (6, "changed")],
)
def test_a_steady_teacher_has_changed_if_most_of_its_answers_have(changed, kind):
    found = verdict(of(*STEADY), of(*other(changed)))
    assert found.kind == kind and f"the same answer to {6 - changed} of 6" in found.why


def test_white_space_and_case_are_no_change():
    shouted = [[text.upper() + "\n" for text in each] for each in STEADY]
    assert verdict(of(*STEADY), of(*shouted)).kind == "same"


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_with_few_probes_it_is_unclear(known):
    before = [each if place < known else [] for place, each in enumerate(STEADY)]
    for now in (other(6), STEADY):
        found = verdict(of(*before), of(*now))
        assert found.kind == "unclear" and f"only {known} of 6 probe prompts" in found.why


def test_four_probes_tell_if_all_have_changed():
    before = [each if place < 4 else [] for place, each in enumerate(STEADY)]
    assert verdict(of(*before), of(*other(6))).kind == "changed"
    assert verdict(of(*before), of(*other(3))).kind == "unclear"
    assert verdict(of(*before), of(*other(2))).kind == "same"


def test_another_served_name_is_a_change():
    found = verdict(of(*STEADY), of(*STEADY, model="big-2"))
    assert found.kind == "changed" and found.why == "it is served as 'big-2', before as 'big-1'"


WORDS = """
    the old keeper climbs his stairs at night and lights a lamp for ships far out on dark water
    while waves roll in from the west and gulls sleep on the rocks below the tower"""
OTHERS = """
    prime numbers begin with two and three then five seven eleven thirteen and so they go on for
    ever as somebody proved in a book that every pupil has to learn by heart one day"""


def sampled(words, drawn, count=4):
    """Answers as a teacher with a temperature gives them: no two the same."""
    words = words.split()
    return [
        [" ".join(drawn.choices(words[place * 3 : place * 3 + 14], k=12)) for _ in range(count)]
        for place in range(6)
    ]


def verdicts(one, other, runs=15):
    drawn = random.Random(5)
    return Counter(
        verdict(of(*sampled(one, drawn)), of(*sampled(other, drawn))).kind for _ in range(runs)
    )


def test_a_teacher_that_samples_is_compared_with_its_own_spread():
    """With equality alone it had changed each time, and a new distillation began on noise."""
    assert verdicts(WORDS, WORDS)["changed"] == 0
    assert verdicts(WORDS, OTHERS)["changed"] == 15


def test_answers_that_have_nothing_in_common_do_not_tell():
    drawn = random.Random(2)
    one, other = ([[str(drawn.random()) for _ in range(4)] for _ in range(6)] for _ in range(2))
    found = verdict(of(*one), of(*other))
    assert found.kind == "unclear" and "hardly repeats itself" in found.why
