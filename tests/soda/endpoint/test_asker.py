"""Many requests against a real server on loopback: each ends, and what it may cost is known."""

import asyncio
import time

import pytest

from soda.endpoint.address import Address
from soda.endpoint.asker import ATTEMPTS, Asker
from soda.endpoint.budget import USD, Budget, Price
from soda.endpoint.caller import Caller
from soda.endpoint.client import Client, Endpoint, open_session
from soda.endpoint.failures import Refused, Unanswered, Unusable
from soda.endpoint.journal import Journal
from soda.endpoint.limits import Limits
from soda.endpoint.request import Request
from soda.endpoint.standing import Standing
from soda.errors import BudgetError, EndpointError
from tests.fakes.teacher import completion, echo, error, fake_teacher
from tests.fakes.waits import SHORT, Clock

JUDGE = Caller("judge", "grader", "SODA_JUDGE_API_KEY")


def request(number=0, **sampling):
    messages = [{"role": "user", "content": f"Say {number}."}]
    return Request.of("http://h/v1", {"model": "m", "messages": messages, **sampling})


def requests(count, **sampling):
    return [request(number, **sampling) for number in range(count)]


class Run:
    """What became of a run: how each request ended, money, the journal, and the error."""

    def __init__(self, teacher, folder, asked, *, price=None, cap=None, waits=SHORT, **limits):
        self.ends, self.error = {}, None
        self.budget = Budget(price or Price(), asked[0].body, cap, "judge")
        self.limits = Limits(**{"concurrency": 8, "timeout_seconds": 5, **limits})
        with Journal(folder) as journal:
            try:
                asyncio.run(self._run(teacher.url, journal, asked, waits))
            except (BudgetError, EndpointError) as error:
                self.error = error
            self.lost = sum(journal.open_requests.values())
            self.kept = {one.key: journal.get(one.key) for one in asked}
            self.unusable = {one.key: list(journal.unusable(one.key)) for one in asked}

    async def _run(self, url, journal, asked, waits):
        standing = Standing(
            JUDGE,
            url,
            waits,
            answered_before=journal.has_answers,
            patience_seconds=self.limits.patience_seconds,
        )
        async with open_session(self.limits.timeout_seconds) as session, journal.writing():
            client = Client(session, Endpoint(JUDGE, Address.parse(url)))
            pace = self.limits.pace(JUDGE, waits)
            asker = Asker(client, journal, pace, self.budget, standing, waits, check=self.check)
            await asker.run(asked, self.ended)

    def ended(self, one, end):
        self.ends[one.key] = end

    def check(self, answer):
        return "it is of another" if answer.text == "another" else None


def first(*replies):
    """Give these replies, one a request, and then a good answer."""
    return lambda body, times: replies[times] if times < len(replies) else completion("good")


def number(body):
    return int(body["messages"][0]["content"].split()[1][:-1])


@pytest.mark.parametrize(
    "reply",
    [
        error(429, "slow"),
        error(429, "slow", Retry_After="0.01"),
        error(429, "slow", Retry_After="0"),
        error(429, "slow", Retry_After="inf"),
        error(503, "busy"),
        error(501, "what"),
        error(408, "late"),
        (0, {}, b""),
        (200, {}, {"choices": []}),
        (200, {}, {"error": {"message": "Rate limit reached"}}),
        completion("half", "abort"),
    ],
)
def test_a_failure_that_may_pass_is_tried_again(tmp_path, reply):
    with fake_teacher(first(reply, reply)) as teacher:
        run = Run(teacher, tmp_path, [request()])
    assert run.ends[request().key].text == "good" and teacher.asked.total() == 3


def test_a_429_uses_up_no_attempt_and_other_failures_do(tmp_path):
    limits = [error(429, "slow down")] * (3 * ATTEMPTS)
    with fake_teacher(first(*limits, *[error(500, "oops")] * (ATTEMPTS - 1))) as teacher:
        run = Run(teacher, tmp_path, [request()])
    assert run.ends[request().key].text == "good" and teacher.asked.total() == 4 * ATTEMPTS
    with fake_teacher(lambda body, times: error(503, "all busy")) as teacher:
        run = Run(teacher, tmp_path / "b", [request()])
    assert isinstance(run.ends[request().key], Unanswered) and teacher.asked.total() == ATTEMPTS


