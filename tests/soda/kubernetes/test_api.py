"""The API that a pod finds, and what it says where it refuses or cannot be reached."""

import socket

import pytest
from kubernetes import client

from soda.errors import ClusterError
from soda.kubernetes.api import OutOfReach, ask, connect


def refusal(kind=ClusterError):
    with pytest.raises(kind) as refused:
        ask(client.CoreV1Api(connect()[0]).list_node)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_a_pod_finds_its_api_and_its_namespace(cluster):
    _, namespace = connect()
    assert namespace == "team"


def test_outside_of_a_cluster_there_is_nothing_to_ask(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert connect() is None


def test_a_token_that_is_not_accepted_is_said_and_not_shown(cluster):
    (cluster.folder / "token").write_text("canary-of-another")
    text = refusal()
    assert text == "Kubernetes refused list_node: Unauthorized" and "canary" not in text


def test_a_cluster_out_of_reach_is_one_line(cluster, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(nobody.getsockname()[1]))
        text = refusal()
    assert text.startswith("Kubernetes cannot be reached: ") and "refused" in text


def test_one_status_may_be_no_fault(cluster):
    listing = client.CoreV1Api(connect()[0]).list_node
    cluster.fail("GET nodes", 404)
    assert ask(listing, none_for=404) is None
    cluster.fail("GET nodes", 409)
    with pytest.raises(ClusterError, match="Kubernetes refused list_node: told to fail") as refused:
        ask(listing, none_for=404)
    assert not isinstance(refused.value, OutOfReach)


def test_a_server_that_is_not_well_may_be_asked_again(cluster):
    cluster.fail("GET nodes", 503)
    assert refusal(OutOfReach) == "Kubernetes refused list_node: told to fail"
