"""The Workflow that Argo makes of a run: whether somebody cancelled it, and which steps failed."""

import base64
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soda.kubernetes.api import ask, connect

__all__ = ["RunState", "look_at_workflow", "step_of"]

_GROUP, _VERSION, _PLURAL = "argoproj.io", "v1alpha1", "workflows"
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class RunState:
    """What the Workflow says of the run."""

    cancelled: bool
    failures: list[tuple[str, str]]  # step, Argo's words for why; in the order of their ends


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
    if found is None:
        return None
    # Kubeflow cancels a run with a deadline of 0 seconds; Argo's own command, with `shutdown`.
    spec = found.get("spec", {})
    cancelled = spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))
    failed = [
        node
        for node in _nodes(found.get("status", {})).values()
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    ]
    failed.sort(key=lambda node: node.get("finishedAt") or "")
    return RunState(
        cancelled, [(step_of(node["name"]), node.get("message") or "") for node in failed]
    )


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
