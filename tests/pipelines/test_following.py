"""A run is followed to its end: its steps, what pods wait for, why one failed, the exit code."""

from pathlib import Path

import pytest
import yaml

from soda.cli import main
from soda.errors import ClusterError
from soda_pipelines.following import follow
from soda_pipelines.kfp_api import connect
from tests.fakes.kfp_api import kfp_api
from tests.fakes.kubernetes import a_pod, fake_kubernetes, kubeconfig

RECIPES = Path(__file__).parents[2] / "pipelines" / "distill" / "recipes"
RUN = "run-7"
LABELS = {"pipeline/runid": RUN}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr("soda_pipelines.following.POLL_SECONDS", 0.01)


@pytest.fixture
def api(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    with kfp_api() as api:
        api.runs[RUN] = {"run_id": RUN, "display_name": "soda-distill", "state": "RUNNING"}
        yield api


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    with fake_kubernetes() as fake:
        kubeconfig(fake, tmp_path / "kubeconfig")
        # kubernetes keeps the place of the file from when it was imported
        place = str(tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", place)
        yield fake


def at(state, *tasks, **more):
    """Return what Kubeflow says of the run: its state, and its tasks as (id, name, state)."""
    details = [
        {"task_id": number, "display_name": name, "state": step} for number, name, step in tasks
    ]
    return {"state": state, "run_details": {"task_details": details}, **more}


def followed(api, capsys):
    code = follow(connect(api.url, None), RUN, "team")
    lines = capsys.readouterr().out.splitlines()
    return code, [line.partition("  ")[2] for line in lines]


def nodes(**found):
    """Return a Workflow of the run with pods by their steps: a phase and a message."""
    pods = {
        step: {
            "type": "Pod",
            "name": f"wf.root.{step}.executor",
            "phase": phase,
            "message": message,
        }
        for step, (phase, message) in found.items()
    }
    return {"metadata": {"labels": LABELS}, "spec": {}, "status": {"nodes": pods}}


def test_the_steps_of_a_run_that_succeeds_are_told_once_each(api, cluster, capsys):
    begun = [("1", "preflight", "SUCCEEDED"), ("2", "train", "RUNNING")]
    helpers = [("3", "train-driver", "RUNNING"), ("4", "executor", "RUNNING")]
    done = [("1", "preflight", "SUCCEEDED"), ("2", "train", "SUCCEEDED")]
    api.states = [at("RUNNING", *begun, *helpers), at("RUNNING", *begun), at("SUCCEEDED", *done)]
    code, lines = followed(api, capsys)
    assert code == 0
    assert lines == [
        "preflight: succeeded",
        "train: running",
        "train: succeeded",
        "the run succeeded",
    ]


def test_a_step_that_is_tried_again_under_the_same_name_is_told_of_again(api, cluster, capsys):
    api.states = [
        at("RUNNING", ("1", "train", "RUNNING")),
        at("RUNNING", ("1", "train", "FAILED"), ("2", "train", "RUNNING")),
        at("SUCCEEDED", ("1", "train", "FAILED"), ("2", "train", "SUCCEEDED")),
    ]
    _, lines = followed(api, capsys)
    assert lines[:-1] == ["train: running", "train: failed", "train: running", "train: succeeded"]


def test_what_pods_wait_for_is_said_once_with_the_step(api, cluster, capsys):
    why = "Unschedulable: 0/1 nodes: Insufficient nvidia.com/gpu"
    cluster.workflows["wf"] = nodes(
        snapshot=("Pending", why),
        train=("Pending", "exceeded quota: soda"),
        preflight=("Pending", "ContainerCreating"),
    )
    api.states = [at("RUNNING")] * 4 + [at("SUCCEEDED")]
    _, lines = followed(api, capsys)
    assert lines[:-1] == [f"snapshot: waits: {why}", "train: waits: exceeded quota: soda"]


def test_a_run_that_fails_is_told_with_the_failed_steps_own_words(api, cluster, capsys):
    cluster.workflows["wf"] = nodes(
        train=("Failed", "main: Error (exit code 1)"), snapshot=("Error", "pod deleted")
    )
    node = "wf.root.train.executor(0)"
    cluster.pods = [a_pod("p", LABELS, container="main", node=node, ended=("Error", 1))]
    said = "soda: train.seed: expected a number\nF1126 failed to execute component: exit status 2"
    cluster.logs["p", "main", False] = said
    api.states = [at("FAILED")]
    code, lines = followed(api, capsys)
    assert code == 1
    assert lines == [
        "train: failed: train.seed: expected a number",
        "snapshot: failed: pod deleted",
        "the run failed",
    ]


def test_a_cancelled_run_ends_with_code_1(api, cluster, capsys):
    api.states = [at("CANCELING"), at("CANCELED")]
    code, lines = followed(api, capsys)
    assert code == 1 and lines == ["the run was cancelled"]
    cluster.workflows["wf"] = {**nodes(train=("Failed", "stopped")), "spec": {"shutdown": "Stop"}}
    api.states = [at("FAILED")]  # as Kubeflow 2.17 has it at the end
    assert followed(api, capsys) == (1, ["the run was cancelled"])


def test_without_a_kubeconfig_kubeflows_words_are_all(api, capsys):
    api.states = [at("FAILED", error={"code": 2, "message": "a task failed"})]
    code, lines = followed(api, capsys)
    assert code == 1
    assert lines == [
        "no kubeconfig here: why pods wait will not be said",
        "the run failed: a task failed",
    ]


def test_a_kubeconfig_that_may_not_look_is_said_and_the_run_followed(api, cluster, capsys):
    cluster.fail("GET workflows", 403)
    api.states = [at("RUNNING"), at("SUCCEEDED")]
    code, lines = followed(api, capsys)
    assert code == 0 and lines[0].startswith("why pods wait will not be said: Kubernetes refused")


def test_a_server_that_is_away_for_a_while_is_waited_for(api, cluster, capsys, monkeypatch):
    api.fail("GET /runs", 500)
    api.states = [at("SUCCEEDED")]
    assert followed(api, capsys)[0] == 0
    monkeypatch.setattr("soda_pipelines.following._MISSES", 0)
    api.fail("GET /runs", 500)
    with pytest.raises(ClusterError, match="look at run run-7"):
        followed(api, capsys)


def test_submit_with_watch_ends_with_the_runs_own_exit_code(api, cluster, capsys, tmp_path):
    recipe = RECIPES / "cluster.yaml"
    declared = {"pipeline": "distill", "experiment": "soda", "recipe": str(recipe)}
    declared |= {"store": "gs://bucket/soda", "parameters": {"images": []}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(declared))
    command = ["submit", "-f", str(tmp_path / "run.yaml"), "--host", api.url, "--watch"]
    for state, code in (("SUCCEEDED", 0), ("FAILED", 1)):
        api.states = [at(state)]
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == code
        assert "link: " in capsys.readouterr().out
