"""What a run asks of its cluster before it begins, and what it is told."""

import pytest

from soda.errors import ClusterError
from soda.kubernetes.api import connect
from soda.kubernetes.checks import Gpus, allowed, gpu_nodes, quota, training_runtime
from tests.fakes.kubernetes import TOKEN, a_node, a_quota

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


@pytest.fixture
def api(cluster):
    found = connect()
    assert found is not None
    return found[0]


def refusal(check, *arguments):
    with pytest.raises(ClusterError) as refused:
        check(*arguments)
    text = str(refused.value)
    assert "\n" not in text and TOKEN not in text
    return text


def test_enough_nodes_are_counted(cluster, api):
    cluster.nodes = [a_node("a", 8), a_node("b", 8), a_node("c", 0)]
    found = gpu_nodes(api, Gpus(count=8, nodes=2))
    assert found == "room for 2 pods with 8 nvidia.com/gpu"
    assert cluster.calls == ["GET nodes"]


def test_one_machine_may_take_several_pods(cluster, api):
    cluster.nodes = [a_node("a", 8), a_node("b", 3)]
    assert gpu_nodes(api, Gpus(count=2, nodes=5)) == "room for 5 pods with 2 nvidia.com/gpu"
    text = refusal(gpu_nodes, api, Gpus(count=2, nodes=6))
    assert text == "expected room for 6 pods with 2 nvidia.com/gpu, found it for 5"


def test_a_runtime_that_is_not_there_is_refused(cluster, api):
    cluster.runtimes = {"soda-torch"}
    assert training_runtime(api, "team", "soda-torch") == "'soda-torch' is there"
    text = refusal(training_runtime, api, "team", "torch")
    assert text == "expected the TrainingRuntime 'torch' in team, found none"


def test_too_few_nodes_are_refused_with_what_they_lack(cluster, api):
    cluster.nodes = [a_node("a", 8), a_node("b", 4), a_node("c", 0)]
    assert refusal(gpu_nodes, api, Gpus(count=8, nodes=2)) == (
        "expected room for 2 pods with 8 nvidia.com/gpu, found it for 1 (2 have fewer than "
        "8 nvidia.com/gpu)"
    )


def test_a_selector_leaves_other_nodes_out(cluster, api):
    cluster.nodes = [a_node("a", 8, labels={"pool": "h100"}), a_node("b", 8, labels={"pool": "l4"})]
    wanted = {"pool": "h100"}
    assert "room for 8 pods" in gpu_nodes(api, Gpus(node_selector=wanted))
    text = refusal(gpu_nodes, api, Gpus(nodes=9, node_selector=wanted))
    assert text.endswith("found it for 8 (1 nodes match the selector 'pool=h100')")


@pytest.mark.parametrize(
    "tolerations",
    [
        [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        [{"key": "nvidia.com/gpu", "value": "present"}],
        [{"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": ""}],
        [{"operator": "Exists"}],
        [{"key": "another"}, {"operator": "Exists", "effect": "NoSchedule"}],
    ],
)
def test_a_taint_that_is_tolerated_is_no_hindrance(cluster, api, tolerations):
    cluster.nodes = [a_node("a", 1, taints=[GPU_TAINT])]
    assert gpu_nodes(api, Gpus(tolerations=tolerations)) == "room for 1 pods with 1 nvidia.com/gpu"


@pytest.mark.parametrize(
    "tolerations",
    [
        [],
        [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}],
        [{"key": "nvidia.com/gpu", "value": "absent"}],
        [{"key": "nvidia.com/gpu"}],
        [{"key": "another", "operator": "Exists"}],
    ],
)
def test_a_taint_that_is_not_tolerated_is_named(cluster, api, tolerations):
    cluster.nodes = [a_node("a", 1, taints=[GPU_TAINT])]
    text = refusal(gpu_nodes, api, Gpus(tolerations=tolerations))
    assert "1 have a taint that is not tolerated: nvidia.com/gpu=present:NoSchedule" in text


def test_a_taint_that_only_prefers_other_nodes_is_no_hindrance(cluster, api):
    cluster.nodes = [a_node("a", 1, taints=[{**GPU_TAINT, "effect": "PreferNoSchedule"}])]
    assert gpu_nodes(api, Gpus()) == "room for 1 pods with 1 nvidia.com/gpu"


WANTED = {"requests.nvidia.com/gpu": "8", "requests.cpu": "500m", "requests.memory": "64Gi"}


def test_a_quota_that_leaves_enough_is_named(cluster, api):
    hard = {"requests.nvidia.com/gpu": "16", "requests.cpu": "2", "requests.memory": "128Gi"}
    used = {"requests.nvidia.com/gpu": "8", "requests.cpu": "1500m", "requests.memory": "65536Mi"}
    cluster.quotas = [a_quota("gpus", hard, used)]
    assert quota(api, "team", WANTED) == "enough of gpus"


def test_what_a_quota_says_of_other_resources_does_not_matter(cluster, api):
    cluster.quotas = [a_quota("pods", {"pods": "1"}, {"pods": "1"}), a_quota("new", {}, {})]
    assert quota(api, "team", WANTED) == "enough of pods, new"


def test_without_a_quota_there_is_enough(cluster, api):
    assert quota(api, "team", WANTED) == "no quota in team"


@pytest.mark.parametrize(
    ("resource", "limit", "used", "left"),
    [
        ("requests.nvidia.com/gpu", "8", "1", "7"),
        ("requests.cpu", "4", "3501m", "0.499"),
        ("requests.memory", "64Gi", "1Mi", "68718428160"),
    ],
)
def test_a_quota_that_leaves_too_little_is_refused(cluster, api, resource, limit, used, left):
    cluster.quotas = [a_quota("tight", {resource: limit}, {resource: used})]
    assert refusal(quota, api, "team", WANTED) == (
        f"expected {WANTED[resource]} of {resource} in team, found {left} left of {limit} "
        "(quota tight)"
    )


NEEDS = [("trainer.kubeflow.org", "trainjobs", "create"), ("", "pods", "get")]


def test_what_the_service_account_may_do_is_counted(cluster, api):
    assert allowed(api, "team", NEEDS) == "2 permissions"
    assert cluster.changes() == ["POST selfsubjectaccessreviews"] * 2


def test_every_missing_permission_is_named(cluster, api):
    cluster.forbidden = set(NEEDS)
    assert refusal(allowed, api, "team", [*NEEDS, ("", "pods", "list")]) == (
        "expected the service account to be allowed to create trainjobs.trainer.kubeflow.org, get "
        "pods in team, found that it is not"
    )


@pytest.mark.parametrize(
    ("check", "call"),
    [
        (lambda api: gpu_nodes(api, Gpus()), "list_node"),
        (lambda api: quota(api, "team", {}), "list_namespaced_resource_quota"),
        (lambda api: allowed(api, "team", NEEDS), "create_self_subject_access_review"),
    ],
)
def test_what_kubernetes_refuses_is_one_line(cluster, api, check, call):
    for method in ("GET", "POST"):
        cluster.fail(method, 403)
    assert refusal(check, api) == f"Kubernetes refused {call}: told to fail"
