"""A webhook on loopback that keeps what it is sent."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["SECRET", "Webhook", "webhook"]

SECRET = "canary-c0de"


@dataclass
class Webhook:
    """The running server."""

    url: str = ""
    status: int = 200
    sent: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve until the block ends."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            hook.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status = hook.status if self.path == f"/services/{SECRET}" else 404
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.url = f"http://127.0.0.1:{server.server_port}/services/{SECRET}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hook
        finally:
            server.shutdown()
