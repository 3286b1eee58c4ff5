"""Which TrainJobs the steps' account gets, by CEL itself: pip install cel-expr-python."""

import pytest

from tests.manifests.rendered import objects

cel = pytest.importorskip("cel_expr_python.cel")


def job(pod=None, **more):
    spec = {"runtimeRef": {"kind": "TrainingRuntime", "name": "soda-torch"}}
    spec["trainer"] = {"image": "x", "env": [{"name": "SODA_STORE", "value": "s"}]}
    if pod is not None:
        node = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
        patch = {"template": {"spec": {"replicatedJobs": [node]}}}
        spec["runtimePatches"] = [{"manager": "soda.dev/kubeflow", "trainingRuntimeSpec": patch}]
    return {"spec": spec | more}


def refusals(job):
    from cel_expr_python.ext import ext_optional

    [policy] = [
        one for one in objects("overlays/trainer") if one["kind"] == "ValidatingAdmissionPolicy"
    ]
    environment = cel.NewEnv(
        variables={"object": cel.Type.DYN}, extensions=[ext_optional.ExtOptional()]
    )
    return [
        rule["message"]
        for rule in policy["spec"]["validations"]
        if environment.compile(rule["expression"]).eval(data={"object": job}).value() is not True
    ]


CLAIM = {"name": "store", "persistentVolumeClaim": {"claimName": "c"}}


@pytest.mark.parametrize("pod", [None, {}, {"nodeSelector": {"a": "b"}, "volumes": [CLAIM]}])
def test_ours_pass(pod):
    assert refusals(job(pod)) == []


@pytest.mark.parametrize(
    "other",
    [
        job({"volumes": [{"name": "x", "secret": {"secretName": "y"}}]}),
        job({"serviceAccountName": "admin"}),
        job({"containers": [{}]}),
        job(trainer={"env": [{"name": "A", "valueFrom": {"secretKeyRef": {}}}]}),
        job(initializer={"dataset": {"secretRef": {}}}),
        job(podTemplateOverrides=[]),
        job(runtimeRef={"kind": "ClusterTrainingRuntime", "name": "soda-torch"}),
        job(runtimeRef={"kind": "TrainingRuntime", "name": "another"}),
        job(runtimePatches=[{"manager": "m", "trainingRuntimeSpec": {"mlPolicy": {}}}]),
    ],
)
def test_others_do_not(other):
    assert len(refusals(other)) == 1
