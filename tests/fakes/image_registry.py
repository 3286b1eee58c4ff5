"""A registry of images on loopback, as the distribution spec has it: a manifest's HEAD, tokens."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

__all__ = ["FakeImages", "fake_images"]

_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class FakeImages:
    """The server's state; tests read it and change it."""

    host: str = ""  # with the port
    manifests: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)  # repositories that nobody gets a token for
    tokens: bool = True  # False: it names no place that gives tokens
    status: int = 0  # what it answers to everything, if anything
    calls: list[str] = field(default_factory=list)

    def push(self, repository: str, tag: str) -> str:
        """Put an image there and return its digest."""
        data = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "of": [repository, tag]})
        found = f"sha256:{hashlib.sha256(data.encode()).hexdigest()}"
        self.manifests.setdefault(repository, {}).update({tag: data.encode(), found: data.encode()})
        return found


@contextlib.contextmanager
def fake_images() -> Iterator[FakeImages]:
    """Serve an empty registry until the block ends."""
    fake = FakeImages()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            fake.calls.append(f"GET {self.path.partition('?')[0]}")
            query = parse_qs(urlparse(self.path).query)
            if "Authorization" in self.headers or query.get("service") != ["images"]:
                return self._reply(400, {})
            kind, repository, action = query["scope"][0].split(":")
            if (kind, action) != ("repository", "pull"):
                return self._reply(400, {})
            if repository in fake.private:
                return self._reply(401, {})
            return self._reply(200, {}, json.dumps({"token": f"of {repository}"}).encode())

        def do_HEAD(self) -> None:
            fake.calls.append(f"HEAD {self.path}")
            if fake.status:
                return self._reply(fake.status, {})
            top, v2, *path, manifests, version = self.path.split("/")
            repository = "/".join(path)
            assert (top, v2, manifests) == ("", "v2", "manifests")
            if self.headers.get("Authorization") != f"Bearer of {repository}":
                realm = f'Bearer realm="http://{fake.host}/token",service="images",'
                challenge = f'{realm}scope="repository:{repository}:pull"'
                return self._reply(
                    401, {"WWW-Authenticate": challenge if fake.tokens else 'Basic realm="images"'}
                )
            data = fake.manifests.get(repository, {}).get(version)
            if data is None:
                return self._reply(404, {})
            if _INDEX not in self.headers.get("Accept", ""):
                return self._reply(406, {})
            found = f"sha256:{hashlib.sha256(data).hexdigest()}"
            return self._reply(200, {"Docker-Content-Digest": found})

        def _reply(self, status: int, headers: dict[str, str], data: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    fake.host = f"127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
