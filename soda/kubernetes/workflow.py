"""The Workflow that Argo makes of a run: was it cancelled, which steps failed, which wait."""

import base64
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soda.kubernetes.api import ask, connect

__all__ = ["RunState", "find_workflow", "look_at_workflow", "step_of"]

_GROUP, _VERSION, _PLURAL = "argoproj.io", "v1alpha1", "workflows"
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class RunState:
    """What the Workflow says of the run."""

    cancelled: bool
    failures: list[tuple[str, str]]  # step, Argo's words for why; in the order of their ends
    waiting: list[tuple[str, str]]  # step, what its pod waits for


def look_at_workflow() -> RunState | None:
    """Return what the Workflow named in SODA_WORKFLOW says; None outside of a cluster.

    Raises:
        ClusterError: Kubernetes refused, or cannot be reached.
    """
    connected, name = connect(), os.environ.get("SODA_WORKFLOW", "")
    if connected is None or not name:
        return None
    from kubernetes import client

    api, namespace = connected
    get = client.CustomObjectsApi(api).get_namespaced_custom_object
    found = ask(get, _GROUP, _VERSION, namespace, _PLURAL, name, none_for=404)
    return _read(found) if found is not None else None


def find_workflow(api: Any, namespace: str, run: str) -> RunState | None:
    """Return what the Workflow of a run says, by the run's id; None where there is none.

    Raises:
        ClusterError: Kubernetes refused, or cannot be reached.
    """
    from kubernetes import client

    call = client.CustomObjectsApi(api).list_namespaced_custom_object
    place = (_GROUP, _VERSION, namespace, _PLURAL)
    found = ask(call, *place, label_selector=f"pipeline/runid={run}")["items"]
    return _read(found[0]) if found else None


def _read(workflow: Mapping[str, Any]) -> RunState:
    # Kubeflow cancels a run with a deadline of 0 seconds; Argo's own command, with `shutdown`.
    spec = workflow.get("spec", {})
    cancelled = spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))
    pods = [
        node for node in _nodes(workflow.get("status", {})).values() if node.get("type") == "Pod"
    ]
    failed = [node for node in pods if node.get("phase") in ("Failed", "Error")]
    failed.sort(key=lambda node: node.get("finishedAt") or "")
    waiting = [node for node in pods if node.get("phase") == "Pending" and node.get("message")]
    return RunState(cancelled, [_said(node) for node in failed], [_said(node) for node in waiting])


def _said(node: Mapping[str, Any]) -> tuple[str, str]:
    return step_of(node["name"]), " ".join((node.get("message") or "").split())


def step_of(node: str) -> str:
    """Return a step's name from that of one of its nodes in the Workflow.

    `run-x7k.root.exit-handler-1.train.executor(0)` is of `train`; of a driver, the step's own node
    is named: `run-x7k.root.train-driver`.
    """
    names = [part for part in node.split(".") if not part.startswith("executor")]
    return names[-1].partition("(")[0].removesuffix("-driver")


def _nodes(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Workflow's nodes; Argo compresses many of them."""
    if packed := status.get("compressedNodes"):
        nodes: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed), _GZIP))
        return nodes
    return dict(status.get("nodes") or {})
