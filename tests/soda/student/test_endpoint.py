"""A server that has the student: the same answers as in this process, through faults."""

import asyncio
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import soda
from soda.errors import EndpointError
from soda.student.chat import ChatFormat
from soda.student.endpoint import ask_endpoint
from soda.student.generate import Answer, Sampling, load_model, sample_ids
from soda.student.template import plain_template
from soda.student.tokenizer import load_tokenizer
from tests.fakes.student import save_base_model
from tests.fakes.waits import SHORT, Clock


class Server:
    """Completions of a real model, with faults to come first."""

    def __init__(self, folder, faults=()):
        if folder is not None:
            self.chat = ChatFormat.load(folder)
            self.model = load_model(folder)
        self.faults = list(faults)
        self.requests = []
        self.lock = threading.Lock()

    def reply(self, body):
        return self.faults.pop(0) if self.faults else (200, self.complete(body))

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
            status, answer, *more = server.reply(body)
            headers = dict(*more)
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
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


def ask(chat, server, prompts=([5],), waits=SHORT):
    """Ask a server for an answer to each of some ids."""
    sampling = Sampling(0, 1, 8, 0, 4)
    seeds = [[place] for place in range(len(prompts))]
    done = []
    with serving(server) as url:
        found = asyncio.run(
            ask_endpoint(url, "student", list(prompts), seeds, chat, sampling, done.append, waits)
        )
    assert sum(done) == len(prompts)
    return found


def test_a_server_gives_the_same_artifact_through_faults(made, tmp_path, monkeypatch):
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


def good(text="one", reason="stop"):
    return 200, {"choices": [{"text": text, "finish_reason": reason}]}


@pytest.mark.parametrize(
    "fault",
    [(500, "no"), (529, "overloaded"), (503, "no"), (429, "no"), (408, "no"), (200, "{torn"),
     (200, {"error": {"message": "overloaded"}}), good("half", "abort")],
)  # fmt: skip
def test_what_may_pass_is_tried_again(chat, fault):
    server = Server(None, [fault] * 3 + [good()])
    assert ask(chat, server)[0].text == "one" and len(server.requests) == 4


def test_the_server_says_how_long_to_wait(chat):
    clock = Clock()
    later = (429, "later", {"Retry-After": "17"})
    ask(chat, Server(None, [later, good()]), waits=clock.waits())
    assert max(clock.waited) >= 17


@pytest.mark.parametrize(
    ("fault", "times", "problem"),
    [
        (good("half", "abort"), 6, "it ended with finish_reason 'abort'"),
        (good("half", "odd"), 1, "finish_reason 'odd': not known to end a whole answer"),
        ((400, {"message": "maximum context length is 8"}), 1, "maximum context length is 8"),
        ((400, {"message": "odd"}), 1, "refused (400): odd"),
    ],
)
def test_one_answer_that_is_broken_off_or_refused_is_one_row(chat, fault, times, problem):
    class Spoiling(Server):
        def reply(self, body):
            return fault if body["prompt"] == [7] else good()

    server = Spoiling(None)
    found = ask(chat, server, [[5], [6], [7], [8]])
    assert [answer.problem for answer in found] == ["", "", problem, ""]
    assert sum(body["prompt"] == [7] for *_, body in server.requests) == times


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ((401, {"error": "who?"}), "the key in SODA_STUDENT_API_KEY was refused: who"),
        ((503, {"error": "busy"}), "expected an answer of the student, found 503"),
        ((200, {"choices": []}), "expected an answer of the student, found expected a chat"),
        ((404, "<html>\n<h1>404</h1>\n</html>"), "neither this path nor a model 'student'"),
        ((401, "canary-key is not it"), r"was refused: \*\*\* is not it"),
        ((400, {"message": "odd"}), "found none"),
        ((200, {"choices": [{"text": None, "finish_reason": "stop"}]}), "expected a chat comp"),
        (good("half", "odd"), "expected answers of the student, found none: finish_reason 'odd'"),
    ],
)
def test_a_server_that_answers_nothing_is_refused_in_one_line_without_the_key(
    monkeypatch, chat, fault, found
):
    monkeypatch.setenv("SODA_STUDENT_API_KEY", "canary-key\n")
    with pytest.raises(EndpointError, match=found) as caught:
        ask(chat, Server(None, [fault] * 99), [[5], [6]])
    assert "\n" not in str(caught.value) and "canary-key" not in str(caught.value)


def test_tokens_that_a_server_does_not_count_are_counted_here(chat):
    replies = [(200, {"choices": [{"text": "one", "finish_reason": "stop"}], "usage": None})]
    assert ask(chat, Server(None, replies)) == [Answer("one", True, chat.count("one") + 1)]


def test_an_answer_without_a_problem_is_a_row_and_one_with_it_too(made, tmp_path):
    class Aborting(Server):
        def complete(self, body):
            found = super().complete(body)
            if body["prompt"] == self.requests[0][2]["prompt"]:
                found["choices"][0]["finish_reason"] = "odd"
            return found

    with serving(Aborting(made["base"].path)) as url:
        asked = {"engine": "endpoint", "endpoint": url, "endpoint_model": "student"}
        found = snapshot(made, tmp_path / "remote", **asked)
    failed = [row for row in found.rows() if row.outcome == "failed"]
    assert len(failed) == 1 and "finish_reason 'odd'" in failed[0].detail
    assert len(found) == len(made["prompts"])


def test_nobody_at_the_address_is_refused(chat):
    asked = ([[5]], [[0]], chat, Sampling(0, 1, 8, 0, 1), lambda _: None, SHORT)
    with pytest.raises(
        EndpointError, match=r"expected an answer of the student, found no connection"
    ):
        asyncio.run(ask_endpoint("http://127.0.0.1:9/v1", "m", *asked))


def test_a_server_is_told_the_headings_that_end_a_base_models_answer(tmp_path):
    words = load_tokenizer(save_base_model(tmp_path / "base"))
    words.chat_template = plain_template(words, "base")
    plain = ChatFormat(words, "base")
    going_on = {"text": " one\n### Instruction:\ntwo", "finish_reason": "length"}
    server = Server(None, [(200, {"choices": [going_on]})])
    assert ask(plain, server) == [Answer("one", True, plain.count("one") + 1)]
    [(_, _, body)] = server.requests
    assert body["stop"] == ["### Instruction:", "### Response:"]
