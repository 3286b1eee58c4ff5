"""Many requests against a real server on loopback: each ends, and what it may cost is known."""

import asyncio
import time

import pytest

from soda.endpoint.asking import Asker, Request
from soda.endpoint.budget import USD, Budget, Price
from soda.endpoint.client import TeacherClient, Unanswered, open_session
from soda.endpoint.journal import Journal
from soda.endpoint.pace import Pace
from soda.endpoint.retry import ATTEMPTS
from soda.errors import BudgetError, EndpointError
from tests.fakes.teacher import completion, error, fake_teacher


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("soda.endpoint.retry._LONGEST_WAIT_SECONDS", 0.005)
    monkeypatch.setattr("soda.endpoint.pace._PAUSE_SECONDS", 0.02)


def request(number=0, **sampling):
    messages = [{"role": "user", "content": f"Say {number}."}]
    return Request.of("http://h/v1", {"model": "m", "messages": messages, **sampling})


def ask_all(teacher, folder, requests, *, price=None, cap=None, timeout=5, hedge=0, pace=None):
    """Ask, and return how each request ended, with the asker's budget and journal's losses."""
    ends = {}
    budget = Budget(price or Price(), requests[0].body, cap)

    async def run():
        with Journal(folder) as journal:
            async with open_session(timeout) as session, journal.writing():
                client = TeacherClient(session, teacher.url, None)
                asker = Asker(client, journal, pace or Pace(8), budget, hedge)
                try:
                    await asker.run(requests, lambda one, end: ends.__setitem__(one.key, end))
                finally:
                    lost.update(journal.open_requests)

    lost = {}
    try:
        asyncio.run(run())
    except (BudgetError, EndpointError) as problem:
        return ends, budget, lost, problem
    return ends, budget, lost, None


def first(*replies):
    """Give these replies, one a request, and then a good answer."""
    return lambda body, times: replies[times] if times < len(replies) else completion("good")


@pytest.mark.parametrize(
    "reply",
    [error(429, "slow"), error(429, "slow", Retry_After="0.01"), error(503, "busy"), (0, {}, b"")],
)
def test_a_failure_that_may_pass_is_tried_again(tmp_path, reply):
    with fake_teacher(first(reply, reply)) as teacher:
        ends, *_ = ask_all(teacher, tmp_path, [request()])
    assert ends[request().key]["text"] == "good" and teacher.asked.total() == 3


def test_a_429_uses_up_no_attempt_and_other_failures_do(tmp_path):
    limits = [error(429, "slow down")] * (3 * ATTEMPTS)
    with fake_teacher(first(*limits, *[error(500, "oops")] * (ATTEMPTS - 1))) as teacher:
        ends, *_ = ask_all(teacher, tmp_path, [request()])
    assert ends[request().key]["text"] == "good" and teacher.asked.total() == 4 * ATTEMPTS
    with fake_teacher(lambda body, times: error(503, "all busy")) as teacher:
        ends, *_ = ask_all(teacher, tmp_path / "b", [request()])
    assert isinstance(ends[request().key], Unanswered) and teacher.asked.total() == ATTEMPTS


def test_a_429_makes_every_request_wait(tmp_path):
    seen = []

    def behaviour(body, times):
        seen.append(time.monotonic())
        return error(429, "slow down", Retry_After="0.6") if len(seen) == 1 else completion("good")

    with fake_teacher(behaviour) as teacher:
        ask_all(teacher, tmp_path, [request(number) for number in range(3)], pace=Pace(1))
    assert len(seen) == 4 and min(seen[1:]) - seen[0] >= 0.59


def test_the_server_says_how_long_to_wait(tmp_path):
    with fake_teacher(first(error(503, "busy", Retry_After="0.3"))) as teacher:
        begin = time.monotonic()
        ask_all(teacher, tmp_path, [request()])
        assert time.monotonic() - begin >= 0.3


def test_what_was_sent_and_never_answered_is_possibly_billed(tmp_path):
    price = Price(output=1e6)  # a dollar a token
    replies = [(0, {}, b""), error(503, "busy"), (200, {}, {"choices": []})]
    asked = request(max_tokens=10)
    with fake_teacher(first(*replies)) as teacher:
        ends, budget, lost, _ = ask_all(teacher, tmp_path, [asked], price=price)
    assert ends[asked.key]["tokens"] == 1
    assert budget.spent == 1 * USD and budget.unsure == 20 * USD and budget.reserved == 0
    assert list(lost.values()) == [2]


@pytest.mark.parametrize("cap", [0.5, 10, 64, 333])
def test_the_cap_is_never_passed_with_many_under_way(tmp_path, cap):
    """A dollar a token, at most 5 an answer, 64 under way, and every fifth answer cut off."""
    billed = []

    def behaviour(body, times):
        number = int(body["messages"][0]["content"].split()[1][:-1])
        tokens = 1 + number % 5
        billed.append(tokens if number % 5 else 5)
        time.sleep(0.002)
        return completion("word " * tokens) if number % 5 else (0, {}, b"")

    requests = [request(number, max_tokens=5) for number in range(200)]
    price = Price(output=1e6)
    with fake_teacher(behaviour) as teacher:
        _, budget, _, problem = ask_all(
            teacher, tmp_path, requests, price=price, cap=cap, pace=Pace(64)
        )
        assert isinstance(problem, BudgetError) and "raise the limit and run again" in str(problem)
        assert sum(billed) <= cap and budget.total <= cap * USD
        if cap > 10:
            assert sum(billed) > cap - 5  # it stops only where the next could pass the cap


def test_a_late_answer_is_hedged_only_on_demand(tmp_path):
    def behaviour(body, times):
        time.sleep(1.5 if times == 0 else 0)
        return completion(f"copy {times}")

    with fake_teacher(behaviour) as teacher:
        begin = time.monotonic()
        ends, _, lost, _ = ask_all(teacher, tmp_path, [request()], hedge=0.2)
        assert time.monotonic() - begin < 1.2
    assert ends[request().key]["text"] == "copy 1" and list(lost.values()) == [1]


def test_an_error_that_stays_stops_all_and_keeps_what_is_under_way(tmp_path):
    def behaviour(body, times):
        if "Say 3." in body["messages"][0]["content"]:
            return error(401, "who?")
        time.sleep(0.3)
        return completion("good")

    with fake_teacher(behaviour) as teacher:
        requests = [request(number) for number in range(30)]
        ends, _, lost, problem = ask_all(teacher, tmp_path, requests, pace=Pace(4))
    assert "SODA_TEACHER_API_KEY was refused" in str(problem)
    assert teacher.asked.total() == 4 and len(ends) == 3 and not lost
