"""One request against a real server on loopback: its answer, its tries, its errors."""

import asyncio
import email.utils
import time

import httpx
import pytest

from soda.errors import TeacherError
from soda.teacher.client import ATTEMPTS, TeacherClient, TeacherUnanswered
from tests.fakes.teacher import completion, echo, error, fake_teacher

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("soda.teacher.retry._LONGEST_WAIT_SECONDS", 0.005)


def ask(url, key=None):
    async def send():
        async with httpx.AsyncClient(timeout=5) as http:
            return await TeacherClient(http, url, key).complete(BODY)

    return asyncio.run(send())


async def arrived(teacher, count):
    """Wait until the server was asked this often, and a little for its reply."""
    while teacher.asked.total() < count:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.15)


def first(*replies):
    """Give these replies, one a request, and then a good answer."""
    return lambda body, times: replies[times] if times < len(replies) else completion("good")


@pytest.mark.parametrize(
    ("reply", "outcome", "text"),
    [
        (completion("two words"), "answered", "two words"),
        (completion("cut of", "length"), "truncated", "cut of"),
        (completion("", refusal="I won't"), "refused", ""),
        (completion("half", "content_filter"), "refused", "half"),
        (completion(" \n"), "empty", " \n"),
        (completion("", content=None), "empty", ""),
        (error(400, "not this", "content_filter"), "refused", ""),
        (error(400, "not this", "content_policy_violation"), "refused", ""),
        (error(400, "too long", "context_length_exceeded"), "failed", ""),
    ],
)
def test_every_way_an_answer_can_end_is_an_outcome(reply, outcome, text):
    with fake_teacher(lambda body, times: reply) as teacher:
        answer = ask(teacher.url)
    assert (answer["outcome"], answer["text"]) == (outcome, text)
    assert teacher.asked.total() == 1


def test_an_answer_says_who_gave_it_and_how_long_it_is():
    with fake_teacher(lambda body, times: completion("a b c")) as teacher:
        answer = ask(f"{teacher.url}/")
    assert (answer["model"], answer["fingerprint"], answer["tokens"]) == ("fake-1", "fp", 3)


def test_a_refusal_says_why():
    with fake_teacher(first(error(400, "too long", "context_length_exceeded"))) as teacher:
        assert ask(teacher.url)["detail"] == "context_length_exceeded: too long"
    with fake_teacher(first(completion("", refusal="I won't"))) as teacher:
        assert ask(teacher.url)["detail"] == "I won't"


def soon():
    return email.utils.formatdate(time.time() + 1, usegmt=True)


@pytest.mark.parametrize(
    "reply",
    [
        error(429, "slow down"),
        error(429, "slow down", Retry_After="0.01"),
        error(429, "slow down", Retry_After=soon()),
        error(500, "oops"),
        error(502, "oops"),
        error(503, "busy", Retry_After="0"),
        (503, {}, b"<html>busy</html>"),
        (0, {}, b""),  # the connection is cut
        (200, {}, b"{torn"),
        (200, {}, b"\xff\xfe"),
        (200, {"Content-Encoding": "gzip"}, b"no gzip"),
        (200, {}, []),
        (200, {}, {"choices": []}),
        (200, {}, {"choices": [{"message": None}]}),
        (200, {}, {"choices": [{"message": {"content": [{"type": "text"}]}}]}),
        (200, {}, {"error": {"message": "overloaded", "code": 502}}),
    ],
)
def test_a_failure_that_may_pass_is_tried_again(reply):
    with fake_teacher(first(reply, reply)) as teacher:
        assert ask(teacher.url)["text"] == "good"
    assert teacher.asked.total() == 3


def test_the_server_says_how_long_to_wait():
    with fake_teacher(first(error(503, "busy", Retry_After="0.3"))) as teacher:
        begin = time.monotonic()
        ask(teacher.url)
        assert time.monotonic() - begin >= 0.3


def test_a_429_makes_every_request_wait():
    seen = []

    def behaviour(body, times):
        seen.append(time.monotonic())
        return error(429, "slow down", Retry_After="0.6") if times == 0 else completion("good")

    async def second_while_the_first_waits(url):
        async with httpx.AsyncClient() as http:
            client = TeacherClient(http, url, None)
            one = asyncio.create_task(client.complete(BODY))
            await arrived(teacher, 1)
            await asyncio.gather(one, client.complete(BODY))

    with fake_teacher(behaviour) as teacher:
        asyncio.run(second_while_the_first_waits(teacher.url))
    assert len(seen) == 3 and min(seen[1:]) - seen[0] >= 0.59


