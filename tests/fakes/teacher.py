"""A real HTTP server on loopback that answers chat completions, with faults on order."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from soda.teacher.fingerprint import PROBES

# From the request's body and how often it was asked before: status, headers, body.
Reply = tuple[int, dict[str, str], Any]
Behaviour = Callable[[dict[str, Any], int], Reply]


def completion(text: str, finish: str = "stop", **message: Any) -> Reply:
    """A good answer."""
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 5, "completion_tokens": len(text.split())}
    return (
        200,
        {},
        {"model": "fake-1", "system_fingerprint": "fp", "choices": [choice], "usage": usage},
    )


def error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error in OpenAI's form."""
    return status, headers, {"error": {"message": message, "code": code}}


def echo(body: dict[str, Any], times: int) -> Reply:
    """Answer every prompt with a sentence about it."""
    return completion(f"The answer to: {body['messages'][-1]['content']}")


@dataclass
class FakeTeacher:
    """The running server; what it is asked as a probe is counted apart, and always answered."""

    url: str
    probed: Counter[str] = field(default_factory=Counter)
    says: str = "a probe's answer"
    asked: Counter[str] = field(default_factory=Counter)  # by the last message
    keys: list[str | None] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 makes a client with 8 connections wait a second

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is what some tests are about."""


@contextmanager
def fake_teacher(behaviour: Behaviour = echo) -> Iterator[FakeTeacher]:
    """Serve while the block runs."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body waits 40 ms for the header's ACK

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][-1]["content"]
            if prompt in PROBES:
                teacher.probed[prompt] += 1
                return self.reply(completion(teacher.says))
            with lock:
                times = teacher.asked[prompt]
                teacher.asked[prompt] += 1
                teacher.keys.append(self.headers.get("Authorization"))
                teacher.headers.append(self.headers)
                teacher.paths.append(self.path)
            return self.reply(behaviour(body, times))

        def reply(self, reply: Reply) -> None:
            status, headers, answer = reply
            if status == 0:  # cut the connection
                self.close_connection = True
                return
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = _Server(("127.0.0.1", 0), Handler)
    teacher = FakeTeacher(f"http://127.0.0.1:{server.server_port}/v1")
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield teacher
        finally:
            server.shutdown()
