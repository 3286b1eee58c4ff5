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

from tests.fakes.web import JsonApi, Refused, leaves, serve

__all__ = ["FakeKubernetes", "a_node", "a_quota", "fake_kubernetes", "inside"]

NAMESPACE, TOKEN = "team", "canary-of-the-service-account"
_JOBS = rf"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
# The query parameters are those that we use.
_ROUTES: list[tuple[str, str, set[str], str]] = [
    ("GET", r"/api/v1/nodes", {"labelSelector"}, "list_nodes"),
    ("GET", rf"/api/v1/namespaces/{NAMESPACE}/resourcequotas", set(), "list_quotas"),
    ("POST", r"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", set(), "review"),
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


def inside(fake: FakeKubernetes, monkeypatch: Any) -> None:
    """Make this process a pod of the cluster: the kubernetes library finds its service account."""
    from kubernetes.config import incluster_config

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(fake.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(fake.folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(fake.folder / "ca.crt"))
