"""What Argo's Workflow says of a run, as Kubeflow 2.17 leaves it."""

import base64
import gzip
import json

import pytest

from soda.errors import ClusterError
from soda.kubernetes.workflow import RunState, look_at_workflow, step_of

NODES = {
    "a": {"type": "DAG", "name": "run-x7k", "phase": "Failed"},
    "b": {
        "type": "Pod",
        "name": "run-x7k.root.exit-handler-1.train.executor(1)",
        "phase": "Error",
        "message": "pod deleted",
        "finishedAt": "2026-11-26T10:05:00Z",
    },
    "c": {
        "type": "Pod",
        "name": "run-x7k.root.exit-handler-1.snapshot-driver",
        "phase": "Failed",
        "message": "Expected a non-empty string",
        "finishedAt": "2026-11-26T10:00:00Z",
    },
    "d": {"type": "Pod", "name": "run-x7k.root.preflight.executor(0)", "phase": "Succeeded"},
    "e": {
        "type": "Pod",
        "name": "run-x7k.root.teacher-gen.executor",
        "phase": "Pending",
        "message": "ImagePullBackOff: no such\nimage",
    },
}
WAITING = [("teacher-gen", "ImagePullBackOff: no such image")]
FAILURES = [("snapshot", "Expected a non-empty string"), ("train", "pod deleted")]


@pytest.fixture(autouse=True)
def _named(monkeypatch):
    monkeypatch.setenv("SODA_WORKFLOW", "run-x7k")


def test_the_pods_that_failed_are_named_by_their_steps_in_the_order_of_their_ends(cluster):
    cluster.workflows["run-x7k"] = {"spec": {}, "status": {"nodes": NODES}}
    assert look_at_workflow() == RunState(False, FAILURES, WAITING)


def test_nodes_that_argo_has_compressed_are_read(cluster):
    packed = base64.b64encode(gzip.compress(json.dumps(NODES).encode())).decode()
    cluster.workflows["run-x7k"] = {"spec": {}, "status": {"compressedNodes": packed}}
    assert look_at_workflow() == RunState(False, FAILURES, WAITING)


@pytest.mark.parametrize("spec", [{"activeDeadlineSeconds": 0}, {"shutdown": "Terminate"}])
def test_a_run_that_somebody_ended_is_cancelled(cluster, spec):
    cluster.workflows["run-x7k"] = {"spec": spec, "status": {}}
    assert look_at_workflow() == RunState(True, [], [])


def test_a_deadline_of_its_own_is_no_cancel(cluster):
    cluster.workflows["run-x7k"] = {"spec": {"activeDeadlineSeconds": 3600}, "status": {}}
    assert look_at_workflow() == RunState(False, [], [])


def test_one_that_is_gone_or_outside_of_a_cluster_says_nothing(cluster, monkeypatch):
    assert look_at_workflow() is None
    monkeypatch.delenv("SODA_WORKFLOW")
    assert look_at_workflow() is None
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert look_at_workflow() is None


def test_what_kubernetes_refuses_is_one_line(cluster):
    cluster.fail("GET workflows", 403)
    with pytest.raises(ClusterError, match=r"^Kubernetes refused get_namespaced_custom_object"):
        look_at_workflow()


@pytest.mark.parametrize(
    ("node", "step"),
    [
        ("run-x7k.root.exit-handler-1.train.executor", "train"),
        ("run-x7k.root.loop.for-loop-2(0).snapshot.executor(3)", "snapshot"),
        ("run-x7k.root.notify-driver", "notify"),
        ("run-x7k", "run-x7k"),
    ],
)
def test_a_node_belongs_to_a_step(node, step):
    assert step_of(node) == step
