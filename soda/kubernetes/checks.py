"""What a run needs of the cluster it is in: GPUs, a runtime for training, quota, permissions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from soda.errors import ClusterError
from soda.kubernetes.api import ask

__all__ = ["Gpus", "allowed", "gpu_nodes", "quota", "training_runtime"]


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that a run asks for, on each of its nodes."""

    type: str = "nvidia.com/gpu"
    count: int = 1
    nodes: int = 1
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Iterable[Mapping[str, Any]] = ()


def gpu_nodes(api: Any, wanted: Gpus) -> str:
    """Count the pods of training that the nodes have room for; one node may take several.

    Raises:
        ClusterError: they are too few; what the nearest nodes lack is said.
    """
    from kubernetes import client

    room, tainted, small = 0, [], []
    selector = ",".join(f"{key}={value}" for key, value in wanted.node_selector.items())
    nodes = ask(client.CoreV1Api(api).list_node, label_selector=selector).items
    for node in nodes:
        count = int(node.status.allocatable.get(wanted.type, "0"))
        if count < wanted.count:
            small.append(node.metadata.name)
        elif taint := _repelled(node.spec.taints or [], wanted.tolerations):
            tainted.append(taint)
        else:
            room += count // wanted.count
    each = f"{wanted.count} {wanted.type}"
    if room >= wanted.nodes:
        return f"room for {room} pods with {each}"
    reasons = [f"{len(nodes)} nodes match the selector '{selector}'"] if selector else []
    if small:
        reasons.append(f"{len(small)} have fewer than {each}")
    if tainted:
        reasons.append(f"{len(tainted)} have a taint that is not tolerated: {tainted[0]}")
    raise ClusterError(
        f"expected room for {wanted.nodes} pods with {each}, found it for {room}"
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


def training_runtime(api: Any, namespace: str, name: str) -> str:
    """Look whether the Kubeflow Trainer is there, and the runtime that a TrainJob names.

    Raises:
        ClusterError: it is not.
    """
    from kubernetes import client

    get = client.CustomObjectsApi(api).get_namespaced_custom_object
    place = ("trainer.kubeflow.org", "v1alpha1", namespace, "trainingruntimes")
    if ask(get, *place, name, none_for=404) is None:
        raise ClusterError(f"expected the TrainingRuntime '{name}' in {namespace}, found none")
    return f"'{name}' is there"


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

    quotas = ask(client.CoreV1Api(api).list_namespaced_resource_quota, namespace).items
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
        create = client.AuthorizationV1Api(api).create_self_subject_access_review
        if not ask(create, review).status.allowed:
            missing.append(f"{verb} {resource}{'.' * bool(group)}{group}")
    if missing:
        raise ClusterError(
            f"expected the service account to be allowed to {', '.join(missing)} in {namespace}, "
            "found that it is not"
        )
    return f"{count} permissions"
