"""A Kubernetes API, over TLS, that takes only what the published models know.

It has the few calls that soda makes from inside of a pod. Bodies are read into the models of the
`kubernetes` client, a TrainJob into those of `kubeflow_trainer_api`, and written out again: a field
that gets lost on the way is unknown, and the request is answered with 400. A TrainJob's state is
what a test says: a thread plays the cluster, or `states` has the state that each look finds.
"""

import contextlib
import datetime
import functools
import ipaddress
import json
import re
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from kubernetes import client

from tests.fakes.web import JsonApi, Plain, Refused, leaves, serve

__all__ = [
    "FakeKubernetes",
    "a_node",
    "a_pod",
    "a_quota",
    "fake_kubernetes",
    "inside",
    "kubeconfig",
]

NAMESPACE, TOKEN = "team", "canary-of-the-service-account"
_TRAINER = rf"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}"
_JOBS = rf"{_TRAINER}/trainjobs"
_PODS = rf"/api/v1/namespaces/{NAMESPACE}/pods"
_WORKFLOWS = rf"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows"
# The query parameters are those that we use.
_ROUTES: list[tuple[str, str, set[str], str]] = [
    ("GET", r"/api/v1/nodes", {"labelSelector"}, "list_nodes"),
    ("GET", rf"/api/v1/namespaces/{NAMESPACE}/resourcequotas", set(), "list_quotas"),
    ("POST", r"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", set(), "review"),
    ("GET", _PODS, {"labelSelector"}, "list_pods"),
    ("GET", rf"{_PODS}/([\w.-]+)/log", {"container", "previous", "tailLines"}, "read_log"),
    ("GET", rf"/api/v1/namespaces/{NAMESPACE}/events", {"fieldSelector"}, "list_events"),
    ("GET", _WORKFLOWS, {"labelSelector"}, "list_workflows"),
    ("GET", rf"{_WORKFLOWS}/([\w.-]+)", set(), "get_workflow"),
    ("GET", rf"{_TRAINER}/trainingruntimes/([\w.-]+)", set(), "get_runtime"),
    ("POST", _JOBS, set(), "create_job"),
    ("GET", rf"{_JOBS}/([\w.-]+)", set(), "get_job"),
    ("DELETE", rf"{_JOBS}/([\w.-]+)", {"propagationPolicy"}, "delete_job"),
]


