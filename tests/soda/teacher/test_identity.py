"""Who is behind a teacher's name: what is listed, what it says, and what counts as another."""

import dataclasses
import json
import socket

import pytest

from soda.endpoint.address import Address
from soda.endpoint.client import Endpoint
from soda.errors import EndpointError
from soda.teacher.caller import TEACHER
from soda.teacher.fingerprint import PROBES
from soda.teacher.identity import Listed, Look, Proof, difference, look_at, prove
from tests.fakes.listing_teacher import listing_teacher
from tests.fakes.waits import SHORT

BODY = {"model": "big", "max_tokens": 100}


@pytest.fixture
def teacher():
    with listing_teacher() as running:
        running.lists("big", "small")
        yield running


def endpoint(teacher, headers=None):
    return Endpoint(TEACHER, Address.parse(getattr(teacher, "url", teacher)), headers or {})


def proof(teacher, **body):
    return prove(endpoint(teacher), {**BODY, **body})


def look(teacher, **body):
    return look_at(endpoint(teacher), {**BODY, **body}, SHORT)


def refusal(call, *arguments, **named):
    with pytest.raises(EndpointError) as refused:
        call(*arguments, **named)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- a proof


def test_one_token_is_the_proof_and_the_list_a_hint(teacher):
    assert proof(teacher) == Proof(listed=True, served="big-2026-01")
    assert teacher.calls == ["GET /v1/models", "POST /v1/chat/completions"]


@pytest.mark.parametrize("name", ["models/big", "big:latest", "Big", "big@001"])
def test_a_list_may_spell_the_name_in_another_way(teacher, name):
    teacher.lists(name, "small")
    assert proof(teacher).listed


def test_a_model_that_is_not_listed_and_answers_is_fine(teacher):
    teacher.lists("small")  # the first page of many, say
    assert proof(teacher) == Proof(listed=False, served="big-2026-01")


def test_a_model_that_does_not_answer_is_refused_with_the_nearest_of_the_list(teacher):
    teacher.knows = {"big", "small"}
    text = refusal(proof, teacher, model="bigg")
    assert "no model 'bigg' there" in text and text.endswith("did you mean 'big'?")
    assert "known: big, small" in refusal(proof, teacher, model="xyz")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501])
def test_an_endpoint_without_a_list_is_no_fault(teacher, status):
    teacher.list_fails = status
    assert proof(teacher).listed is None


@pytest.mark.parametrize("models", [["big"], "big", [{"name": "big"}], [], {"big": 1}, None])
def test_a_list_in_another_form_is_no_list(teacher, models):
    teacher.models = models
    assert proof(teacher).listed is None


def test_a_key_that_opens_the_list_alone_is_refused_and_not_shown(teacher, monkeypatch):
    teacher.key = "right"
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "canary-9f31")
    for status in (0, 404):
        teacher.list_fails = status
        text = refusal(proof, teacher)
        assert "the key in SODA_TEACHER_API_KEY was refused" in text and "canary" not in text
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "right\n")
    assert proof(teacher)


def test_sampling_that_the_model_refuses_is_seen(teacher):
    teacher.refuses = {"temperature": None}
    assert "Unsupported value: 'temperature'" in refusal(proof, teacher, temperature=0.7)
    assert proof(teacher)


def test_a_model_that_wants_more_than_one_token_is_asked_as_the_recipe_asks(teacher):
    teacher.refuses = {"max_completion_tokens": 1}
    assert prove(endpoint(teacher), {"model": "big", "max_completion_tokens": 5000})
    assert teacher.calls.count("POST /v1/chat/completions") == 2


def test_an_answer_that_is_cut_or_empty_is_a_proof(teacher):
    teacher.says = ""
    assert proof(teacher)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_or_fails_is_one_line(teacher, status):
    teacher.fails = status
    assert refusal(proof, teacher) == (
        f"{teacher.url}: expected an answer, found: {status} told to fail"
    )


def test_an_endpoint_out_of_reach_is_one_line():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        text = refusal(proof, url)
    assert text.startswith(f"{url}: expected an answer, found: no connection to ")


# --- a look


def test_a_look_takes_the_list_and_twelve_answers(teacher):
    seen = look(teacher)
    assert (seen.endpoint, seen.model) == (teacher.url, "big")
    assert seen.listed == Listed("big", 1, "vendor")
    assert seen.fingerprint.model == "big-2026-01"
    assert seen.fingerprint.answers == (("as ever",) * 2,) * len(PROBES)
    assert sorted(teacher.calls) == ["GET /v1/models"] + ["POST /v1/chat/completions"] * 12
    assert Look.from_json(json.loads(json.dumps(seen.to_json()))) == seen


def test_a_teacher_that_says_nothing_is_refused(teacher):
    teacher.says = ""
    assert "expected an answer to a probe prompt, found none: empty" in refusal(look, teacher)
    teacher.says, teacher.fails = "as ever", 503
    assert refusal(look, teacher).endswith("a probe prompt, found none: 503")


def changed(teacher, **values):
    before = look(teacher)
    for key, value in values.items():
        setattr(teacher, key, value)
    return difference(before, look(teacher))


def test_the_same_teacher_has_no_difference(teacher):
    assert changed(teacher).kind == "same"
    assert changed(teacher, fingerprint="fp_2").kind == "same"  # deployments have several


def test_another_entry_in_the_list_is_a_difference(teacher):
    other = [{"id": "big", "created": 2, "owned_by": "vendor"}]
    found = changed(teacher, models=other)
    assert found.kind == "changed"
    assert found.why.startswith('the endpoint lists it as {"id": "big", "created": 2')
    more = [{**other[0], "status": "busy"}, {"id": "new", "created": 3}]
    assert changed(teacher, models=more).kind == "same"
    assert changed(teacher, models=None).kind == "same"


def test_another_name_or_other_answers_are_a_difference(teacher):
    found = changed(teacher, served="big-2")
    assert found.why == "it is served as 'big-2', before as 'big-2026-01'"
    found = changed(teacher, says="something else")
    assert found.kind == "changed"
    assert found.why == "it gives the same answer to 0 of 6 probe prompts only"


def test_a_few_answers_in_other_words_are_no_difference(teacher):
    assert changed(teacher, answers=dict.fromkeys(PROBES[:3], "new")).kind == "same"
    assert changed(teacher, answers=dict.fromkeys(PROBES[:4], "newer")).kind == "changed"


def test_another_endpoint_or_model_is_a_difference(teacher):
    seen = look(teacher)
    other = dataclasses.replace(seen, model="small")
    assert difference(seen, other).why == "the model is 'small', before 'big'"
    other = dataclasses.replace(seen, endpoint="http://b")
    assert "the endpoint is 'http://b'" in difference(seen, other).why
    assert difference(dataclasses.replace(seen, fingerprint=None), seen).kind == "unclear"


def test_the_same_machine_under_another_name_is_no_difference(teacher):
    seen = look(teacher)
    again = look(teacher.url.replace("127.0.0.1", "localhost"))
    assert difference(seen, again).kind == "same"


def test_an_identity_is_short_and_of_what_was_seen(teacher):
    first = look(teacher)
    assert first.identity == look(teacher).identity and len(first.identity) == 12
    teacher.says = "something else"
    assert look(teacher).identity != first.identity
