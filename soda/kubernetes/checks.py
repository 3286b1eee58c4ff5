"""What a run needs of the cluster it is in: GPUs, quota, permissions, images."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from soda.errors import ClusterError

__all__ = ["Gpus", "allowed", "connect", "gpu_nodes", "image", "quota", "reason_of"]

_TIMEOUT_SECONDS = 20
_NO_ANSWER = (OSError, ValueError, http.client.HTTPException)  # the last: an answer that is no HTTP
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that a run asks for, on each of its nodes."""

    type: str = "nvidia.com/gpu"
    count: int = 1
    nodes: int = 1
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Iterable[Mapping[str, Any]] = ()


def connect() -> tuple[Any, str] | None:
    """Return a Kubernetes API client and this pod's namespace, or None outside of a cluster."""
    from kubernetes import client, config
    from kubernetes.config import incluster_config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        return None
    namespace = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
    return client.ApiClient(configuration), namespace.read_text(encoding="utf-8").strip()


def gpu_nodes(api: Any, wanted: Gpus) -> str:
    """Find the nodes that a pod of training can run on.

    Raises:
        ClusterError: there are too few; what the nearest ones lack is said.
    """
    from kubernetes import client

    found, tainted, small = [], [], []
    selector = ",".join(f"{key}={value}" for key, value in wanted.node_selector.items())
    nodes = _ask(client.CoreV1Api(api).list_node, label_selector=selector).items
    for node in nodes:
        count = int(node.status.allocatable.get(wanted.type, "0"))
        if count < wanted.count:
            small.append(node.metadata.name)
        elif taint := _repelled(node.spec.taints or [], wanted.tolerations):
            tainted.append(taint)
        else:
            found.append(node.metadata.name)
    if len(found) >= wanted.nodes:
        return f"{len(found)} nodes have {wanted.count} {wanted.type}"
    reasons = [f"{len(nodes)} nodes match the selector '{selector}'"] if selector else []
    if small:
        reasons.append(f"{len(small)} have fewer than {wanted.count} {wanted.type}")
    if tainted:
        reasons.append(f"{len(tainted)} have a taint that is not tolerated: {tainted[0]}")
    raise ClusterError(
        f"expected {wanted.nodes} nodes with {wanted.count} {wanted.type}, found {len(found)}"
        + (f" ({'; '.join(reasons)})" if reasons else "")
    )


def _repelled(taints: list[Any], tolerations: Iterable[Mapping[str, Any]]) -> str:
    """Return the first taint that keeps the pod away, or ''."""
    for taint in taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not any(
            each.get("effect") in (None, "", taint.effect)
            and (
                (not each.get("key") and each.get("operator") == "Exists")
                or (
                    each.get("key") == taint.key
                    and (
                        each.get("operator") == "Exists"
                        or each.get("value", "") == (taint.value or "")
                    )
                )
            )
            for each in tolerations
        ):
            return f"{taint.key}={taint.value or ''}:{taint.effect}"
    return ""


def quota(api: Any, namespace: str, wants: Mapping[str, str]) -> str:
    """Compare what a run wants with what the namespace's quotas leave.

    Args:
        api: the Kubernetes API client.
        namespace: where the run's pods are.
        wants: quantity by resource, such as `requests.nvidia.com/gpu`: '8'.

    Raises:
        ClusterError: a quota leaves less.
    """
    from kubernetes import client
    from kubernetes.utils.quantity import parse_quantity

    quotas = _ask(client.CoreV1Api(api).list_namespaced_resource_quota, namespace).items
    for each in quotas:
        for resource, limit in (each.status.hard or {}).items():
            if resource not in wants:
                continue
            left = parse_quantity(limit) - parse_quantity((each.status.used or {}).get(resource, 0))
            wanted: Decimal = parse_quantity(wants[resource])
            if wanted > left:
                raise ClusterError(
                    f"expected {wants[resource]} of {resource} in {namespace}, found {left} left "
                    f"of {limit} (quota {each.metadata.name})"
                )
    names = ", ".join(each.metadata.name for each in quotas)
    return f"enough of {names}" if names else f"no quota in {namespace}"


def allowed(api: Any, namespace: str, wants: Iterable[tuple[str, str, str]]) -> str:
    """Ask the API server whether this pod's service account may do all that a run needs.

    Args:
        api: the Kubernetes API client.
        namespace: where the run's pods are.
        wants: API group, resource, verb.

    Raises:
        ClusterError: it may not; everything that is missing is named.
    """
    from kubernetes import client

    missing, count = [], 0
    for group, resource, verb in wants:
        count += 1
        attributes = client.V1ResourceAttributes(
            group=group, resource=resource, verb=verb, namespace=namespace
        )
        review = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        )
        ask = client.AuthorizationV1Api(api).create_self_subject_access_review
        if not _ask(ask, review).status.allowed:
            missing.append(f"{verb} {resource}{'.' * bool(group)}{group}")
    if missing:
        raise ClusterError(
            f"expected the service account to be allowed to {', '.join(missing)} in {namespace}, "
            "found that it is not"
        )
    return f"{count} permissions"


def _ask(call: Any, *arguments: Any, **named: Any) -> Any:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*arguments, _request_timeout=_TIMEOUT_SECONDS, **named)
    except ApiException as error:
        raise ClusterError(f"Kubernetes refused {call.__name__}: {reason_of(error)}") from error
    except HTTPError as error:
        raise ClusterError(f"Kubernetes cannot be reached: {error}") from error


def reason_of(error: Any) -> str:
    """Return in one line why Kubernetes refused: its own words, or the status."""
    try:
        return " ".join(str(json.loads(error.body)["message"]).split())
    except (ValueError, LookupError, TypeError):
        return f"{error.status} {error.reason}"


def image(reference: str) -> str | None:
    """Look an image up in its registry, as a node without credentials would.

    Returns: its digest; None where the registry wants credentials, which only nodes have.

    Raises:
        ClusterError: there is no such image, or no such registry.
    """
    host, repository, version = _parts(reference)
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{host}/v2/{repository}/manifests/{version}"
    token = ""
    for _ in range(2):
        headers = {"Accept": _MANIFESTS, **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            request = urllib.request.Request(url, method="HEAD", headers=headers)
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                return str(answer.headers.get("Docker-Content-Digest", version))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise ClusterError(f"{reference}: expected an image, found none there") from error
            if error.code not in (401, 403):
                raise ClusterError(f"{reference}: the registry answered {error.code}") from error
            challenge = error.headers.get("WWW-Authenticate", "")
            token = "" if token else _token(challenge)
            if not token:
                return None
        except _NO_ANSWER as error:
            problem = " ".join(str(error).split())
            raise ClusterError(f"{reference}: the registry cannot be reached: {problem}") from error
    return None


def _parts(reference: str) -> tuple[str, str, str]:
    """Split a reference into registry, repository, and tag or digest."""
    name, _, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    if slash and (set(first) & {".", ":"} or first == "localhost"):
        host, path = first, rest
    else:
        host, path = "registry-1.docker.io", name if slash else f"library/{name}"
    host = {"docker.io": "registry-1.docker.io"}.get(host, host)
    path, _, tag = path.partition(":")
    return host, path, digest or tag or "latest"


def _token(challenge: str) -> str:
    """Ask for the token that the registry names, as nobody; '' if it gives none."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer") or "realm" not in fields:
        return ""
    query = urllib.parse.urlencode(
        {key: fields[key] for key in ("service", "scope") if key in fields}
    )
    try:
        url = f"{fields['realm']}?{query}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return ""
    except _NO_ANSWER:
        return ""
    return str(found.get("token") or found.get("access_token") or "")
