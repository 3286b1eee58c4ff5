"""The engines beside this process: vLLM and a server. Both have to hand over the same answers."""

import contextlib
import json
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import soda
from soda.errors import ModelError
from soda.student import endpoint
from soda.student.chat import ChatFormat
from soda.student.engines import endpoint_engine, transformers_engine, vllm_engine
from soda.student.generate import Answer, Sampling, load_model, sample_ids


class Server:
    """Completions of a real model, with faults to come first."""

    def __init__(self, folder, faults=()):
        if folder is not None:
            self.chat = ChatFormat.load(folder)
            self.model = load_model(folder)
        self.faults = list(faults)
        self.requests = []
        self.lock = threading.Lock()

    def complete(self, body):
        sampling = Sampling(body["temperature"], body["top_p"], body["max_tokens"], 0, 1)
        with self.lock:
            found = dict(sample_ids(self.model, self.chat, [body["prompt"]], sampling))[0]
        stopped = found[-1] == self.chat.end_of_turn
        choice = {
            "text": self.chat.tokenizer.decode(found[:-1] if stopped else found),
            "finish_reason": "stop" if stopped else "length",
        }
        return {"choices": [choice], "usage": {"completion_tokens": len(found)}}


@contextlib.contextmanager
def serving(server):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((self.path, dict(self.headers), body))
            status, answer = 200, None
            if server.faults:
                status, answer = server.faults.pop(0)
            answer = answer or server.complete(body)
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have left
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/v1"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.fixture
def chat(made):
    return ChatFormat.load(made["base"].path)


def snapshot(made, out, **config):
    inputs = {"prompts": made["prompts"].path, "model": made["base"].path}
    values = {"max_new_tokens": 8, "temperature": 0, **config}
    return soda.run("snapshot", inputs=inputs, config=values, out=out)


def rows(responses):
    return [(row.prompt.id, row.text, row.outcome, row.tokens) for row in responses.rows()]


def test_a_server_gives_the_same_artifact_through_faults(made, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("SODA_STUDENT_API_KEY", "canary-key")
    local = snapshot(made, tmp_path / "local")
    server = Server(made["base"].path, [(500, {"error": "no"}), (429, {"error": "later"})])
    with serving(server) as url:
        asked = {"engine": "endpoint", "endpoint": url, "endpoint_model": "student"}
        remote = snapshot(made, tmp_path / "remote", **asked)
    assert rows(remote) == rows(local)
    assert len(server.requests) == len(local) + 2
    path, headers, body = server.requests[0]
    assert path == "/v1/completions" and headers["Authorization"] == "Bearer canary-key"
    assert body["model"] == "student" and all(isinstance(token, int) for token in body["prompt"])
    for file in remote.path.rglob("*"):
        assert not file.is_file() or b"canary-key" not in file.read_bytes()


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        ([(401, {"error": "who?"})] * 99, "found status 401"),
        ([(503, {"error": "busy"})] * 99, "found status 503"),
        ([(200, {"choices": []})] * 99, "expected a completion, found"),
    ],
)
def test_a_server_that_will_not_answer_is_refused_in_one_line(
    made, tmp_path, monkeypatch, faults, found
):
    monkeypatch.setattr(endpoint, "_FIRST_WAIT_SECONDS", 0.001)
    with serving(Server(made["base"].path, faults)) as url:
        asked = {"engine": "endpoint", "endpoint": url, "endpoint_model": "student"}
        with pytest.raises(ModelError, match=found):
            snapshot(made, tmp_path / "remote", batch_size=2, **asked)
    assert not (tmp_path / "remote").exists()


STOP = {"text": "one", "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ((200, "no\n  JSON\n"), "found no JSON: Expecting value"),
        ((404, "<html>\n<h1>404</h1>\n</html>"), "found status 404: <html> <h1>404</h1> </html>"),
        ((401, "canary-key is not it"), r"found status 401: \*\*\* is not it"),
        ((200, {"choices": [{**STOP, "text": None}]}), "expected a completion, found"),
        ((200, {"choices": [{**STOP, "finish_reason": "abort"}]}), "'length', found 'abort'"),
        ((200, [STOP]), "expected a completion, found"),
    ],
)
def test_an_odd_reply_is_refused_in_one_line_without_the_key(monkeypatch, chat, reply, found):
    monkeypatch.setenv("SODA_STUDENT_API_KEY", "canary-key\n")
    with serving(Server(None, [reply])) as url:
        ask = endpoint_engine(url, "student", chat, Sampling(0, 1, 8, 0, 1))
        with pytest.raises(ModelError, match=found) as caught:
            ask([[5]], [[0]], lambda _: None)
    assert "\n" not in str(caught.value) and "canary-key" not in str(caught.value)


def test_tokens_that_a_server_does_not_count_are_counted_here(chat):
    replies = [(200, {"choices": [STOP], "usage": None})]
    with serving(Server(None, replies)) as url:
        ask = endpoint_engine(url, "student", chat, Sampling(0, 1, 8, 0, 1))
        found = ask([[5]], [[0]], lambda _: None)
    assert found == [Answer("one", True, chat.count("one") + 1)]


def test_nobody_at_the_address_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "_FIRST_WAIT_SECONDS", 0.001)
    asked = {"engine": "endpoint", "endpoint": "http://127.0.0.1:9/v1", "endpoint_model": "m"}
    with pytest.raises(ModelError, match="expected an answer of the student, found Cannot connect"):
        snapshot(made, tmp_path / "remote", **asked)


def test_vllm_is_given_ids_seeds_and_the_end_of_turn(made, monkeypatch):
    """vLLM itself needs a GPU; this stands at its interface and answers with the real model."""
    folder = made["base"].path
    chat = ChatFormat.load(folder)
    sampling = Sampling(0, 1, 8, 0, 4)
    seen = []

    class SamplingParams:
        def __init__(self, *, temperature, top_p, max_tokens, seed, stop_token_ids):
            assert (temperature, top_p, max_tokens) == (0, 1, 8)
            assert stop_token_ids == [chat.end_of_turn]
            seen.append(seed)

    class LLM:
        def __init__(self, *, model, enable_prefix_caching, seed):
            assert model == str(folder) and enable_prefix_caching
            self.model = load_model(folder)

        def generate(self, asked, drawn):
            assert len(asked) == len(drawn)
            ids = [one["prompt_token_ids"] for one in asked]
            found = dict(sample_ids(self.model, chat, ids, sampling))
            for place in range(len(ids)):
                reason = "stop" if found[place][-1] == chat.end_of_turn else "length"
                one = types.SimpleNamespace(token_ids=found[place], finish_reason=reason)
                yield types.SimpleNamespace(outputs=[one])

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    prompts = [chat.prompt_ids(row.messages) for row in made["prompts"].rows()]
    seeds = [[0, place] for place in range(len(prompts))]
    done = []
    expected = transformers_engine(folder, chat, sampling)(prompts, seeds, done.append)
    assert vllm_engine(folder, chat, sampling)(prompts, seeds, done.append) == expected
    assert sum(done) == 2 * len(prompts)
    assert len(set(seen)) == len(prompts)


def test_vllm_that_is_not_installed_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"install soda-distill\[vllm\]"):
        snapshot(made, tmp_path / "student", engine="vllm")
