"""A TrainJob is made once, watched to its end, and goes when this step is asked to."""

import json
import os
import signal
import threading
import time

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from soda.errors import ClusterError
from soda.kubernetes.trainjob import Nodes, job_of, run_job
from soda.stage import prepare
from tests.fakes.kubernetes import TOKEN


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
    )
    job = job_of(call, "/store", where)
    assert json.loads(TrainerV1alpha1TrainJob.from_dict(job).to_json()) == job
    [patch] = job["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["spec"]["template"]["spec"] == {
        "nodeSelector": where.node_selector,
        "tolerations": where.tolerations,
    }


def test_a_job_says_what_to_run_and_on_what(call, made):
    job = job_of(call, "/store", Nodes("registry/soda-gpu:1", nodes=4, gpu_count=2))
    trainer = job["spec"]["trainer"]
    command = trainer["command"]
    assert command[:4] == ["torchrun", "-m", "soda", "train"]
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
    run_job(job)
    assert cluster.changes() == ["POST trainjobs"]
    assert cluster.jobs[name_of(job)]["spec"] == job["spec"]
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
    assert cluster.changes() == []


@pytest.mark.parametrize("state", ["Failed", "Complete"])
def test_a_job_that_ended_before_this_try_is_made_anew(cluster, job, state):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.states = [(state, "long ago"), ("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["DELETE trainjobs", "POST trainjobs"]


def test_a_job_that_is_on_its_way_out_is_waited_for_and_made_anew(cluster, job, capfd):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.leaving = 3
    cluster.delete_job({"propagationPolicy": "Foreground"}, b"", name_of(job))
    cluster.set_state(name_of(job), "Failed", "its pods were stopped")
    cluster.states = [("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["POST trainjobs"]
    lines = [line.rpartition(": ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == ["Ending", "Running", "Complete done"]


def test_a_failed_job_is_gone_with_its_pods_before_the_next_is_made(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.leaving = 3
    cluster.states = [("Failed", "long ago"), ("", ""), ("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["DELETE trainjobs", "POST trainjobs"]


def test_a_job_that_fails_now_is_refused_with_its_reason(cluster, job):
    cluster.states = [("", ""), ("Failed", "jobset failed due to one or more job failures")]
    text = refusal(job)
    assert text.startswith(
        f"train: {name_of(job)} failed: jobset failed due to one or more job failures; its lines: "
        "kubectl logs -n team -l jobset.sigs.k8s.io/jobset-name="
    )
    assert cluster.changes() == ["POST trainjobs"]


def test_a_job_without_a_reason_says_so(cluster, job):
    cluster.states = [("Failed", "")]
    assert "failed: no reason given" in refusal(job)


def test_another_run_that_made_it_in_between_is_no_fault(cluster, job):
    cluster.create_job({}, json.dumps(job).encode())
    cluster.fail("GET trainjobs", 404)
    cluster.states = [("Complete", "done")]
    run_job(job)
    assert cluster.changes() == ["POST trainjobs"]


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
    def play(made):
        eventually(lambda: cluster.calls.count("GET trainjobs") > 3)
        cluster.set_state(name_of(job), "Complete", "done")

    cluster.began = play
    other = threading.Thread(target=run_job, args=(job,))
    other.start()
    run_job(job)
    other.join(10)
    assert not other.is_alive() and list(cluster.jobs) == [name_of(job)]
    assert "DELETE trainjobs" not in cluster.changes()


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
