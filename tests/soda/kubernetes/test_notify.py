"""One message about a run's end: it fails nothing, and its address is a secret."""

import socket
import threading

import pytest

from soda.kubernetes.notify import notify
from tests.fakes.webhook import SECRET, webhook


@pytest.fixture
def hook(monkeypatch):
    with webhook() as running:
        monkeypatch.setenv("SODA_NOTIFY_URL", f"{running.url}\n")  # as a mounted secret ends
        yield running


def said(capfd):
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err and captured.out == ""
    return captured.err


def test_a_message_says_what_ran_how_it_ended_and_where_to_look(hook, capfd):
    links = {"run": "https://ui/#/runs/details/1", "registry": ""}
    notify("soda-distill tiny", "SUCCEEDED", "", links)
    text = "✓ soda-distill tiny: succeeded\nrun: https://ui/#/runs/details/1"
    assert hook.sent == [{"text": text}]
    assert said(capfd) == f"notify: {text}\n"


@pytest.mark.parametrize(
    ("state", "start"),
    [("FAILED", "✗ soda: failed\n"), ("CANCELLED", "· soda: cancelled\n")],
)
def test_an_error_is_one_line_of_bounded_length(hook, capfd, state, start):
    notify("soda", state, "it broke\n  here " + "x" * 2000, {})
    [message] = hook.sent
    assert message["text"].startswith(f"{start}it broke here xxx")
    assert len(message["text"]) == len(start) + 500
    said(capfd)


def test_without_an_address_the_message_is_only_said(capfd, monkeypatch):
    notify("soda", "SUCCEEDED", "", {})
    monkeypatch.setenv("SODA_NOTIFY_URL", " ")
    notify("soda", "SUCCEEDED", "", {})
    assert said(capfd) == "notify: ✓ soda: succeeded\n" * 2


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_webhook_that_refuses_fails_nothing(hook, capfd, status):
    hook.status = status
    notify("soda", "FAILED", "", {})
    assert said(capfd).splitlines()[-1] == (
        f"notify: the webhook in SODA_NOTIFY_URL answered {status}"
    )


def test_a_webhook_out_of_reach_fails_nothing(capfd, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/services/{SECRET}"
        monkeypatch.setenv("SODA_NOTIFY_URL", address)
        notify("soda", "FAILED", "", {})
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
    notify("soda", "FAILED", "", {})
    assert "the webhook in SODA_NOTIFY_URL cannot be reached: " in said(capfd)


@pytest.mark.parametrize(
    "address", [SECRET, f"hooks.example/{SECRET}", f"{SECRET}:x", f"file:///no/{SECRET}"]
)
def test_an_address_of_another_kind_fails_nothing_and_is_not_shown(capfd, monkeypatch, address):
    monkeypatch.setenv("SODA_NOTIFY_URL", address)
    notify("soda", "FAILED", "", {})
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
        notify("soda", "FAILED", "", {})
        thread.join()
    assert "cannot be reached" in said(capfd)
