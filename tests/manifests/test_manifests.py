"""Every overlay builds, fits the cluster's schemas, and gives no more than it has to."""

import functools
import json

import kubernetes_validate
import pytest
import yaml

from tests.manifests.pods import breaches, pods, references
from tests.manifests.rendered import COMPOSED, FOLDERS, ROOT, build, compose, objects

KUBERNETES = "1.34"
LABEL = {"app.kubernetes.io/part-of": "soda"}
# Argo Events makes these two pods and puts the label there that we ask for.
EVENT_PODS = {"event-source", "sensor"}
# Kinds that the cluster knows from elsewhere: their schemas are in no wheel.
CUSTOM = {
    ("argoproj.io/v1alpha1", "EventSource"),
    ("argoproj.io/v1alpha1", "Sensor"),
    ("external-secrets.io/v1", "ExternalSecret"),
    ("external-secrets.io/v1", "SecretStore"),
    ("kueue.x-k8s.io/v1beta2", "ClusterQueue"),
    ("kueue.x-k8s.io/v1beta2", "LocalQueue"),
    ("kueue.x-k8s.io/v1beta2", "ResourceFlavor"),
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"),
}
# What is made by hand, or by another overlay; the README says how.
PREREQUISITES = {
    ("Secret", "soda-store"),
    ("Secret", "soda-webhook"),
    ("ConfigMap", "soda-store"),
}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "ClusterQueue", "ResourceFlavor"}
CLUSTER_WIDE |= {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def named(made):
    return {(one["kind"], one["metadata"]["name"]) for one in made}


@functools.cache
def fits(written):
    """Check an object once, however many overlays hold it."""
    kubernetes_validate.validate(json.loads(written), KUBERNETES, strict=True)


def rules(made):
    return [
        (one, rule)
        for one in made
        if one["kind"] in ("Role", "ClusterRole")
        for rule in one["rules"]
    ]


def test_native_objects_fit_their_schemas_and_the_others_are_known(made):
    for one in made:
        if (one["apiVersion"], one["kind"]) not in CUSTOM:
            fits(json.dumps(one))


def test_the_runtime_has_only_fields_that_kubeflow_trainer_knows():
    models = pytest.importorskip("kubeflow_trainer_api.models")
    (runtime,) = [one for one in objects("overlays/trainer") if one["kind"] == "TrainingRuntime"]
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime


def test_every_kustomization_is_tested():
    tested = {*FOLDERS, *(name for names in COMPOSED.values() for name in names)}
    tested |= {"components/existing-namespace", "components/narrow-egress"}  # see below
    assert {
        str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("kustomization.yaml")
    } == tested


def test_every_object_bears_our_label(made):
    for one in made:
        assert one["metadata"].get("labels", {}).items() >= LABEL.items(), one["metadata"]


def test_every_pod_satisfies_pod_security_restricted(made):
    for pod in pods(list(made)):
        assert breaches(pod) == []


def test_the_check_of_pods_finds_what_is_wrong():
    bare = {"hostPID": True, "volumes": [{"name": "v", "hostPath": {}}], "containers": [{}]}
    assert set(breaches(bare)) == {
        *("hostPID", "volume v", "runs as root"),
        *("seccompProfile", "privileges", "capabilities"),
    }


def test_every_pod_runs_as_our_user_on_a_read_only_root_within_limits(made):
    for pod in pods(list(made)):
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            for share in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][share].keys()
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert tag and tag != "latest"


def test_pods_have_no_token_of_the_kubernetes_api_unless_their_account_gives_one_on_purpose(made):
    accounts = [one for one in made if one["kind"] == "ServiceAccount"]
    assert all("automountServiceAccountToken" in account for account in accounts)
    for one in made:
        if one["kind"] not in ("EventSource", "Sensor"):  # they have no such field
            assert all(pod["automountServiceAccountToken"] is False for pod in pods(one))
    with_token = {
        account["metadata"]["name"]
        for account in accounts
        if account["automountServiceAccountToken"]
    }
    assert with_token <= {"soda-runner", "soda-events"}


def test_no_secret_is_in_the_tree(made):
    assert "Secret" not in {one["kind"] for one in made}


def test_no_role_has_a_wildcard(made):
    for one, rule in rules(made):
        values = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in values, one["metadata"]["name"]


def test_secrets_and_config_are_readable_by_name_only(made):
    for one, rule in rules(made):
        if {"secrets", "configmaps"} & set(rule["resources"]):
            assert rule["verbs"] == ["get"] and rule["resourceNames"], one["metadata"]["name"]