@dataclass
class FakeKubernetes(JsonApi):
    """The server's state; tests read it and change it."""

    routes: ClassVar = _ROUTES
    folder: Path  # as /var/run/secrets/kubernetes.io/serviceaccount: token, ca.crt, namespace
    port: int = 0
    nodes: list[client.V1Node] = field(default_factory=list)
    quotas: list[client.V1ResourceQuota] = field(default_factory=list)
    forbidden: set[tuple[str, str, str]] = field(default_factory=set)  # group, resource, verb
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[client.V1Pod] = field(default_factory=list)
    logs: dict[tuple[str, str, bool], str] = field(default_factory=dict)  # pod, container, previous
    events: list[tuple[str, str, str]] = field(default_factory=list)  # reason, of what, message
    workflows: dict[str, dict[str, Any]] = field(default_factory=dict)
    runtimes: set[str] = field(default_factory=set)
    states: list[tuple[str, str]] = field(default_factory=list)  # type and message of a condition
    leaving: int = 0  # looks for which a job that is deleted is still there: its pods have to go
    began: Callable[[dict[str, Any]], None] | None = None  # hears of every job that is created

    def name(self, path: str, match: re.Match[str]) -> str:
        return path.removesuffix("/" + "".join(match.groups())).split("/")[-1]

    def error(self, status: int, message: str) -> Any:
        made = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        return {**made, "message": message, "code": status}

    def set_state(self, name: str, kind: str, message: str = "") -> None:
        """Give a TrainJob one condition that is true; '' for none."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        condition = {"type": kind, "status": "True", "message": message, "reason": "AsTold"}
        condition |= {"lastTransitionTime": now}
        status = {"conditions": [condition] if kind else []}
        self.jobs[name] = _checked_job({**self.jobs[name], "status": status})

    def list_nodes(self, query: dict[str, str], body: bytes) -> Any:
        wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
        found = [
            node
            for node in self.nodes
            if all((node.metadata.labels or {}).get(key) == value for key, value in wanted)
        ]
        return _sent(client.V1NodeList(api_version="v1", kind="NodeList", items=found))

    def list_pods(self, query: dict[str, str], body: bytes) -> Any:
        wanted = [pair.split("=") for pair in query["labelSelector"].split(",")]
        found = [
            pod
            for pod in self.pods
            if all((pod.metadata.labels or {}).get(key) == value for key, value in wanted)
        ]
        return _sent(client.V1PodList(api_version="v1", kind="PodList", items=found))

    def read_log(self, query: dict[str, str], body: bytes, name: str) -> Any:
        key = (name, query["container"], query.get("previous") == "True")
        if key not in self.logs:
            raise Refused(404, f'pods "{name}" not found')
        return Plain("\n".join(self.logs[key].splitlines()[-int(query["tailLines"]) :]))

    def list_events(self, query: dict[str, str], body: bytes) -> Any:
        _, _, wanted = query["fieldSelector"].partition("reason=")
        found = [
            client.CoreV1Event(
                metadata=client.V1ObjectMeta(name=f"{what}.1"),
                involved_object=client.V1ObjectReference(kind="Job", name=what),
                reason=reason,
                message=message,
            )
            for reason, what, message in self.events
            if reason == wanted
        ]
        return _sent(client.CoreV1EventList(api_version="v1", items=found))

    def list_workflows(self, query: dict[str, str], body: bytes) -> Any:
        key, _, value = query["labelSelector"].partition("=")
        found = [
            one for one in self.workflows.values() if one["metadata"]["labels"].get(key) == value
        ]
        return {"kind": "WorkflowList", "items": found}

    def get_workflow(self, query: dict[str, str], body: bytes, name: str) -> Any:
        if name not in self.workflows:
            raise Refused(404, f'workflows.argoproj.io "{name}" not found')
        return self.workflows[name]

    def get_runtime(self, query: dict[str, str], body: bytes, name: str) -> Any:
        if name not in self.runtimes:
            raise Refused(404, f'trainingruntimes.trainer.kubeflow.org "{name}" not found')
        return {"kind": "TrainingRuntime", "metadata": {"name": name}}

    def list_quotas(self, query: dict[str, str], body: bytes) -> Any:
        return _sent(client.V1ResourceQuotaList(api_version="v1", items=self.quotas))

    def review(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked(json.loads(body), "V1SelfSubjectAccessReview")
        asked = made["spec"]["resourceAttributes"]
        if asked["namespace"] != NAMESPACE:
            raise Refused(400, f"expected the namespace {NAMESPACE}, found {asked['namespace']}")
        what = (asked.get("group", ""), asked["resource"], asked["verb"])
        return {**made, "status": {"allowed": what not in self.forbidden}}

    def create_job(self, query: dict[str, str], body: bytes) -> Any:
        made = _checked_job(json.loads(body))
        name = made["metadata"]["name"]
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise Refused(422, f"metadata.name: Invalid value: {name!r}")
        if name in self.jobs:
            raise Refused(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        self.jobs[name] = made
        if self.began is not None:
            threading.Thread(target=self.began, args=(made,), daemon=True).start()
        return made

    def get_job(self, query: dict[str, str], body: bytes, name: str) -> Any:
        self._find(name)
        if "deletionTimestamp" in self.jobs[name]["metadata"]:
            self.leaving -= 1
            return self.jobs[name] if self.leaving else self.jobs.pop(name)
        if self.states:
            self.set_state(name, *self.states.pop(0))
        return self.jobs[name]

    def delete_job(self, query: dict[str, str], body: bytes, name: str) -> Any:
        self._find(name)
        if self.leaving and query.get("propagationPolicy") == "Foreground":
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self.jobs[name]["metadata"]["deletionTimestamp"] = now
        else:
            del self.jobs[name]
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _find(self, name: str) -> None:
        if name not in self.jobs:
            raise Refused(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')


def a_node(
    name: str,
    gpus: int,
    *,
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
) -> client.V1Node:
    """Return a node that offers some GPUs."""
    offers = {"cpu": "64", "memory": "512Gi"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return client.V1Node(
        metadata=client.V1ObjectMeta(name=name, labels=labels),
        spec=client.V1NodeSpec(taints=[client.V1Taint(**taint) for taint in taints or []] or None),
        status=client.V1NodeStatus(allocatable=offers),
    )


def a_pod(
    name: str,
    labels: dict[str, str],
    *,
    container: str = "node",
    node: str = "",
    unschedulable: str = "",
    waits: tuple[str, str] | None = None,
    ended: tuple[str, int] | None = None,
    tries: int = 0,
) -> client.V1Pod:
    """Return a pod with one container, which runs unless something else is said.

    Args:
        node: its node in an Argo workflow.
        unschedulable: why the scheduler finds no place for it.
        waits: reason and message of what its container waits for.
        ended: reason and exit code of the container's end; with `tries`, of the one before.
    """
    now = datetime.datetime.now(datetime.UTC)
    running = client.V1ContainerState(running=client.V1ContainerStateRunning(started_at=now))
    last = None
    if ended is not None:
        last = client.V1ContainerState(
            terminated=client.V1ContainerStateTerminated(reason=ended[0], exit_code=ended[1])
        )
    state = running if tries or last is None else last
    if waits is not None:
        made = client.V1ContainerStateWaiting(reason=waits[0], message=waits[1])
        state = client.V1ContainerState(waiting=made)
    status = client.V1ContainerStatus(
        name=container,
        image="image",
        image_id="",
        ready=False,
        restart_count=tries,
        state=state,
        last_state=last if tries else None,
    )
    scheduled = client.V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message=unschedulable
    )
    phase = "Pending" if unschedulable or waits else "Failed" if state is last else "Running"
    notes = {"workflows.argoproj.io/node-name": node} if node else None
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels=labels, annotations=notes),
        status=client.V1PodStatus(
            phase=phase,
            conditions=[scheduled] if unschedulable else None,
            container_statuses=None if unschedulable else [status],
        ),
    )


def a_quota(name: str, hard: dict[str, str], used: dict[str, str]) -> client.V1ResourceQuota:
    """Return a quota and what is used of it."""
    return client.V1ResourceQuota(
        metadata=client.V1ObjectMeta(name=name, namespace=NAMESPACE),
        status=client.V1ResourceQuotaStatus(hard=hard, used=used),
    )


def _sent(made: Any) -> Any:
    return client.ApiClient(client.Configuration()).sanitize_for_serialization(made)


@dataclass
class _Body:
    data: str


def _checked(sent: dict[str, Any], model: str) -> dict[str, Any]:
    """Read a body into the published model; refuse what the model does not give back."""
    reader = client.ApiClient(client.Configuration())
    try:
        back = reader.sanitize_for_serialization(reader.deserialize(_Body(json.dumps(sent)), model))
    except ValueError as error:
        raise Refused(400, f"{model}: {error}") from error
    _refuse_lost(sent, back, model)
    return sent


def _checked_job(sent: dict[str, Any]) -> dict[str, Any]:
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

    kind = (sent.get("apiVersion"), sent.get("kind"))
    if kind != ("trainer.kubeflow.org/v1alpha1", "TrainJob"):
        raise Refused(400, f"expected a TrainJob of v1alpha1, found {kind}")
    try:
        read = TrainerV1alpha1TrainJob.from_dict(sent)
    except ValueError as error:
        raise Refused(422, f"TrainJob: {error}") from error
    _refuse_lost(sent, _sent(read.to_dict()), "TrainJob")
    return sent


def _refuse_lost(sent: Any, back: Any, model: str) -> None:
    lost = sorted(set(leaves(sent)) - set(leaves(back)))
    if lost:
        raise Refused(400, f"{model}: unknown {lost}")


@functools.cache
def _certificate() -> tuple[bytes, bytes]:
    """Return a certificate for 127.0.0.1 that signed itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, form, serialization.NoEncryption())
    return made.public_bytes(pem), secret


@contextlib.contextmanager
def fake_kubernetes() -> Iterator[FakeKubernetes]:
    """Serve an empty cluster until the block ends."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate, key = _certificate()
        (folder / "ca.crt").write_bytes(certificate)
        (folder / "key").write_bytes(key)
        (folder / "token").write_text(TOKEN)
        (folder / "namespace").write_text(f"{NAMESPACE}\n")
        fake = FakeKubernetes(folder, token=TOKEN)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.crt", folder / "key")
        with serve(fake.answer, tls=context) as address:
            fake.port = int(address.rpartition(":")[2])
            yield fake


def kubeconfig(fake: FakeKubernetes, path: Path) -> None:
    """Write a kubeconfig whose only cluster is this one."""
    cluster = {"server": f"https://127.0.0.1:{fake.port}"}
    cluster["certificate-authority"] = str(fake.folder / "ca.crt")
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        "current-context": "fake",
    }
    path.write_text(json.dumps(made))


def inside(fake: FakeKubernetes, monkeypatch: Any) -> None:
    """Make this process a pod of the cluster: the kubernetes library finds its service account."""
    from kubernetes.config import incluster_config

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(fake.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(fake.folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(fake.folder / "ca.crt"))
