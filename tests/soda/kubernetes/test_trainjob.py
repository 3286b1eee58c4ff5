"""A TrainJob is made once, watched to its end, and goes when this step is asked to."""

import json
import os
import signal
import threading
import time

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from soda.errors import ClusterError
from soda.kubernetes.trainjob import Nodes, delete_job, job_of, run_job
from soda.stage import prepare
from tests.fakes.kubernetes import TOKEN, a_pod

_TERM = {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100"]}]}
AFFINITY = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_TERM]}}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr("soda.kubernetes.trainjob.POLL_SECONDS", 0.01)


@pytest.fixture
def call(made, tmp_path):
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    config = {"batch_size": 8, "learning_rate": 1e-6, "health": {"answers": 2}}
    return prepare("train", inputs=inputs, config=config, out=tmp_path / "out")


@pytest.fixture
def job(call):
    return job_of(call, "/store", Nodes("registry/soda-gpu:1"))


def name_of(job):
    return job["metadata"]["name"]


def refusal(job):
    with pytest.raises(ClusterError) as refused:
        run_job(job)
    text = str(refused.value)
    assert "\n" not in text and TOKEN not in text
    return text


def eventually(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_field_of_a_job_is_one_that_the_trainer_knows(call):
    where = Nodes(
        "registry/soda-gpu:1",
        nodes=4,
        queue="team-queue",
        node_selector={"pool": "h100"},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        claim="team-store",
        pull_secret="team-registry",
        affinity=AFFINITY,
    )
    job = job_of(call, "/store", where)
    assert json.loads(TrainerV1alpha1TrainJob.from_dict(job).to_json()) == job
    [patch] = job["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["spec"]["template"]["spec"] == {
        "nodeSelector": where.node_selector,
        "tolerations": where.tolerations,
        "affinity": {"nodeAffinity": AFFINITY},
        "imagePullSecrets": [{"name": "team-registry"}],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "team-store"}}],
    }


