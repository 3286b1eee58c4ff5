"""A Kubeflow Model Registry that takes only what the client's published models know.

Bodies are read into mr_openapi's models and written out again: a field that gets lost on the way
is unknown, and the request is answered with 400. It speaks /v1/, and /v1alpha3/ to older clients.
"""

import contextlib
import functools
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlparse

from tests.fakes.web import serve_json

__all__ = ["FakeModelRegistry", "fake_model_registry"]

_FIND = {"name", "externalId", "parentResourceId"}
_ROUTES: list[tuple[str, str, set[str], str]] = [
    ("GET", r"/registered_model", {"name", "externalId"}, "find_model"),
    ("POST", r"/registered_models", set(), "create_model"),
    ("GET", r"/model_version", _FIND, "find_version"),
    ("POST", r"/model_versions", set(), "create_version"),
    ("GET", r"/model_artifact", _FIND, "find_artifact"),
    ("POST", r"/model_versions/(\d+)/artifacts", set(), "create_artifact"),
]


class _Refused(Exception):  # noqa: N818
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass
class FakeModelRegistry:
    """The server's state; tests read it and change it."""

    url: str = ""
    token: str = ""  # what clients have to send, if anything
    speaks: tuple[str, ...] = ("v1", "v1alpha3")
    models: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)  # "POST /model_versions"
    failures: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def fail(self, call: str, status: int) -> None:
        """Refuse the next call that begins so with a status."""
        self.failures.append((call, status))

    def changes(self) -> list[str]:
        """Return the calls that were no GET, and forget all calls."""
        found = [call for call in self.calls if not call.startswith("GET")]
        self.calls.clear()
        return found

    def find_model(self, query: dict[str, str], body: bytes) -> Any:
        return self._find(self.models, "registered model", name=query["name"])

    def create_model(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(body, "RegisteredModelCreate")
        return self._add(self.models, made, name=made["name"])

    def find_version(self, query: dict[str, str], body: bytes) -> Any:
        wanted = {"name": query["name"], "registeredModelId": query["parentResourceId"]}
        return self._find(self.versions, "model version", **wanted)

    def create_version(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(body, "ModelVersionCreate")
        self._find(self.models, "registered model", id=made["registeredModelId"])
        wanted = {key: made[key] for key in ("name", "registeredModelId")}
        return self._add(self.versions, made, **wanted)

    def find_artifact(self, query: dict[str, str], body: bytes) -> Any:
        wanted = {"name": query["name"], "parent": query["parentResourceId"]}
        return self._find(self.artifacts, "model artifact", **wanted)

    def create_artifact(self, query: dict[str, str], body: bytes, version: str) -> Any:
        self._find(self.versions, "model version", id=version)
        made = {**_checked(body, "Artifact"), "parent": version}
        return self._add(self.artifacts, made, name=made["name"], parent=version)

    def _find(self, where: list[dict[str, Any]], what: str, **wanted: str) -> Any:
        for one in where:
            if wanted.items() <= one.items():
                return one
        raise _Refused(404, f"no {what} found for {wanted}")

    def _add(self, where: list[dict[str, Any]], made: dict[str, Any], **unique: str) -> Any:
        if any(unique.items() <= one.items() for one in where):
            raise _Refused(409, f"already exists: {unique}")
        times = {"createTimeSinceEpoch": "1", "lastUpdateTimeSinceEpoch": "1"}
        where.append({**made, "id": str(next(self._numbers)), **times})
        return where[-1]


def _checked(body: bytes, model: str) -> dict[str, Any]:
    """Read a body into the published model; refuse what the model does not give back."""
    import mr_openapi.models

    sent = json.loads(body)
    try:
        back = getattr(mr_openapi.models, model).from_dict(sent).to_dict()
    except ValueError as error:
        raise _Refused(400, f"{model}: {error}") from error
    lost = sorted(set(_leaves(sent)) - set(_leaves(json.loads(json.dumps(back)))))
    if lost:
        raise _Refused(400, f"{model}: unknown {lost}")
    return dict(sent)


def _leaves(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}{key}.")
    elif value is not None:
        yield f"{prefix} {value!r}"


def _answer(
    fake: FakeModelRegistry, method: str, path: str, token: str, body: bytes
) -> tuple[int, Any]:
    parsed = urlparse(path)
    prefix = re.match(r"/api/model_registry/(\w+)(/.*)", parsed.path)
    if not prefix or prefix[1] not in fake.speaks:
        return 404, {"code": "404", "message": f"no such path: {parsed.path}"}
    short = prefix[2]
    fake.calls.append(f"{method} {short}")
    for number, (call, status) in enumerate(fake.failures):
        if f"{method} {short}".startswith(call):
            del fake.failures[number]
            return status, {"code": str(status), "message": "told\nto fail"}
    if fake.token and token != f"Bearer {fake.token}":
        return 401, {"code": "401", "message": "no token"}
    for verb, pattern, known, name in _ROUTES:
        match = re.fullmatch(pattern, short)
        if verb != method or not match:
            continue
        query = {key: values[0] for key, values in parse_qs(parsed.query).items()}
        if not query.keys() <= known:
            return 400, {"code": "400", "message": f"unknown query {sorted(query.keys() - known)}"}
        try:
            made = getattr(fake, name)(query, body, *match.groups())
        except _Refused as error:
            return error.status, {"code": str(error.status), "message": str(error)}
        return (201 if method == "POST" else 200), made
    return 404, {"code": "404", "message": f"no such path: {parsed.path}"}


@contextlib.contextmanager
def fake_model_registry() -> Iterator[FakeModelRegistry]:
    """Serve an empty registry until the block ends."""
    fake = FakeModelRegistry()
    with serve_json(functools.partial(_answer, fake)) as fake.url:
        yield fake
