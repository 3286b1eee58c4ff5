"""A registry of images on loopback, as the distribution spec has it: a manifest's HEAD, tokens."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.web import Reply, Request, serve

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

    def answer(self, asked: Request) -> Reply:
        self.calls.append(f"{asked.method} {asked.path}")
        if asked.method == "GET":
            return self._token(asked)
        if self.status:
            return Reply(self.status)
        top, v2, *path, manifests, version = asked.path.split("/")
        repository = "/".join(path)
        assert (asked.method, top, v2, manifests) == ("HEAD", "", "v2", "manifests")
        if asked.headers.get("Authorization") != f"Bearer of {repository}":
            realm = f'Bearer realm="http://{self.host}/token",service="images",'
            challenge = f'{realm}scope="repository:{repository}:pull"'
            challenge = challenge if self.tokens else 'Basic realm="images"'
            return Reply(401, headers={"WWW-Authenticate": challenge})
        data = self.manifests.get(repository, {}).get(version)
        if data is None:
            return Reply(404)
        if _INDEX not in asked.headers.get("Accept", ""):
            return Reply(406)
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return Reply(200, headers={"Docker-Content-Digest": found})

    def _token(self, asked: Request) -> Reply:
        if "Authorization" in asked.headers or asked.query.get("service") != "images":
            return Reply(400)
        kind, repository, action = asked.query["scope"].split(":")
        if (kind, action) != ("repository", "pull"):
            return Reply(400)
        return (
            Reply(401) if repository in self.private else Reply(200, {"token": f"of {repository}"})
        )


@contextlib.contextmanager
def fake_images() -> Iterator[FakeImages]:
    """Serve an empty registry until the block ends."""
    fake = FakeImages()
    with serve(fake.answer) as address:
        fake.host = address.removeprefix("http://")
        yield fake