def test_a_429_uses_up_no_attempt():
    limits = [error(429, "slow down")] * (3 * ATTEMPTS)
    with fake_teacher(first(*limits, *[error(500, "oops")] * (ATTEMPTS - 1))) as teacher:
        assert ask(teacher.url)["text"] == "good"
    assert teacher.asked.total() == 4 * ATTEMPTS


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (error(503, "all busy"), "503 all busy"),
        ((0, {}, b""), "RemoteProtocolError"),
        ((200, {}, {"error": {"message": "overloaded"}}), "expected a chat completion, .*overload"),
    ],
)
def test_it_gives_up_after_all_attempts(reply, problem):
    with (
        fake_teacher(lambda body, times: reply) as teacher,
        pytest.raises(TeacherUnanswered, match=problem),
    ):
        ask(teacher.url)
    assert teacher.asked.total() == ATTEMPTS


def test_it_gives_up_where_nobody_listens():
    with fake_teacher() as teacher:
        pass
    with pytest.raises(TeacherUnanswered, match="ConnectError"):
        ask(teacher.url)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (error(401, "who are you?"), "SODA_TEACHER_API_KEY was refused: who are you"),
        (error(403, "not you"), "SODA_TEACHER_API_KEY was refused: not you"),
        (error(404, "no such model"), "no model 'm' there: no such model"),
        (error(400, "temperature: too high"), r"refused \(400\): temperature: too high"),
        (error(422, "no"), r"refused \(422\)"),
        (error(429, "pay first", "insufficient_quota"), "quota is used up: 429 pay first"),
        ((301, {"Location": "/elsewhere"}, b""), r"refused \(301\)"),
        ((400, {}, {"error": "a plain text"}), "a plain text"),
    ],
)
def test_a_failure_that_stays_is_raised_at_once(reply, problem):
    with (
        fake_teacher(lambda body, times: reply) as teacher,
        pytest.raises(TeacherError, match=problem),
    ):
        ask(teacher.url)
    assert teacher.asked.total() == 1


def test_a_url_that_is_none_is_refused():
    with pytest.raises(TeacherError, match="expected a URL"):
        ask("http://127.0.0.1:port/v1")


def test_the_key_is_sent_only_if_there_is_one():
    with fake_teacher(echo) as teacher:
        for key in (None, "", "secret", "secret\n"):  # a mounted secret often ends with a newline
            ask(teacher.url, key)
    assert teacher.keys == [None, None, "Bearer secret", "Bearer secret"]


@pytest.mark.parametrize("key", ["canary\nX-Other: 1", "canary\u2026", "canary key"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key):
    with pytest.raises(TeacherError, match="SODA_TEACHER_API_KEY: expected") as problem:
        ask("http://127.0.0.1:1", key)
    assert "canary" not in str(problem.value)


@pytest.mark.parametrize(
    "reply",
    [
        error(401, "bad key canary"),
        error(400, "bad key canary"),
        error(429, "bad key canary", "insufficient_quota"),
        error(503, "bad key canary"),
        (500, {}, b"Bearer canary"),
        (200, {}, {"error": "Bearer canary"}),
    ],
)
def test_no_message_holds_the_key_even_if_the_server_quotes_it(reply):
    with (
        fake_teacher(lambda body, times: reply) as teacher,
        pytest.raises((TeacherError, TeacherUnanswered), match=r"\*\*\*") as problem,
    ):
        ask(teacher.url, "canary")
    assert "canary" not in str(problem.value)


def test_stopping_ends_the_waits_but_not_the_request_under_way():
    def behaviour(body, times):
        if times == 0:
            return error(429, "slow down", Retry_After="600")
        time.sleep(0.4)
        return completion("good")

    async def stop_while_they_run(url):
        async with httpx.AsyncClient() as http:
            waiting, running = TeacherClient(http, url, None), TeacherClient(http, url, None)
            tasks = [asyncio.create_task(waiting.complete(BODY))]
            await arrived(teacher, 1)
            tasks.append(asyncio.create_task(running.complete(BODY)))
            await arrived(teacher, 2)
            waiting.stop()
            running.stop()
            return await asyncio.gather(*tasks, return_exceptions=True)

    with fake_teacher(behaviour) as teacher:
        stopped, answered = asyncio.run(stop_while_they_run(teacher.url))
    assert isinstance(stopped, TeacherUnanswered) and "slow down" in str(stopped)
    assert answered["text"] == "good"
