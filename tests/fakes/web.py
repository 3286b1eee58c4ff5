"""A web server on loopback, and the routes of an API that checks what it is sent."""

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlparse

__all__ = ["JsonApi", "Plain", "Refused", "Reply", "Request", "leaves", "serve"]


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    path: str  # without the query
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes out, as JSON."""

    status: int
    found: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Plain(str):
    """Text that goes out as it is, and not as JSON."""


class Refused(Exception):  # noqa: N818
    """What a handler raises: a status, and the words for it."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is what some tests are about."""


@contextlib.contextmanager
def serve(
    answer: Callable[[Request], Reply], *, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve until the block ends, one request at a time, and give the address.

    A fault of `answer` itself is a 500 that names it.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            parsed = urlparse(self.path)
            query = {key: values[0] for key, values in parse_qs(parsed.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Request(self.command, parsed.path, query, self.headers, body)
            try:
                with lock:
                    reply = answer(asked)
            except Exception as error:
                reply = Reply(500, {"message": f"the fake: {error!r}"})
            plain = isinstance(reply.found, Plain)
            data = (reply.found if plain else json.dumps(reply.found)).encode()
            data = b"" if self.command == "HEAD" else data
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            with contextlib.suppress(ConnectionError):  # the client was killed
                self.end_headers()
                self.wfile.write(data)

        do_HEAD = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    server = _Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http{'s' * bool(tls)}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(kw_only=True)
class JsonApi:
    """An API by its routes; it keeps the calls, and can be told to refuse one.

    A route is a method, a pattern of the path, the query parameters that are known, and the name of
    a method that gets the query, the body and the pattern's groups.
    """

    routes: ClassVar[list[tuple[str, str, set[str], str]]]
    created: ClassVar[int] = 201  # the status of a POST that went well
    token: str = ""  # what clients have to send, if anything
    calls: list[str] = field(default_factory=list)  # "POST /runs"
    failures: list[tuple[str, int]] = field(default_factory=list)

    def fail(self, call: str, status: int) -> None:
        """Refuse the next call that begins so, such as 'POST /runs', with a status."""
        self.failures.append((call, status))

    def changes(self) -> list[str]:
        """Return the calls that were no GET, and forget all calls."""
        found = [call for call in self.calls if not call.startswith("GET")]
        self.calls.clear()
        return found

    def short(self, path: str) -> str | None:
        """Return a path as the routes have it; None for one that is not of this API."""
        return path

    def name(self, path: str, match: re.Match[str]) -> str:
        """Return how a call is called, after its method."""
        return path

    def error(self, status: int, message: str) -> Any:
        """Return a refusal as this API words it."""
        return {"message": message}

    def answer(self, asked: Request) -> Reply:
        """Find the route of a request and answer it."""
        try:
            found = self._found(asked)
        except Refused as error:
            return Reply(error.status, self.error(error.status, str(error)))
        return Reply(self.created if asked.method == "POST" else 200, found)

    def _found(self, asked: Request) -> Any:
        path = self.short(asked.path)
        for method, pattern, known, handler in self.routes if path else ():
            match = re.fullmatch(pattern, str(path))
            if method != asked.method or not match:
                continue
            call = f"{method} {self.name(str(path), match)}"
            self.calls.append(call)
            for number, (failing, status) in enumerate(self.failures):
                if call.startswith(failing):
                    del self.failures[number]
                    raise Refused(status, "told\nto fail")
            if self.token and asked.headers.get("Authorization", "").lower() != (
                f"bearer {self.token}".lower()
            ):
                raise Refused(401, "Unauthorized")
            if unknown := asked.query.keys() - known:
                raise Refused(400, f"unknown query parameters {sorted(unknown)}")
            return getattr(self, handler)(asked.query, asked.body, *match.groups())
        raise Refused(404, f"no such path: {asked.method} {asked.path}")


def leaves(value: Any, prefix: str = "") -> Iterator[str]:
    """Return every value in a tree with its path: what a published model must give back."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{prefix}.{key}")
    elif value is not None:
        yield f"{prefix} {value!r}"