def test_a_job_says_what_to_run_and_on_what(call, made):
    job = job_of(call, "/store", Nodes("registry/soda-gpu:1", nodes=4, gpu_count=2))
    trainer = job["spec"]["trainer"]
    command = trainer["command"]
    workers = ["python", "-m", "soda.training.run.workers", "torchrun"]
    assert command[:7] == [*workers, "-m", "soda", "train"]
    key = made["pairs"].manifest.key[:16]
    assert command[command.index("--data") + 1] == f"/store/artifacts/pair-build-{key}"
    assert "batch_size=8" in command and "runtimePatches" not in job["spec"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (4, 2)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "2"
    assert trainer["env"] == [{"name": "SODA_STORE", "value": "/store"}]


def test_the_values_on_the_command_line_are_the_configs_own(call):
    command = job_of(call, "/store", Nodes("image"))["spec"]["trainer"]["command"]
    words = [command[at + 1] for at, word in enumerate(command) if word == "--set"]
    from soda.config import assign, parse_assignment

    values = {}
    for word in words:
        assign(values, *parse_assignment(word))
    assert type(call.config).parse(values) == call.config


def test_one_training_has_one_name_wherever_it_runs(call, made, tmp_path):
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    other = prepare("train", inputs=inputs, config={"batch_size": 4}, out=tmp_path / "out")
    names = {
        name_of(job_of(one, "/store", where))
        for one, where in [
            (call, Nodes("a")),
            (call, Nodes("b", nodes=8, queue="q")),
            (other, Nodes("a")),
        ]
    }
    assert len(names) == 2 and all(len(name) <= 63 for name in names)


def test_a_queue_labels_the_job_and_lets_kueue_start_it(call):
    job = job_of(call, "/store", Nodes("image", queue="team-queue"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-queue"
    assert job["spec"]["suspend"] is True
    assert "suspend" not in job_of(call, "/store", Nodes("image"))["spec"]


@pytest.mark.parametrize("store", ["gs://bucket/soda", "s3://bucket/soda"])
def test_a_store_in_a_bucket_is_refused(call, store):
    with pytest.raises(ClusterError, match=f"a volume that all nodes share, found {store}$"):
        job_of(call, store, Nodes("image"))


def test_a_job_is_created_and_watched_to_its_end(cluster, call, capfd):
    job = job_of(call, "/store", Nodes("image", queue="team-queue"))
    cluster.states = [("Suspended", "waits for quota"), ("", ""), ("", ""), ("Complete", "done")]
    sent = []
    cluster.began = sent.append
    run_job(job)
    assert cluster.changes() == ["POST trainjobs", "DELETE trainjobs"] and not cluster.jobs
    assert sent[0]["spec"] == job["spec"]
    name = name_of(job)
    assert capfd.readouterr().err.splitlines() == [
        f"train: {name}: Suspended waits for quota",
        f"train: {name}: Running",
        f"train: {name}: Complete done",
    ]


def test_a_step_that_is_tried_again_finds_the_job_it_began(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.states = [("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["DELETE trainjobs"]


@pytest.mark.parametrize("state", ["Failed", "Complete"])
def test_a_job_that_ended_before_this_try_is_made_anew(cluster, job, state):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.states = [(state, "long ago"), ("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes()[:2] == ["DELETE trainjobs", "POST trainjobs"]


def test_a_job_that_is_on_its_way_out_is_waited_for_and_made_anew(cluster, job, capfd):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.leaving = 3
    cluster.delete_job({"propagationPolicy": "Foreground"}, b"", name_of(job))
    cluster.set_state(name_of(job), "Failed", "its pods were stopped")
    cluster.states = [("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["POST trainjobs", "DELETE trainjobs"]
    lines = [line.rpartition(": ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == ["Ending", "Running", "Complete done"]


def test_a_failed_job_is_gone_with_its_pods_before_the_next_is_made(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.leaving = 3
    cluster.states = [("Failed", "long ago"), ("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes()[:2] == ["DELETE trainjobs", "POST trainjobs"]


def a_node_of(job, number, **how):
    label = {"jobset.sigs.k8s.io/jobset-name": name_of(job)}
    return a_pod(f"{name_of(job)}-node-0-{number}", label, **how)


def test_a_job_that_fails_stays_for_a_look_and_its_pods_last_lines_are_said(cluster, job, capfd):
    cluster.pods = [
        a_node_of(job, 0, ended=("Error", 1), tries=1),
        a_node_of(job, 1, ended=("Error", 2)),
        a_node_of(job, 2, ended=("OOMKilled", 137)),
    ]
    first, second, _ = [pod.metadata.name for pod in cluster.pods]
    cluster.logs = {
        (first, "node", True): "old\n" * 30 + "NCCL error: a peer is gone\n",
        (second, "node", False): "soda: /store/pairs: expected a folder with pairs\nChildFailed",
    }
    cluster.states = [("", ""), ("", ""), ("Failed", "jobset failed due to one or more failures")]
    text = refusal(job)
    assert text == (
        f"train: {name_of(job)} failed: jobset failed due to one or more failures; {second}: "
        "soda: /store/pairs: expected a folder with pairs"
    )
    assert cluster.changes() == ["POST trainjobs"] and name_of(job) in cluster.jobs
    said = capfd.readouterr().err
    assert said.count(f"train: {first}: NCCL error: a peer is gone\n") == 1
    assert said.count(": old\n") == 19 and f"train: {second}: Error, exit code 2" in said
    assert "OOMKilled, exit code 137" in said


def test_without_a_refusal_the_last_end_is_the_reason(cluster, job):
    cluster.pods = [a_node_of(job, 0, ended=("OOMKilled", 137))]
    cluster.states = [("", ""), ("Failed", "")]
    text = refusal(job)
    assert text.endswith(
        f"failed: no reason given; {name_of(job)}-node-0-0: OOMKilled, exit code 137"
    )


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"unschedulable": "0/3 nodes: insufficient gpu"}, "Unschedulable: 0/3 nodes: insuff"),
        ({"waits": ("ImagePullBackOff", "no such image")}, "ImagePullBackOff: no such image"),
    ],
)
def test_pods_that_wait_are_said_and_given_up_after_a_limit(
    cluster, job, capfd, monkeypatch, how, reason
):
    monkeypatch.setattr("soda.kubernetes.trainjob.PATIENCE_SECONDS", 0.05)
    cluster.pods = [a_node_of(job, 0, **how)]
    text = refusal(job)
    assert "expected its pods to start within" in text and reason in text
    assert not cluster.jobs
    assert capfd.readouterr().err.count(f"waits: {name_of(job)}-node-0-0: {reason}") == 1


def test_a_quota_that_lets_no_pod_be_made_is_the_reason(cluster, job, monkeypatch):
    monkeypatch.setattr("soda.kubernetes.trainjob.PATIENCE_SECONDS", 0.05)
    cluster.events = [
        ("FailedCreate", "another", "not ours"),
        ("FailedCreate", f"{name_of(job)}-node-0", "exceeded quota: soda"),
    ]
    assert refusal(job).endswith("found exceeded quota: soda")


def test_a_job_in_a_queue_may_wait_as_long_as_it_takes(cluster, job, capfd, monkeypatch):
    monkeypatch.setattr("soda.kubernetes.trainjob.PATIENCE_SECONDS", 0)
    cluster.pods = [a_node_of(job, 0, unschedulable="no node")]
    cluster.states = [("Suspended", "waits for quota")] * 5 + [("Complete", "done")]
    run_job(job)
    assert "waits:" not in capfd.readouterr().err


def test_pods_that_start_in_the_end_are_waited_for(cluster, job, monkeypatch):
    cluster.pods = [a_node_of(job, 0, waits=("ContainerCreating", ""))]
    monkeypatch.setattr("soda.kubernetes.trainjob.PATIENCE_SECONDS", 0)
    cluster.states = [("", "")] * 5 + [("Complete", "done")]
    run_job(job)


def test_where_pods_may_not_be_looked_at_the_job_is_watched_all_the_same(cluster, job, capfd):
    cluster.fail("GET pods", 403)
    cluster.states = [("", ""), ("", ""), ("Complete", "done")]
    run_job(job)
    assert capfd.readouterr().err.count("its pods cannot be looked at") == 1


def test_a_job_that_another_run_saw_complete_and_deleted_is_done(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())

    def gone():
        return not cluster.jobs

    threading.Timer(0.05, cluster.jobs.clear).start()
    run_job(job, gone)
    assert cluster.changes() == []


def test_a_job_that_cannot_be_deleted_has_made_its_result_all_the_same(cluster, job, capfd):
    cluster.states = [("", ""), ("Complete", "done")]
    cluster.fail("DELETE trainjobs", 403)
    run_job(job)
    assert "stays: Kubernetes refused" in capfd.readouterr().err


def test_a_job_is_deleted_by_its_name_and_one_that_is_gone_is_no_fault(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    delete_job(name_of(job))
    delete_job(name_of(job))
    assert not cluster.jobs


def test_another_run_that_made_it_in_between_is_no_fault(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.fail("GET trainjobs", 404)
    cluster.states = [("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["POST trainjobs", "DELETE trainjobs"]


def test_sigterm_deletes_the_job_at_once(cluster, job, capfd, monkeypatch):
    monkeypatch.setattr("soda.kubernetes.trainjob.POLL_SECONDS", 60)

    def stop(made):
        eventually(lambda: cluster.calls.count("GET trainjobs") > 1)
        os.kill(os.getpid(), signal.SIGTERM)

    cluster.began = stop
    with pytest.raises(SystemExit) as stopped:
        run_job(job)
    assert stopped.value.code == 143 and not cluster.jobs
    assert cluster.changes() == ["POST trainjobs", "DELETE trainjobs"]
    assert "asked to stop; its state is kept" in capfd.readouterr().err


def test_sigterm_after_somebody_deleted_the_job_is_no_fault(cluster, job):
    def stop(made):
        eventually(lambda: cluster.calls.count("GET trainjobs") > 1)
        cluster.jobs.clear()
        os.kill(os.getpid(), signal.SIGTERM)

    cluster.began = stop
    with pytest.raises(SystemExit) as stopped:
        run_job(job)
    assert stopped.value.code == 143


def test_two_runs_of_one_training_share_a_job(cluster, job):
    made_it = threading.Event()

    def play(made):
        eventually(lambda: cluster.calls.count("GET trainjobs") > 3)
        made_it.set()
        cluster.set_state(name_of(job), "Complete", "done")

    cluster.began = play
    other = threading.Thread(target=run_job, args=(job, made_it.is_set))
    other.start()
    run_job(job, made_it.is_set)
    other.join(10)
    assert not other.is_alive() and not cluster.jobs


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("GET trainjobs", "get_namespaced_custom_object"),
        ("POST trainjobs", "create_namespaced_custom_object"),
    ],
)
def test_what_the_cluster_refuses_is_one_line(cluster, job, asked, named):
    cluster.fail(asked, 403)
    text = refusal(job)
    assert text == f"Kubernetes refused {named}: told to fail"


def test_a_job_that_cannot_be_deleted_is_one_line(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.states = [("Failed", "long ago")]
    cluster.fail("DELETE trainjobs", 403)
    text = refusal(job)
    assert text == "Kubernetes refused delete_namespaced_custom_object: told to fail"


def test_outside_of_a_cluster_it_is_refused(job, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "to be in a cluster with the Kubeflow Trainer, found none" in refusal(job)


def test_a_cluster_without_the_trainer_is_refused(cluster, job):
    cluster.fail("GET trainjobs", 404)
    cluster.fail("POST trainjobs", 404)
    assert "refused create_namespaced_custom_object" in refusal(job)
