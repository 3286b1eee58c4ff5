"""A Kubeflow Pipelines API (v2beta1) that takes only what the published OpenAPI models know.

It holds what it is given, pages and filters its lists, fills in what a real server fills in, and
can be told to refuse the next call. Bodies are read into kfp_server_api's models and written out
again: a field that gets lost on the way is unknown, and the request is answered with 400.
"""

import contextlib
import email
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import kfp_server_api
import yaml

from tests.fakes.web import JsonApi, Refused, serve

__all__ = ["KfpApi", "kfp_api"]

_PREFIX = "/apis/v2beta1"
_LIST = {"page_token", "page_size", "sort_by", "filter"}
# The query parameters are those that the OpenAPI document knows.
_ROUTES: list[tuple[str, str, set[str], str]] = [
    ("GET", r"/healthz", set(), "healthz"),
    ("GET", r"/experiments", {*_LIST, "namespace"}, "list_experiments"),
    ("POST", r"/experiments", set(), "create_experiment"),
    ("GET", r"/pipelines", {*_LIST, "namespace"}, "list_pipelines"),
    ("POST", r"/pipelines", set(), "create_pipeline"),
    ("GET", r"/pipelines/([^/]+)/versions", _LIST, "list_versions"),
    (
        "POST",
        r"/pipelines/upload_version",
        {"name", "display_name", "pipelineid", "description", "tags"},
        "upload_version",
    ),
    ("POST", r"/runs", {"experiment_id"}, "create_run"),
    ("GET", r"/runs/([^/]+)", set(), "get_run"),
    ("GET", r"/recurringruns", {*_LIST, "namespace", "experiment_id"}, "list_recurring"),
    ("POST", r"/recurringruns", set(), "create_recurring"),
    ("DELETE", r"/recurringruns/([^/:]+)", {"propagation_policy"}, "delete_recurring"),
    ("POST", r"/recurringruns/([^/:]+):(enable|disable)", set(), "switch_recurring"),
]


