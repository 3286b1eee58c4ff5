"""A Hugging Face hub with model repositories: commits of small files, tags, refusals."""

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.fakes.web import JsonApi, Refused, serve

_REPO = r"/api/models/([^/]+/[^/]+)"


@dataclass
class FakeHub(JsonApi):
    """The server's state; files lie as they were committed, a commit is its title."""

    routes: ClassVar = [
        ("POST", r"/api/repos/create", set(), "create"),
        ("POST", r"/api/validate-yaml", set(), "validate"),
        ("GET", rf"{_REPO}/refs", set(), "refs"),
        ("POST", rf"{_REPO}/preupload/main", set(), "preupload"),
        ("POST", rf"{_REPO}/commit/main", set(), "commit"),
        ("POST", rf"{_REPO}/tag/(.+)", set(), "tag"),
        ("GET", rf"{_REPO}/commits/(.+)", {"p", "limit", "expand"}, "commits"),
    ]
    created: ClassVar = 200
    url: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)  # name -> private
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # commit -> path -> data
    titles: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def error(self, status: int, message: str) -> Any:
        return {"error": message, "url": f"{self.url}/{next(iter(self.repositories), '')}"}

    def create(self, query: dict[str, str], body: bytes) -> Any:
        made = json.loads(body)
        owner = made.get("organization") or "me"
        name = f"{owner}/{made['name']}"
        if name in self.repositories:
            raise Refused(409, "You already created this model repo")
        self.repositories[name] = (
            made["visibility"] == "private" if "visibility" in made else bool(made.get("private"))
        )
        return {"url": f"{self.url}/{name}"}

    def validate(self, query: dict[str, str], body: bytes) -> Any:
        return {"errors": [], "warnings": []}

    def refs(self, query: dict[str, str], body: bytes, name: str) -> Any:
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
            for tag, commit in self.tags.items()
        ]
        return {"branches": [], "converts": [], "tags": tags}

    def preupload(self, query: dict[str, str], body: bytes, name: str) -> Any:
        files = json.loads(body)["files"]
        same = {"uploadMode": "regular", "shouldIgnore": False}
        return {"files": [{"path": each["path"], **same} for each in files]}

    def commit(self, query: dict[str, str], body: bytes, name: str) -> Any:
        head, *lines = map(json.loads, body.splitlines())
        commit = f"{len(self.titles):040x}"
        self.files[commit] = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines
        }
        self.titles.append(head["value"]["summary"])
        return {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit}

    def tag(self, query: dict[str, str], body: bytes, name: str, revision: str) -> Any:
        self.tags[json.loads(body)["tag"]] = revision
        return {}

    def commits(self, query: dict[str, str], body: bytes, name: str, revision: str) -> Any:
        commit = self.tags[revision]
        title = self.titles[int(commit, 16)]
        about = {"authors": [], "date": "2026-11-26T00:00:00.000Z", "message": ""}
        return [{"id": commit, "title": title, **about}]


@contextlib.contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve while the block runs."""
    hub = FakeHub()
    with serve(hub.answer) as url:
        hub.url = url
        yield hub
