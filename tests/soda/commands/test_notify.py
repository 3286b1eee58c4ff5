"""What is done last, however a run ended: one message, and a failed run's teacher is let go."""

import json
import socket
import threading

import pytest

from soda import storage
from soda.commands.notify import notify, post_message
from tests.fakes.webhook import SECRET, webhook


@pytest.fixture
def hook(monkeypatch):
    with webhook() as running:
        monkeypatch.setenv("SODA_NOTIFY_URL", f"{running.url}\n")  # as a mounted secret ends
        yield running


def end(state, store, **changed):
    values = {
        "error": "",
        "register_config": {
            "name": "tiny",
            "registry": "gs://models/soda",
            "teacher_licence": "MIT",
        },
        "run": "run-1",
        "ui": "https://kubeflow.example/pipeline/",
    } | changed
    notify("soda-refresh", state=state, store=store, **values)


@pytest.fixture
def taken(tmp_path):
    """A store in which run-1 has taken a teacher, and what it says of that."""
    store = storage.Place.of(str(tmp_path / "store")).open()
    store.write("watch/tiny.json", json.dumps({"run": "run-1", "failed": False}).encode())
    return store


def failed(store):
    return json.loads(store.read("watch/tiny.json")[0])["failed"]


def test_a_run_that_succeeded_is_told_with_its_links(hook, taken):
    end("SUCCEEDED", taken.url)
    assert hook.sent == [
        {
            "text": "✓ soda-refresh tiny: succeeded\n"
            "run: https://kubeflow.example/pipeline/#/runs/details/run-1\n"
            "registry: gs://models/soda/tiny"
        }
    ]
    assert not failed(taken)


@pytest.mark.parametrize(("state", "mark"), [("FAILED", "✗"), ("CANCELLED", "·")])
def test_an_error_is_one_line_of_bounded_length(hook, tmp_path, state, mark):
    end(state, str(tmp_path), error="it broke\n  here " + "x" * 2000, register_config={}, ui="")
    head, line = hook.sent[0]["text"].split("\n")
    assert head == f"{mark} soda-refresh: {state.lower()}"
    assert line.startswith("it broke here xxx") and len(line) == 500


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_run_that_did_not_succeed_lets_its_teacher_go(hook, taken, state):
    end(state, taken.url, error="train: out of\nmemory")
    assert "\ntrain: out of memory\n" in hook.sent[0]["text"]
    assert failed(taken)


def test_another_runs_teacher_is_not_let_go(hook, taken):
    end("FAILED", taken.url, run="run-2")
    assert not failed(taken)


def test_a_run_that_took_no_teacher_is_told_of_all_the_same(hook, tmp_path):
    end("FAILED", str(tmp_path / "store"))
    assert len(hook.sent) == 1 and not (tmp_path / "store" / "watch").exists()


def test_a_pipeline_that_registers_nothing_is_told_of_without_links(hook, tmp_path):
    end("FAILED", str(tmp_path / "store"), register_config={}, ui="")
    assert hook.sent == [{"text": "✗ soda-refresh: failed"}]


def test_a_store_out_of_reach_is_said_and_the_message_goes_out(hook, tmp_path, capfd):
    (tmp_path / "file").write_text("no folder")
    end("FAILED", str(tmp_path / "file" / "store"))
    assert len(hook.sent) == 1
    first, *_ = capfd.readouterr().err.splitlines()
    assert first.startswith("notify: ") and str(tmp_path / "file") in first


def test_a_webhook_that_refuses_does_not_keep_the_teacher(hook, taken, capfd):
    hook.status = 500
    end("FAILED", taken.url)
    assert failed(taken)
    err = capfd.readouterr().err
    assert "answered 500" in err and SECRET not in err


def said(capfd):
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err and captured.out == ""
    return captured.err


def test_without_an_address_the_message_is_only_said(capfd, monkeypatch):
    post_message("it ended")
    monkeypatch.setenv("SODA_NOTIFY_URL", " ")
    post_message("it ended")
    assert said(capfd) == "notify: it ended\n" * 2


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_webhook_that_refuses_fails_nothing(hook, capfd, status):
    hook.status = status
    post_message("it ended")
    assert said(capfd).splitlines()[-1] == (
        f"notify: the webhook in SODA_NOTIFY_URL answered {status}"
    )


def test_a_webhook_out_of_reach_fails_nothing(capfd, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/services/{SECRET}"
        monkeypatch.setenv("SODA_NOTIFY_URL", address)
        post_message("it ended")
    last = said(capfd).splitlines()[-1]
    assert last.startswith("notify: the webhook in SODA_NOTIFY_URL cannot be reached: ")
    assert "refused" in last


@pytest.mark.parametrize(
    "address",
    [
        f"http://hooks.example:{SECRET}/x",
        f"http://127.0.0.1:1/{SECRET} with a blank",
        f"http://[::1/{SECRET}",
        f"http://127.0.0.1:1/{SECRET}/ü",
        f"https://me:{SECRET}@127.0.0.1:1/",
    ],
)
def test_an_address_that_is_none_fails_nothing_and_is_not_shown(capfd, monkeypatch, address):
    monkeypatch.setenv("SODA_NOTIFY_URL", address)
    post_message("it ended")
    assert "the webhook in SODA_NOTIFY_URL cannot be reached: " in said(capfd)


@pytest.mark.parametrize(
    "address", [SECRET, f"hooks.example/{SECRET}", f"{SECRET}:x", f"file:///no/{SECRET}"]
)
def test_an_address_of_another_kind_fails_nothing_and_is_not_shown(capfd, monkeypatch, address):
    monkeypatch.setenv("SODA_NOTIFY_URL", address)
    post_message("it ended")
    assert "SODA_NOTIFY_URL: expected http:// or https://, found another" in said(capfd)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-no-web-server\r\n"])
def test_an_address_of_something_else_fails_nothing(capfd, monkeypatch, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/services/{SECRET}"
        monkeypatch.setenv("SODA_NOTIFY_URL", address)

        def reply():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        post_message("it ended")
        thread.join()
    assert "cannot be reached" in said(capfd)
