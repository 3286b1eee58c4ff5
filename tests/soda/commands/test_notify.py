"""What is done last, however a run ended: one message, and a failed run's teacher is let go."""

import json
import socket
import threading

import pytest

from soda import storage
from soda.commands.notify import notify, post_message
from soda.errors import ModelError
from soda.run_state import recording
from tests.fakes.kubernetes import fake_kubernetes, inside
from tests.fakes.web import Reply, serve
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
        "ui": "https://kubeflow.example/pipeline/",
    } | changed
    notify("soda-refresh", state=state, store=store, **values)


@pytest.fixture(autouse=True)
def _in_a_run(monkeypatch):
    monkeypatch.setenv("SODA_RUN_ID", "run-1")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def cluster(monkeypatch):
    with fake_kubernetes() as fake:
        inside(fake, monkeypatch)
        monkeypatch.setenv("SODA_WORKFLOW", "run-x7k")
        fake.workflows["run-x7k"] = {"spec": {}, "status": {}}
        yield fake


@pytest.fixture
def taken(tmp_path):
    """A store in which run-1 has taken a teacher, and what it says of that."""
    store = storage.Place.of(str(tmp_path / "store")).open()
    store.write("watch/tiny.json", json.dumps({"run": "run-1", "failed": False}).encode())
    return store


def failed(store):
    return json.loads(store.read("watch/tiny.json")[0])["failed"]


def left(store, step, *, fails="", stops=False, **facts):
    """Let a step of run-1 leave what it would."""
    try:
        with recording(step, store=store.url, out=step) as tell:
            if facts:
                tell(**facts)
            if stops:
                raise SystemExit(143)
            if fails:
                raise ModelError(fails)
    except (ModelError, SystemExit):
        pass


CHAMPION = {"name": "tiny", "version": 3, "champion": True, "failed_checks": []}
BEATEN = {**CHAMPION, "champion": False, "failed_checks": ["rouge_l.change.low > 0"]}
# What Kubeflow 2.17 says of a run, which of these it is it does not tell.
STATES = ["COMPLETE", "RUNNING", "FAILED", "SUCCEEDED"]


def sentence(hook):
    return hook.sent[-1]["text"].splitlines()[0]


@pytest.mark.parametrize("state", STATES)
def test_a_new_champion_is_told_with_links(hook, taken, state):
    left(taken, "watch", outcome="new", evidence=["no champion"])
    left(taken, "train")
    left(taken, "register", **CHAMPION)
    end(state, taken.url)
    assert hook.sent == [
        {
            "text": "✓ soda-refresh tiny: version 3 is the champion\n"
            "run: https://kubeflow.example/pipeline/#/runs/details/run-1\n"
            "registry: gs://models/soda/tiny"
        }
    ]
    assert not failed(taken)


@pytest.mark.parametrize("state", STATES)
def test_a_student_that_is_no_champion_keeps_its_teacher_and_says_why(hook, taken, state):
    left(taken, "register", **BEATEN)
    end(state, taken.url)
    assert sentence(hook) == (
        "· soda-refresh tiny: version 3 is registered and is not the champion: "
        "expected rouge_l.change.low &gt; 0"
    )
    assert not failed(taken)


@pytest.mark.parametrize("state", STATES)
def test_nothing_new_is_no_failure(hook, taken, state):
    left(taken, "watch", outcome="unchanged", evidence=["champion: tiny version 1", "still served"])
    end(state, taken.url)
    assert sentence(hook) == (
        "· soda-refresh tiny: nothing new, the teacher is unchanged: champion: tiny version 1; "
        "still served"
    )
    assert not failed(taken)


def test_a_failure_names_the_step_and_the_error_and_lets_the_teacher_go(hook, taken):
    left(taken, "watch", outcome="changed", evidence=["other answers"])
    left(taken, "teacher-gen")
    left(taken, "train", fails="expected memory for one example,\nfound too little")
    end("FAILED", taken.url)
    assert sentence(hook) == (
        "✗ soda-refresh tiny: failed at train: expected memory for one example, found too little"
    )
    assert failed(taken)


def test_a_cancelled_run_is_no_failed_one(hook, taken, cluster):
    cluster.workflows["run-x7k"]["spec"] = {"activeDeadlineSeconds": 0}
    left(taken, "train", stops=True)
    end("FAILED", taken.url)
    assert sentence(hook) == (
        "■ soda-refresh tiny: cancelled while train was at work; submit it again: it continues "
        "from what is in the store"
    )
    assert failed(taken)


