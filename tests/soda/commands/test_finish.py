"""What is done last, however a run ended: one message, and the teacher is let go."""

import json

import pytest

from soda import storage
from soda.commands.finish import finish
from tests.fakes.webhook import SECRET, webhook


@pytest.fixture
def hook(monkeypatch):
    with webhook() as running:
        monkeypatch.setenv("SODA_NOTIFY_URL", running.url)
        yield running


def end(state, store, **changed):
    values = {
        "error": "",
        "register_config": {"name": "tiny", "registry": "gs://models/soda"},
        "run": "run-1",
        "ui": "https://kubeflow.example/pipeline/",
    } | changed
    finish("soda-refresh", state=state, store=store, **values)


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
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("finish: ")]
    assert str(tmp_path / "file") in line


def test_a_webhook_that_refuses_does_not_keep_the_teacher(hook, taken, capfd):
    hook.status = 500
    end("FAILED", taken.url)
    assert failed(taken)
    err = capfd.readouterr().err
    assert "answered 500" in err and SECRET not in err
