"""A teacher on loopback whose name somebody else may stand behind: a list of models, and answers.

Tests change what it lists, as whom it answers, and what it says.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["ListingTeacher", "listing_teacher"]


@dataclass
class ListingTeacher:
    """The running server."""

    url: str = ""
    key: str = ""  # what clients have to send, if anything
    models: list[dict[str, Any]] | None = None  # None: it has no list
    served: str = "big-2026-01"
    fingerprint: str = "fp_1"
    says: str = "as ever"
    answers: dict[str, str] = field(default_factory=dict)  # by prompt, where it says another thing
    fails: int = 0  # a status for everything
    list_fails: int = 0  # a status for the list alone
    knows: set[str] | None = None  # the models that it answers as; None: any
    refuses: dict[str, Any] = field(default_factory=dict)  # values of fields, None being any value
    calls: list[str] = field(default_factory=list)

    def lists(self, *names: str, created: int = 1) -> None:
        """List some models."""
        self.models = [
            {"id": name, "object": "model", "created": created, "owned_by": "vendor"}
            for name in names
        ]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 makes a client with 8 connections wait a second


@contextlib.contextmanager
def listing_teacher() -> Iterator[ListingTeacher]:
    """Serve while the block runs."""
    teacher = ListingTeacher()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body waits 40 ms for the header's ACK

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            teacher.calls.append(f"GET {self.path}")
            if refusal := self._refusal():
                self._reply(*refusal)
            elif self.path != "/v1/models" or teacher.models is None:
                self._reply(404, {"detail": "Not Found"})
            else:
                self._reply(200, {"object": "list", "data": teacher.models})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            teacher.calls.append(f"POST {self.path}")
            if refusal := self._refusal():
                self._reply(*refusal)
                return
            if refusal := self._refusal_of(body):
                self._reply(*refusal)
                return
            prompt = body["messages"][-1]["content"]
            text = teacher.answers.get(prompt, teacher.says)
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            self._reply(
                200,
                {
                    "model": teacher.served,
                    "system_fingerprint": teacher.fingerprint,
                    "choices": [choice],
                    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
                },
            )

        def _refusal(self) -> tuple[int, dict[str, Any]] | None:
            fails = teacher.fails or (self.command == "GET" and teacher.list_fails)
            if fails:
                return fails, {"error": {"message": "told\nto fail"}}
            sent = self.headers.get("Authorization", "")
            if teacher.key and sent != f"Bearer {teacher.key}":
                found = sent.removeprefix("Bearer ")  # as OpenAI's does
                return 401, {"error": {"message": f"Incorrect API key provided: {found}."}}
            return None

        def _refusal_of(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
            if teacher.knows is not None and body["model"] not in teacher.knows:
                message = f"The model `{body['model']}` does not exist"
                return 404, {"error": {"message": message, "code": "model_not_found"}}
            for name, value in teacher.refuses.items():
                if name in body and value in (None, body[name]):
                    return 400, {"error": {"message": f"Unsupported value: '{name}'"}}
            return None

        def _reply(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = _Server(("127.0.0.1", 0), Handler)
    teacher.url = f"http://127.0.0.1:{server.server_port}/v1"
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield teacher
        finally:
            server.shutdown()
