"""When waiting is given up, and when the first requests speak for all."""

import pytest

from soda.endpoint.caller import Caller
from soda.endpoint.failures import Busy, Unanswered
from soda.endpoint.standing import Standing
from soda.errors import EndpointError
from tests.fakes.waits import Clock

JUDGE = Caller("judge", "grader", "KEY")


@pytest.fixture
def clock():
    return Clock()


def standing(clock, **values):
    return Standing(JUDGE, "http://h/v1", clock.waits(outage=150), **values)


def busy(found, clock, *, seconds, every=1.0, wait=None):
    end = clock.time + seconds
    while clock.time < end:
        found.busy(Busy("429 later", wait))
        clock.time += every


def test_the_first_requests_speak_for_all_if_none_was_answered(clock):
    found = standing(clock)
    for _ in range(7):
        found.bad("refused (400): temperature")
    expected = "found none to the first 8 requests; the last: refused .400.: temperature"
    with pytest.raises(EndpointError, match=expected):
        found.bad("refused (400): temperature")


def test_after_one_answer_a_refusal_is_of_its_request(clock):
    found = standing(clock)
    for _ in range(7):
        found.bad("no")
    found.good()
    for _ in range(1000):
        found.bad("no")
    assert found.proved


def test_earlier_answers_prove_the_endpoint_and_not_this_run(clock):
    found = standing(clock, answered_before=True)
    assert found.proved and not found.answers
    with pytest.raises(EndpointError):
        for _ in range(8):
            found.bad("no")


def test_nothing_but_429_is_waited_for_within_the_limit(clock):
    found = standing(clock, patience_seconds=100)
    busy(found, clock, seconds=90)
    found.good()
    busy(found, clock, seconds=90)
    with pytest.raises(EndpointError) as stopped:
        busy(found, clock, seconds=30)
    text = str(stopped.value)
    assert text.startswith("http://h/v1: the grader has answered nothing for 101 s (429 later)")
    assert "judge.limits.patience_seconds is 100" in text and "run again later" in text


def test_a_longer_wait_than_the_limit_is_not_begun(clock):
    found = standing(clock, patience_seconds=100)
    found.busy(Busy("429 later", 100))
    with pytest.raises(EndpointError, match="asks for a wait of 86400 s"):
        found.busy(Busy("429 later", 86400))


def down(found, clock, since, **values):
    return found.is_down(Unanswered("503 no", **{"billed": False, **values}), since)


def test_a_server_that_answered_may_be_starting_again_for_two_minutes(clock, capsys):
    found = standing(clock)
    assert not down(found, clock, clock.time)  # it never answered
    found.good()
    clock.time += 1
    since = clock.time
    clock.time += 120
    assert down(found, clock, since) and down(found, clock, since)
    assert not down(found, clock, since, billed=True)  # it works, for money
    clock.time += 30
    assert not down(found, clock, since)
    assert capsys.readouterr().err == "judge: 503 no; trying for 30 s more\n"


def test_that_a_server_is_down_is_not_said_while_others_are_answered(clock, capsys):
    found = standing(clock, answered_before=True)
    since = clock.time
    clock.time += 5
    found.good()
    assert down(found, clock, since)
    assert capsys.readouterr().err == ""
