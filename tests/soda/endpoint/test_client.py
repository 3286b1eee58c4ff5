"""One request against a real server on loopback: its answer, or what its failure means."""

import asyncio
import email.utils
import re
import time

import pytest

from soda.endpoint.client import Busy, TeacherClient, Unanswered, open_session
from soda.errors import EndpointError
from tests.fakes.teacher import completion, echo, error, fake_teacher

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def ask(url, key=None, timeout=5):
    async def send():
        async with open_session(timeout) as session:
            return await TeacherClient(session, url, key).complete(BODY)

    return asyncio.run(send())


def answered_with(reply, **values):
    """Ask a server that answers so; return what is raised."""
    with fake_teacher(lambda body, times: reply) as teacher:
        with pytest.raises((Busy, Unanswered, EndpointError)) as problem:
            ask(teacher.url, **values)
        assert teacher.asked.total() == 1
    return problem.value


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
    assert (answer["model"], answer["fingerprint"]) == ("fake-1", "fp")
    assert (answer["prompt_tokens"], answer["tokens"]) == (5, 3)


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (error(400, "too long", "context_length_exceeded"), "context_length_exceeded: too long"),
        (completion("", refusal="I won't"), "I won't"),
    ],
)
def test_a_refusal_says_why(reply, detail):
    with fake_teacher(lambda body, times: reply) as teacher:
        assert ask(teacher.url)["detail"] == detail


@pytest.mark.parametrize(
    ("reply", "problem", "billed"),
    [
        (error(500, "oops"), "500 oops", False),
        (error(502, "oops"), "502 oops", False),
        (error(408, "slow"), "408 slow", False),
        ((503, {}, b"<html>busy</html>"), "503 <html>busy", False),
        ((0, {}, b""), "ServerDisconnectedError", True),
        ((200, {"Content_Length": "9"}, b"{torn"), "", True),
        ((200, {}, b"{torn"), "expected a chat completion", True),
        ((200, {}, b"\xff\xfe"), "expected a chat completion", True),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "ContentEncodingError|gzip", True),
        ((200, {}, []), "expected a chat completion", True),
        ((200, {}, {"choices": []}), "expected a chat completion", True),
        ((200, {}, {"choices": [{"message": None}]}), "expected a chat completion", True),
        ((200, {}, {"choices": [{"message": {"content": [{}]}}]}), "expected a chat", True),
        ((200, {}, {"error": {"message": "overloaded"}}), "overloaded", True),
    ],
)
def test_a_failure_that_may_pass_says_whether_it_may_be_billed(reply, problem, billed):
    found = answered_with(reply, timeout=1)
    assert isinstance(found, Unanswered) and found.billed is billed
    assert re.search(problem, str(found))


def test_silence_is_a_failure_that_may_be_billed():
    def behaviour(body, times):
        time.sleep(1)
        return completion("late")

    with fake_teacher(behaviour) as teacher, pytest.raises(Unanswered, match="Timeout") as problem:
        ask(teacher.url, timeout=0.2)
    assert problem.value.billed


def test_where_nobody_listens_nothing_is_billed():
    with fake_teacher() as teacher:
        pass
    with pytest.raises(Unanswered, match="ClientConnectorError") as problem:
        ask(teacher.url)
    assert not problem.value.billed


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ({}, None, None),
        ({"Retry_After": "0.3"}, 0.3, 0.3),
        ({"Retry_After": "7"}, 7, 7),
        ({"Retry_After": None}, 200, 301),  # a date in five minutes
    ],
)
def test_a_429_asks_for_patience_in_either_form(header, low, high):
    date = email.utils.formatdate(time.time() + 300)
    found = answered_with(error(429, "slow down", **{key: header[key] or date for key in header}))
    assert isinstance(found, Busy) and "slow down" in str(found)
    assert found.wait is None if low is None else low <= found.wait <= high


def test_a_503_can_say_how_long_to_wait():
    assert answered_with(error(503, "busy", Retry_After="0.3")).wait == 0.3


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
        pytest.raises(EndpointError, match=problem),
    ):
        ask(teacher.url)
    assert teacher.asked.total() == 1


def test_a_url_that_is_none_is_refused():
    with pytest.raises(EndpointError, match="expected a URL"):
        ask("http://127.0.0.1:port/v1")


def test_the_key_is_sent_only_if_there_is_one():
    with fake_teacher(echo) as teacher:
        for key in (None, "", "secret", "secret\n"):  # a mounted secret often ends with a newline
            ask(teacher.url, key)
    assert teacher.keys == [None, None, "Bearer secret", "Bearer secret"]


@pytest.mark.parametrize("key", ["canary\nX-Other: 1", "canary\u2026", "canary key"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key):
    with pytest.raises(EndpointError, match="SODA_TEACHER_API_KEY: expected") as problem:
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
        pytest.raises((EndpointError, Unanswered), match=r"\*\*\*") as problem,
    ):
        ask(teacher.url, "canary")
    assert "canary" not in str(problem.value)


def test_the_environments_proxy_is_used_where_it_is_meant(monkeypatch):
    with fake_teacher(echo) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("//", "//me:word@"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert ask("http://teacher.example/v1")["outcome"] == "answered"
        assert proxy.asked.total() == 1
        with fake_teacher(echo) as direct:
            ask(direct.url)
            assert direct.asked.total() == 1 and proxy.asked.total() == 1
