"""A Kubeflow Model Registry that takes only what the client's published models know.

Bodies are read into mr_openapi's models and written out again: a field that gets lost on the way
is unknown, and the request is answered with 400. It speaks /v1/, and /v1alpha3/ to older clients.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.fakes.web import JsonApi, Refused, leaves, serve

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


@dataclass
class FakeModelRegistry(JsonApi):
    """The server's state; tests read it and change it."""

    routes: ClassVar = _ROUTES
    url: str = ""
    speaks: tuple[str, ...] = ("v1", "v1alpha3")
    models: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def short(self, path: str) -> str | None:
        found = re.match(r"/api/model_registry/(\w+)(/.*)", path)
        return found[2] if found and found[1] in self.speaks else None

    def error(self, status: int, message: str) -> Any:
        return {"code": str(status), "message": message}

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
        raise Refused(404, f"no {what} found for {wanted}")

    def _add(self, where: list[dict[str, Any]], made: dict[str, Any], **unique: str) -> Any:
        if any(unique.items() <= one.items() for one in where):
            raise Refused(409, f"already exists: {unique}")
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
        raise Refused(400, f"{model}: {error}") from error
    lost = sorted(set(leaves(sent)) - set(leaves(json.loads(json.dumps(back)))))
    if lost:
        raise Refused(400, f"{model}: unknown {lost}")
    return dict(sent)


@contextlib.contextmanager
def fake_model_registry() -> Iterator[FakeModelRegistry]:
    """Serve an empty registry until the block ends."""
    fake = FakeModelRegistry()
    with serve(fake.answer) as fake.url:
        yield fake