def test_nothing_may_change_pods_or_take_other_rights(made):
    for one, rule in rules(made):
        if {"pods", "pods/log", "nodes"} & set(rule["resources"]):
            assert set(rule["verbs"]) <= {"get", "list", "watch"}, one["metadata"]["name"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_every_binding_binds_a_role_and_an_account_that_are_there(made):
    there = named(made)
    for one in made:
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            assert (one["roleRef"]["kind"], one["roleRef"]["name"]) in there
            for subject in one["subjects"]:
                assert (subject["kind"], subject["name"]) in there
                assert subject["namespace"] == "soda"


def test_what_pods_refer_to_is_there_or_a_documented_prerequisite(stack, made):
    there = named(made) | PREREQUISITES
    if stack == "overlays/gitops/argo-events":
        there |= named(objects("overlays/gitops"))
    readme = (ROOT / "README.md").read_text()
    assert all(name in readme for _, name in PREREQUISITES)
    for one in made:
        for pod in pods(one):
            assert set(references(pod)) <= there


def test_what_other_objects_refer_to_is_there(made):
    there = named(made)
    for one in made:
        if one["kind"] == "ExternalSecret":
            assert ("SecretStore", one["spec"]["secretStoreRef"]["name"]) in there
        if one["kind"] == "LocalQueue":
            assert ("ClusterQueue", one["spec"]["clusterQueue"]) in there


def test_network_policies_touch_our_pods_only(made):
    for one in made:
        if one["kind"] == "NetworkPolicy":
            selector = one["spec"]["podSelector"]
            ours = selector.get("matchLabels", {}).items() >= LABEL.items()
            events = [set(words["values"]) for words in selector.get("matchExpressions", ())]
            assert ours or events == [EVENT_PODS], one["metadata"]["name"]


def test_our_pods_are_closed_and_nothing_opens_all_of_it(made):
    policies = [one["spec"] for one in made if one["kind"] == "NetworkPolicy"]
    for policy in policies:
        for rule in policy.get("egress", ()):
            assert rule.get("to"), "an egress rule without `to` opens every address"
            wide = [to for to in rule["to"] if to.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"]
            for to in wide:
                assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(to["ipBlock"]["except"])
                assert [port["port"] for port in rule["ports"]] == [443]
    if ("Namespace", "soda") in named(made):
        closed = {"podSelector": {"matchLabels": LABEL}, "policyTypes": ["Ingress", "Egress"]}
        assert closed in policies


def test_whoever_calls_our_pods_is_named(made):
    for one in made:
        if one["kind"] == "NetworkPolicy":
            for rule in one["spec"].get("ingress", ()):
                assert rule.get("from"), f"{one['metadata']['name']}: anybody may call"


def test_a_trainjobs_machines_have_an_account_that_may_nothing():
    made = objects("overlays/trainer")
    (runtime,) = [one for one in made if one["kind"] == "TrainingRuntime"]
    (pod,) = pods(runtime)
    assert pod["serviceAccountName"] == "soda-train"
    for one in made:
        for subject in one.get("subjects", ()):
            assert subject["name"] != "soda-train"


def test_the_steps_account_gets_no_trainjob_but_ours():
    made = objects("overlays/trainer")
    (policy,) = [one["spec"] for one in made if one["kind"] == "ValidatingAdmissionPolicy"]
    (binding,) = [one["spec"] for one in made if one["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert binding == {"policyName": "soda-train", "validationActions": ["Deny"]}
    assert policy["failurePolicy"] == "Fail"
    assert ":soda-runner" in policy["matchConditions"][0]["expression"]
    rules = " ".join(one["expression"] for one in policy["validations"])
    for word in ("soda-torch", "initializer", "podTemplateOverrides", "valueFrom", "volumes"):
        assert word in rules
    for expression in [one["expression"] for one in policy["validations"]]:
        assert expression.count("(") == expression.count(")")


ADDRESSES = {
    "teacher": "203.0.113.7/32",
    "store": "198.51.100.0/24",
    "kubernetes-api": "10.0.0.1/32",
}


def test_narrow_egress_asks_for_addresses_and_opens_no_others(tmp_path):
    composed = compose(tmp_path, "base", "components/narrow-egress")
    with pytest.raises(AssertionError, match="nothing selected by ConfigMap"):
        build(composed)
    file = composed / "kustomization.yaml"
    values = yaml.safe_load(file.read_text())
    literals = [f"{name}={address}" for name, address in ADDRESSES.items()]
    values["configMapGenerator"] = [{"name": "soda-egress", "literals": literals}]
    file.write_text(yaml.safe_dump(values))
    found = {
        to["ipBlock"]["cidr"]
        for one in build(composed)
        if one["kind"] == "NetworkPolicy"
        for rule in one["spec"].get("egress", ())
        for to in rule["to"]
        if "ipBlock" in to
    }
    assert found == {*ADDRESSES.values(), "169.254.20.10/32"}


def test_the_namespace_says_which_pods_it_lets_in(stack, made):
    for one in made:
        if one["kind"] == "Namespace":
            labels = one["metadata"]["labels"]
            older = stack == "older Kubeflow"
            word = "pod-security.kubernetes.io/"
            assert labels[f"{word}enforce"] == ("baseline" if older else "restricted")
            assert labels[f"{word}warn"] == labels[f"{word}audit"] == "restricted"
            assert labels[f"{word}enforce-version"] == f"v{KUBERNETES}"


def test_another_namespace_takes_everything_along(tmp_path):
    composed = compose(
        tmp_path, "overlays/trainer", "components/existing-namespace", namespace="team"
    )
    for one in build(composed):
        assert one["kind"] != "Namespace"
        if one["kind"] not in CLUSTER_WIDE:
            assert one["metadata"]["namespace"] == "team"
        for subject in one.get("subjects", ()):
            assert subject["namespace"] == "team"
