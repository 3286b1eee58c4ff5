"""Recorded answers behind a real server, and a command that runs with it."""

import json
import os
import socket
import subprocess
import sys

import httpx
import pytest

from soda.commands.recorded_teacher import PORT, serve
from soda.errors import DataError

SHOW = "import os; print(*(os.environ[f'SODA_TEACHER_{n}'] for n in ('BASE_URL', 'MODEL')))"


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


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


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


def test_a_taken_port_is_left_alone(recording, port, capsys):
    with serve(recording, port) as (first, _), serve(recording, port) as (second, model):
        assert first != second
        assert ask(second, model, "Say one.").status_code == 200
    assert f"port {port} is taken" in capsys.readouterr().err


def test_an_empty_recording_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with (
        pytest.raises(DataError, match="expected recorded answers, found none"),
        serve(tmp_path / "empty.jsonl"),
    ):
        pass


def soda(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "soda", "recorded-teacher", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_command_gets_the_address_and_gives_its_exit_code(recording, port):
    call = f"{SHOW}; import sys, httpx; a = sys.argv[1]; sys.exit(int(a.removeprefix('--code=')))"
    ran = soda("--port", port, recording, "--", sys.executable, "-c", call, "--code=7")
    url, model = ran.stdout.split()
    assert (ran.returncode, url) == (7, f"http://127.0.0.1:{port}/v1"), ran.stderr
    assert model.startswith("recorded-") and model in ran.stderr


def test_a_real_teacher_in_the_environment_is_kept(tmp_path):
    missing = tmp_path / "not-even-read.jsonl"
    teacher = {"SODA_TEACHER_BASE_URL": "http://real/v1", "SODA_TEACHER_MODEL": "big"}
    ran = soda(missing, "--", sys.executable, "-c", f"{SHOW}; raise SystemExit(3)", **teacher)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (3, ["http://real/v1", "big"], "")


def test_a_missing_recording_is_one_line_and_exit_2(tmp_path):
    ran = soda(tmp_path / "none.jsonl", "--", sys.executable, "-c", "print('ran')")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "none.jsonl: expected a file of answers" in ran.stderr


def test_the_usual_port_is_the_same_for_every_run():
    assert PORT == 8723  # part of every journal key: another one asks everything again