def test_a_step_whose_pod_was_lost_is_named_with_argos_words(hook, taken, cluster):
    node = {"type": "Pod", "phase": "Error", "message": "pod deleted"}
    nodes = {"a": {**node, "name": "run-x7k.root.train.executor(3)"}}
    cluster.workflows["run-x7k"]["status"] = {"nodes": nodes}
    left(taken, "train", stops=True)
    end("FAILED", taken.url)
    assert "failed at train: pod deleted; submit it again" in sentence(hook)


def test_a_step_that_was_killed_is_named(hook, taken):
    left(taken, "snapshot", stops=True)
    end("FAILED", taken.url)
    assert "failed at snapshot: its pod or its process was killed" in sentence(hook)


def test_a_driver_that_failed_before_any_step_began_is_named(hook, taken, cluster):
    node = {"type": "Pod", "phase": "Failed", "message": "Expected a non-empty string"}
    nodes = {"a": {**node, "name": "run-x7k.root.exit-handler-1.preflight-driver"}}
    cluster.workflows["run-x7k"]["status"] = {"nodes": nodes}
    end("FAILED", taken.url)
    assert "failed at preflight: Expected a non-empty string" in sentence(hook)


def test_a_trainjob_that_a_cancelled_run_left_training_is_deleted(hook, taken, cluster):
    cluster.workflows["run-x7k"]["spec"] = {"shutdown": "Terminate"}
    cluster.jobs["soda-train-1"] = {"metadata": {"name": "soda-train-1"}}
    left(taken, "train", stops=True, trainjob="soda-train-1")
    end("FAILED", taken.url)
    assert not cluster.jobs


def test_a_comparison_is_ready(hook, tmp_path):
    store = storage.Place.of(str(tmp_path / "store")).open()
    left(store, "compare")
    end("COMPLETE", store.url, register_config={}, ui="")
    assert hook.sent == [{"text": "✓ soda-refresh: the comparison is ready"}]


def test_what_was_told_is_forgotten_so_that_a_retry_begins_with_nothing(hook, taken):
    left(taken, "train", fails="out of memory")
    end("FAILED", taken.url)
    left(taken, "register", **CHAMPION)
    end("RUNNING", taken.url)
    assert "is the champion" in sentence(hook)
    assert not list(taken.list("runs/"))


def test_a_cluster_that_refuses_a_look_keeps_no_message_back(hook, taken, cluster, capfd):
    cluster.fail("GET workflows", 403)
    left(taken, "train", fails="out of memory")
    end("FAILED", taken.url)
    assert "failed at train: out of memory" in sentence(hook)
    assert "notify: Kubernetes refused" in capfd.readouterr().err


@pytest.mark.parametrize(("state", "mark"), [("FAILED", "✗"), ("COMPLETE", "✓")])
def test_where_no_step_left_anything_kubeflows_word_is_all(hook, tmp_path, state, mark):
    end(state, str(tmp_path), register_config={}, ui="")
    assert hook.sent[0]["text"].startswith(f"{mark} soda-refresh: {state.lower()}")


def test_an_error_is_one_line_of_bounded_length(hook, taken):
    left(taken, "train", fails="it broke\n  here " + "x" * 2000)
    end("FAILED", taken.url)
    assert "failed at train: it broke here xxx" in sentence(hook) and len(sentence(hook)) < 600


def test_another_runs_teacher_is_not_let_go(hook, taken, monkeypatch):
    monkeypatch.setenv("SODA_RUN_ID", "run-2")
    end("FAILED", taken.url)
    assert not failed(taken)


def test_a_run_that_took_no_teacher_is_told_of_all_the_same(hook, tmp_path):
    end("FAILED", str(tmp_path / "store"))
    assert len(hook.sent) == 1 and not (tmp_path / "store" / "watch").exists()


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


def test_what_others_wrote_calls_nobody_and_links_nowhere(hook, tmp_path):
    error = "<!channel> <https://evil.example|log in> @here \x1b[2J"
    end("FAILED", str(tmp_path), error=error, register_config={}, ui="")
    text = hook.sent[0]["text"]
    assert "<" not in text and "@here" not in text and "\x1b" not in text
    assert "&lt;!channel&gt; &lt;https://evil.example|log in&gt;" in text


def test_a_redirect_of_the_webhook_is_not_followed(monkeypatch, capsys):
    with webhook() as elsewhere:
        moved = Reply(302, headers={"Location": elsewhere.url})
        with serve(lambda asked: moved) as address:
            monkeypatch.setenv("SODA_NOTIFY_URL", f"{address}/hook")
            post_message("text")
        assert elsewhere.sent == []
    assert "the webhook in SODA_NOTIFY_URL answered 302" in capsys.readouterr().err
