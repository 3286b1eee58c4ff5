"""A teacher on loopback that replays recorded answers through the chat-completions API."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from soda.endpoint.answer import Answer
from soda.errors import ConfigError, DataError
from soda.storage import file_digest
from soda.teacher.fingerprint import PROBES
from soda.teacher.supplied import name_of, read_answers

__all__ = ["PORT", "serve"]

# One port for every run: the endpoint is part of a request's identity, and so of its journal key.
PORT = 8723
_PROBED = Answer("I am a recording.", "answered")  # says the same to every probe
_FINISH = {"truncated": "length", "refused": "content_filter", "failed": "unknown"}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 makes a client with 8 connections wait a second


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


@contextmanager
def serve(path: Path, port: int = PORT) -> Iterator[tuple[str, str]]:
    """Serve a file of answers while the block runs; yields base URL and model name.

    Raises:
        ConfigError: the port is taken. On another it would be another teacher, asked again.
        DataError: the file has no answers.
    """
    answers: dict[str, Answer] = {}
    for _, keys, found in read_answers(path):
        for key in keys:
            answers.setdefault(key, found)
    if not answers:
        raise DataError(f"{path}: expected recorded answers, found none")
    model = f"recorded-{file_digest(path)[:8]}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body waits 40 ms for the header's ACK

        def log_message(self, *args: Any) -> None:
            pass

        def reply(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.reply(200, {"object": "list", "data": [{"id": model, "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body.get("model") != model:
                return self.reply(404, _error(f"this recording is called '{model}'"))
            answer = answers.get(name_of(body["messages"]))
            if answer is None and body["messages"][-1]["content"] in PROBES:
                answer = _PROBED
            if answer is None:
                return self.reply(400, _error("the recorded teacher has no answer to this prompt"))
            message = {"role": "assistant", "content": answer.text}
            finish = _FINISH.get(answer.outcome, "stop")
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return self.reply(
                200, {"object": "chat.completion", "model": model, "choices": [choice]}
            )

    try:
        server = _Server(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"quickstart: expected to listen on port {port} as the recorded teacher, found: "
            f"{why}; stop what listens there, or choose another with soda quickstart --port, and "
            "keep to it: a teacher is known by its address, so a new one trains everything again"
        ) from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", model
        finally:
            server.shutdown()