def test_a_429_makes_every_request_wait(tmp_path):
    clock, seen = Clock(), []

    def behaviour(body, times):
        seen.append(clock.time)
        return error(429, "slow down", Retry_After="60") if len(seen) == 1 else completion("good")

    with fake_teacher(behaviour) as teacher:
        Run(teacher, tmp_path, requests(3), waits=clock.waits(), concurrency=1)
    assert len(seen) == 4 and min(seen[1:]) - seen[0] >= 60


def test_the_server_says_how_long_to_wait_and_is_believed_within_reason(tmp_path):
    clock = Clock()
    replies = [error(503, "busy", Retry_After="7"), error(503, "busy", Retry_After="86400")]
    with fake_teacher(first(*replies)) as teacher:
        Run(teacher, tmp_path, [request()], waits=clock.waits())
    assert clock.waited == [7, 60]


def test_a_429_that_never_ends_stops_the_run_within_the_limit_and_nothing_is_lost(tmp_path):
    clock = Clock()

    def behaviour(body, times):
        return error(429, "odd", "unheard_of") if number(body) > 3 else completion("good")

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(30), waits=clock.waits(), patience_seconds=300)
        asked = teacher.asked.total()
    assert "the grader has answered nothing for 3" in str(run.error)
    assert "429 unheard_of: odd" in str(run.error) and run.lost == 0
    assert sum(found is not None for found in run.kept.values()) == 4
    assert clock.time - 1000 < 500 and asked < 500


def test_what_was_sent_and_never_answered_is_possibly_billed(tmp_path):
    price = Price(output=1e6)  # a dollar a token
    replies = [(0, {}, b""), error(503, "busy"), error(504, "late"), (200, {}, {"choices": []})]
    asked = request(max_tokens=10)
    with fake_teacher(first(*replies)) as teacher:
        run = Run(teacher, tmp_path, [asked], price=price)
    assert run.ends[asked.key].tokens == 1
    assert (run.budget.usd, run.budget.usd_possibly_billed) == (1, 30)
    assert run.lost == 3


@pytest.mark.parametrize("cap", [0.5, 10, 64, 333])
def test_the_cap_is_never_passed_with_many_under_way(tmp_path, cap):
    """A dollar a token, at most 5 an answer, 64 under way, and every fifth answer cut off."""
    billed = []

    def behaviour(body, times):
        tokens = 1 + number(body) % 5
        billed.append(tokens if number(body) % 5 else 5)
        time.sleep(0.002)
        return completion("word " * tokens) if number(body) % 5 else (0, {}, b"")

    asked = requests(200, max_tokens=5)
    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, asked, price=Price(output=1e6), cap=cap, concurrency=64)
    assert isinstance(run.error, BudgetError)
    assert "raise the limit and run again" in str(run.error)
    assert sum(billed) <= cap and run.budget.usd + run.budget.usd_possibly_billed <= cap
    if cap > 10:
        assert sum(billed) > cap - 5  # it stops only where the next could pass the cap
    assert USD == 10**12


def test_an_error_that_stays_stops_all_and_keeps_what_is_under_way(tmp_path):
    def behaviour(body, times):
        if number(body) == 3:
            return error(401, "who?")
        time.sleep(0.3)
        return completion("good")

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(30), concurrency=4)
    assert "SODA_JUDGE_API_KEY was refused" in str(run.error)
    assert teacher.asked.total() == 4 and len(run.ends) == 3 and not run.lost


# --- refusals


def test_a_refused_request_is_one_request_and_is_kept_as_its_end(tmp_path):
    def behaviour(body, times):
        return error(400, "not this one") if number(body) in (0, 7) else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(20))
        again = Run(teacher, tmp_path, requests(20))
    ends = [run.ends[one.key] for one in requests(20)]
    assert [place for place, end in enumerate(ends) if isinstance(end, Refused)] == [0, 7]
    assert str(ends[0]) == "refused (400): not this one" and run.error is None
    assert run.kept[request(7).key].status == 400 and not run.lost
    assert teacher.asked["Say 7."] == 2 and again.error is None  # `run` asks what it is given


def test_if_the_first_requests_all_meet_it_the_run_ends_and_none_is_kept(tmp_path):
    with fake_teacher(lambda body, times: error(400, "no temperature here")) as teacher:
        run = Run(teacher, tmp_path, requests(40))
        assert teacher.asked.total() <= 16
    assert "found none to the first 8 requests; the last: refused (400): no temp" in str(run.error)
    assert not any(run.kept.values()) and not run.lost