@dataclass
class KfpApi(JsonApi):
    """The server's state; tests read it and change it."""

    routes: ClassVar = _ROUTES
    created: ClassVar = 200
    url: str = ""
    namespace: str = ""  # what clients have to name, if anything
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    specs: dict[str, str] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    # what the next looks at a run find, and from then on the last one: fields of a V2beta1Run
    states: list[dict[str, Any]] = field(default_factory=list)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    page: int = 2  # so few, that every list has pages

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def short(self, path: str) -> str | None:
        return path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else None

    def error(self, status: int, message: str) -> Any:
        return {"error": message, "code": 2, "message": message}

    def new_id(self, kind: str) -> str:
        """Return an id that was never given before."""
        return f"{kind}-{next(self._numbers)}"

    def _check_namespace(self, found: str | None) -> None:
        if (found or "") != self.namespace:
            raise Refused(400, f"Invalid input error: namespace {found!r} is not yours")

    def healthz(self, query: dict[str, str], body: bytes) -> Any:
        return {"multi_user": bool(self.namespace)}

    def list_experiments(self, query: dict[str, str], body: bytes) -> Any:
        self._check_namespace(query.get("namespace"))
        return self._list("experiments", list(self.experiments.values()), query)

    def create_experiment(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(body, "V2beta1Experiment", {"display_name"})
        self._check_namespace(made.get("namespace"))
        made = {**made, "experiment_id": self.new_id("experiment"), "storage_state": "AVAILABLE"}
        return self.experiments.setdefault(made["experiment_id"], made)

    def list_pipelines(self, query: dict[str, str], body: bytes) -> Any:
        self._check_namespace(query.get("namespace"))
        return self._list("pipelines", list(self.pipelines.values()), query)

    def create_pipeline(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(body, "V2beta1Pipeline", {"display_name"})
        self._check_namespace(made.get("namespace"))
        if made["display_name"] in {one["display_name"] for one in self.pipelines.values()}:
            raise Refused(409, f"Already exist error: the name {made['display_name']} is taken")
        made = {**made, "pipeline_id": self.new_id("pipeline")}
        return self.pipelines.setdefault(made["pipeline_id"], made)

    def list_versions(self, query: dict[str, str], body: bytes, pipeline: str) -> Any:
        ours = [one for one in self.versions.values() if one["pipeline_id"] == pipeline]
        return self._list("pipeline_versions", ours, query)

    def upload_version(self, query: dict[str, str], body: bytes) -> Any:
        if query.get("pipelineid") not in self.pipelines:
            raise Refused(400, "Failed to create a pipeline version")
        ours = [one for one in self.versions.values() if one["pipeline_id"] == query["pipelineid"]]
        if query["name"] in {one["display_name"] for one in ours}:
            raise Refused(409, "Failed to create a pipeline version")
        text = _uploaded(body)
        if (
            not {"pipelineInfo", "root", "schemaVersion"}
            <= next(yaml.load_all(text, Loader=yaml.CSafeLoader)).keys()
        ):
            raise Refused(400, "unknown pipeline spec format")
        made = {
            "pipeline_id": query["pipelineid"],
            "pipeline_version_id": self.new_id("version"),
            "name": query["name"],
            "display_name": query["name"],
        }
        self.specs[made["pipeline_version_id"]] = text
        return self.versions.setdefault(made["pipeline_version_id"], made)

    def create_run(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(body, "V2beta1Run", {"display_name", "experiment_id"})
        self._check_references(made)
        made = {"service_account": "pipeline-runner", **made, "run_id": self.new_id("run")}
        return self.runs.setdefault(made["run_id"], made)

    def get_run(self, query: dict[str, str], body: bytes, run: str) -> Any:
        if run not in self.runs:
            raise Refused(404, f"ResourceNotFoundError: Run {run} not found")
        if self.states:
            self.runs[run] |= self.states.pop(0)
        return self.runs[run]

    def list_recurring(self, query: dict[str, str], body: bytes) -> Any:
        self._check_namespace(query.get("namespace"))
        wanted = query.get("experiment_id")
        every = [one for one in self.recurring.values() if wanted in (None, one["experiment_id"])]
        return self._list("recurringRuns", every, query)

    def create_recurring(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(
            body, "V2beta1RecurringRun", {"display_name", "experiment_id", "trigger", "mode"}
        )
        self._check_references(made)
        if not 1 <= int(made.get("max_concurrency", 0)) <= 10:
            raise Refused(400, "The max concurrency of the recurring run is out of range")
        if len(made["trigger"]) != 1:
            raise Refused(400, "expected one kind of trigger")
        cron = made["trigger"].get("cron_schedule", {}).get("cron", "0 0 0 * * *")
        if len(cron.split()) != 6:
            raise Refused(400, "Schedule cron is not a supported format")
        made = {
            "service_account": "pipeline-runner",
            **made,
            "max_concurrency": str(made["max_concurrency"]),  # int64 is a string in proto's JSON
            "recurring_run_id": self.new_id("recurring"),
            "status": f"{made['mode']}D",
        }
        return self.recurring.setdefault(made["recurring_run_id"], made)

    def delete_recurring(self, query: dict[str, str], body: bytes, run: str) -> Any:
        if self.recurring.pop(run, None) is None:
            raise Refused(404, f"ResourceNotFoundError: Job {run} not found")
        if query.get("propagation_policy") != "ORPHAN":  # Kubernetes deletes what it owns
            for name, one in list(self.runs.items()):
                if one.get("recurring_run_id") == run:
                    del self.runs[name]
        return {}

    def switch_recurring(self, query: dict[str, str], body: bytes, run: str, verb: str) -> Any:
        self.recurring[run] |= {"mode": verb.upper(), "status": f"{verb.upper()}D"}
        return {}

    def _check_references(self, made: dict[str, Any]) -> None:
        reference = made.get("pipeline_version_reference", {})
        version = self.versions.get(reference.get("pipeline_version_id"), {})
        if not version or version["pipeline_id"] != reference.get("pipeline_id"):
            raise Refused(400, f"no such pipeline version: {reference}")
        if made["experiment_id"] not in self.experiments:
            raise Refused(404, f"no such experiment: {made['experiment_id']}")
        spec = next(
            yaml.load_all(self.specs[version["pipeline_version_id"]], Loader=yaml.CSafeLoader)
        )
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = made.get("runtime_config", {}).get("parameters", {})
        needed = {name for name, facts in known.items() if "defaultValue" not in facts}
        if not needed <= given.keys() <= known.keys():
            raise Refused(400, f"parameters: expected {sorted(known)}, found {sorted(given)}")

    def _list(self, key: str, found: list[dict[str, Any]], query: dict[str, str]) -> Any:
        for match in json.loads(query.get("filter", '{"predicates": []}'))["predicates"]:
            known = match.keys() == {"operation", "key", "stringValue"}
            if not known or match["operation"] not in ("EQUALS", 1):  # an enum's name or number
                raise Refused(400, f"unknown predicate {match}")
            found = [one for one in found if one.get(match["key"]) == match["stringValue"]]
        start = int(query.get("page_token") or 0)
        end = start + min(self.page, int(query.get("page_size", self.page)))
        answer = {key: found[start:end], "total_size": len(found)}
        return answer | ({"next_page_token": str(end)} if end < len(found) else {})


def _checked(body: bytes, model: str, needed: set[str]) -> dict[str, Any]:
    """Read a body into the published model; refuse what the model does not give back."""
    sent = json.loads(body)
    client = kfp_server_api.ApiClient()

    @dataclass
    class Response:
        data: bytes

    read = client.deserialize(Response(body), model)
    back = client.sanitize_for_serialization(read)
    lost = sorted(set(_paths(sent)) - set(_paths(back)))
    if lost or not needed <= sent.keys():
        raise Refused(400, f"{model}: unknown {lost}, missing {sorted(needed - sent.keys())}")
    return dict(sent)


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from _paths(inner, f"{prefix}{key}.")


def _uploaded(body: bytes) -> str:
    """Return the text of the one file in a multipart body."""
    boundary = body.split(b"\r\n", 1)[0].removeprefix(b"--").decode()
    head = f'Content-Type: multipart/form-data; boundary="{boundary}"\r\n\r\n'.encode()
    (part,) = email.message_from_bytes(head + body).get_payload()
    assert part.get_param("name", header="content-disposition") == "uploadfile"
    return str(part.get_payload(decode=True).decode())


@contextlib.contextmanager
def kfp_api() -> Iterator[KfpApi]:
    """Serve an empty API until the block ends."""
    api = KfpApi()
    with serve(api.answer) as api.url:
        yield api
