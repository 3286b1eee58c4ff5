"""Recorded answers behind a real server."""

import json

import httpx
import pytest

from soda.errors import ConfigError, DataError
from soda_pipelines.recorded_teacher import PORT, serve


@pytest.fixture
def recording(tmp_path):
    rows = [
        {"prompt": "Say one.", "response": "one"},
        {"prompt": "Count.", "response": "1 2 3", "finish_reason": "length"},
        {"prompt": "Bad.", "response": "", "finish_reason": "content_filter"},
    ]
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(url, model, prompt):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 5}
    return httpx.post(f"{url}/chat/completions", json=body)


def test_it_serves_its_model_and_its_answers(recording, port):
    with serve(recording, port) as (url, model):
        assert url == f"http://127.0.0.1:{port}/v1"
        assert [row["id"] for row in httpx.get(f"{url}/models").json()["data"]] == [model]
        replies = [ask(url, model, prompt).json() for prompt in ("Say one.", "Count.", "Bad.")]
    choices = [reply["choices"][0] for reply in replies]
    assert [choice["message"]["content"] for choice in choices] == ["one", "1 2 3", ""]
    finishes = [choice["finish_reason"] for choice in choices]
    assert finishes == ["stop", "length", "content_filter"]
    assert {reply["model"] for reply in replies} == {model}


def test_an_unknown_prompt_and_a_wrong_model_are_refused(recording, port):
    with serve(recording, port) as (url, model):
        unknown, wrong = ask(url, model, "Say two."), ask(url, "gpt-x", "Say one.")
    assert unknown.status_code == 400 and "no answer" in unknown.json()["error"]["message"]
    assert wrong.status_code == 404 and model in wrong.json()["error"]["message"]


def test_another_recording_has_another_name(recording, port):
    with serve(recording, port) as (_, one):
        pass
    recording.write_text('{"prompt": "Say one.", "response": "two"}\n')
    with serve(recording, port) as (_, other):
        assert one != other


@pytest.mark.parametrize("wrong", [None, 99999])
def test_a_port_that_it_cannot_have_is_refused_and_no_other_is_taken(recording, port, wrong):
    refused = pytest.raises(
        ConfigError, match=f"listen on port {wrong or port} .* --port, and keep"
    )
    with serve(recording, port) as (url, model):
        with refused, serve(recording, wrong or port):
            pass
        assert ask(url, model, "Say one.").status_code == 200


def test_an_empty_recording_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with (
        pytest.raises(DataError, match="expected recorded answers, found none"),
        serve(tmp_path / "empty.jsonl"),
    ):
        pass


def test_the_usual_port_is_the_same_for_every_run():
    assert PORT == 8723  # part of every journal key: another one asks everything again