def test_a_single_refusal_is_not_taken_for_certain_where_nothing_was_ever_answered(tmp_path):
    with fake_teacher(lambda body, times: error(400, "not this")) as teacher:
        run = Run(teacher, tmp_path, requests(2))
        assert "found none to the first 2 requests" in str(run.error)
        assert not any(run.kept.values())
    with fake_teacher(lambda body, times: echo(body, times) if number(body) == 9 else
                      error(400, "not this")) as teacher:  # fmt: skip
        Run(teacher, tmp_path, [request(9)])
        run = Run(teacher, tmp_path, requests(2))
    assert run.error is None and all(run.kept.values())


def test_refusals_before_the_run_stops_are_asked_again(tmp_path):
    """The account was closed half-way, in words that name nothing: none of them is final."""

    class Stopping(Run):
        def ended(self, one, end):
            if isinstance(end, Refused):
                raise EndpointError("too many")

    def behaviour(body, times):
        return echo(body, times) if number(body) < 5 else error(403, "Forbidden")

    with fake_teacher(behaviour) as teacher:
        run = Stopping(teacher, tmp_path, requests(30), concurrency=1)
    assert str(run.error) == "too many"
    assert sum(found is not None for found in run.kept.values()) == 5


def test_nothing_but_silence_at_the_beginning_ends_the_run_and_is_kept(tmp_path):
    with fake_teacher(lambda body, times: completion("<think>hm", "length")) as teacher:
        run = Run(teacher, tmp_path, requests(40), concurrency=4)
        assert teacher.asked.total() <= 12
    assert "truncated, without any text: thoughts only" in str(run.error)
    assert sum(found is not None for found in run.kept.values()) >= 8


# --- answers that cannot be used


def test_an_answer_in_an_unknown_form_is_kept_and_not_asked_for_again(tmp_path):
    def behaviour(body, times):
        return (
            completion("", content=[{"type": "video"}]) if number(body) == 3 else echo(body, times)
        )

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(9))
    end = run.ends[request(3).key]
    assert isinstance(end, Unusable) and "'video'" in str(end) and teacher.asked["Say 3."] == 1
    assert run.kept[request(3).key] is None and run.lost == 1
    assert '"video"' in run.unusable[request(3).key][0].body


def test_what_the_caller_does_not_take_is_kept_and_not_asked_for_again(tmp_path):
    def behaviour(body, times):
        return completion("another") if number(body) == 3 else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(9))
    assert str(run.ends[request(3).key]) == "it is of another" and teacher.asked["Say 3."] == 1
    assert len(run.unusable[request(3).key]) == 1


def test_what_was_received_is_kept_even_if_our_own_code_fails_on_it(tmp_path):
    class Broken(Run):
        def check(self, answer):
            raise TypeError("a mistake of ours")

    with fake_teacher(echo) as teacher, pytest.raises(TypeError, match="a mistake of ours"):
        Broken(teacher, tmp_path, [request()])
    with Journal(tmp_path) as journal:
        [kept] = journal.unusable(request().key)
    assert "The answer to: Say 0." in kept.body


# --- outages


def test_a_server_that_is_down_for_two_minutes_does_not_end_the_run(tmp_path):
    clock = Clock()
    down = {"from": None}

    def behaviour(body, times):
        if number(body) >= 5:
            down["from"] = down["from"] or clock.time
            if clock.time - down["from"] < 120:
                return error(503, "starting")
        return echo(body, times)

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(20), waits=clock.waits(), concurrency=4)
    assert run.error is None and all(run.kept.values())


def test_a_server_that_stays_down_is_given_up(tmp_path):
    clock = Clock()

    def behaviour(body, times):
        return error(503, "gone") if number(body) >= 5 else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        run = Run(teacher, tmp_path, requests(8), waits=clock.waits(), concurrency=4)
    ends = [run.ends[one.key] for one in requests(8)]
    assert sum(isinstance(end, Unanswered) for end in ends) == 3
    assert clock.time - 1000 > 120


def test_a_host_that_is_not_known_is_said_at_the_first_try(tmp_path):
    class Nowhere:
        url = "http://nowhere.invalid/v1"

    run = Run(Nowhere, tmp_path, requests(3))
    assert str(run.error) == "http://nowhere.invalid/v1: no host 'nowhere.invalid' is known"
    assert not run.lost
