"""Who is behind a teacher's name: what is listed, what it says, and what counts as another."""

import socket

import pytest

from soda.errors import EndpointError
from soda.teacher.fingerprint import PROBES
from soda.teacher.identity import difference, find_model, identity_of, look_at
from tests.fakes.listing_teacher import listing_teacher

BODY = {"model": "big", "max_tokens": 100}


@pytest.fixture
def teacher():
    with listing_teacher() as running:
        running.lists("big", "small")
        yield running


def refusal(call, *arguments):
    with pytest.raises(EndpointError) as refused:
        call(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_model_is_found_in_the_list_with_one_request(teacher):
    assert find_model(teacher.url, "big") == {"id": "big", "created": 1, "owned_by": "vendor"}
    assert teacher.calls == ["GET /v1/models"]


def test_a_model_that_is_not_listed_is_refused_with_the_nearest(teacher):
    assert refusal(find_model, teacher.url, "bigg") == (
        f"{teacher.url}/models: expected 'bigg', which is not there; did you mean 'big'?"
    )
    assert "known: big, small" in refusal(find_model, teacher.url, "xyz")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_endpoint_without_a_list_is_no_fault(teacher, status):
    teacher.list_fails = status
    assert find_model(teacher.url, "big") is None


def test_without_a_list_a_wrong_key_shows_by_a_prompt(teacher, monkeypatch):
    teacher.list_fails, teacher.key = 404, "right"
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "wrong")
    assert "the key in SODA_TEACHER_API_KEY was refused" in refusal(find_model, teacher.url, "big")


@pytest.mark.parametrize("models", [["big"], "big", [{"name": "big"}]])
def test_a_list_in_another_form_is_no_list(teacher, models):
    teacher.models = models
    assert find_model(teacher.url, "big") is None


def test_a_wrong_key_is_refused_and_not_shown(teacher, monkeypatch):
    teacher.key = "right"
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "canary-9f31")
    text = refusal(find_model, teacher.url, "big")
    assert "the key in SODA_TEACHER_API_KEY was refused" in text and "canary" not in text
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "right\n")
    assert find_model(teacher.url, "big")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_or_fails_is_one_line(teacher, status):
    teacher.fails = status
    text = refusal(find_model, teacher.url, "big")
    assert text == f"{teacher.url}/models: expected a list of models, found: {status} told to fail"


def test_an_endpoint_out_of_reach_is_one_line():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        text = refusal(find_model, url, "big")
    assert text.startswith(f"{url}/models: expected a list of models, found: ClientConnector")


def test_a_look_takes_the_list_and_six_answers(teacher):
    seen = look_at(teacher.url, BODY)
    assert (seen["endpoint"], seen["model"]) == (teacher.url, "big")
    assert seen["listed"]["created"] == 1
    assert seen["fingerprint"]["model"] == "big-2026-01"
    assert seen["fingerprint"]["answers"] == ["as ever"] * len(PROBES)
    assert sorted(teacher.calls) == ["GET /v1/models"] + ["POST /v1/chat/completions"] * 6


def test_a_teacher_that_says_nothing_is_refused(teacher):
    teacher.says = ""
    assert "expected an answer to a probe prompt, found none" in refusal(look_at, teacher.url, BODY)


def changed(teacher, **values):
    before = look_at(teacher.url, BODY)
    for key, value in values.items():
        setattr(teacher, key, value)
    return difference(before, look_at(teacher.url, BODY))


def test_the_same_teacher_has_no_difference(teacher):
    assert changed(teacher) is None
    assert changed(teacher, fingerprint="fp_2") is None  # a vendor's deployments have several


def test_another_entry_in_the_list_is_a_difference(teacher):
    other = [{"id": "big", "created": 2, "owned_by": "vendor"}]
    found = changed(teacher, models=other)
    assert found.startswith('the endpoint lists it as {"id": "big", "created": 2')
    more = [{**other[0], "status": "busy"}, {"id": "new", "created": 3}]
    assert changed(teacher, models=more) is None
    assert changed(teacher, models=None) is None


def test_another_name_or_other_answers_are_a_difference(teacher):
    assert changed(teacher, served="big-2") == "it is served as 'big-2', before as 'big-2026-01'"
    found = changed(teacher, says="something else")
    assert found == "it gives the same answer to 0 of 6 probe prompts only"


def test_a_few_answers_in_other_words_are_no_difference(teacher):
    assert changed(teacher, answers=dict.fromkeys(PROBES[:3], "new")) is None
    assert changed(teacher, answers=dict.fromkeys(PROBES[:4], "newer")) is not None


def test_another_endpoint_or_model_is_a_difference(teacher):
    seen = look_at(teacher.url, BODY)
    assert difference(seen, {**seen, "model": "small"}) == "the model is 'small', before 'big'"
    assert "the endpoint is 'http://b'" in difference(seen, {**seen, "endpoint": "http://b"})
    assert difference({**seen, "fingerprint": None}, seen) is None


def test_an_identity_is_short_and_of_what_was_seen(teacher):
    first = look_at(teacher.url, BODY)
    assert identity_of(first) == identity_of(look_at(teacher.url, BODY))
    assert len(identity_of(first)) == 12
    teacher.says = "something else"
    assert identity_of(look_at(teacher.url, BODY)) != identity_of(first)
