"""Training on several nodes: the stage as a TrainJob of the Kubeflow Trainer, watched to its end.

The job's name is made of what decides the result. So a step that is tried again finds the job it
began, and two runs of one training share one.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soda.artifacts.artifact import name_in_store
from soda.artifacts.keys import run_key
from soda.errors import ClusterError
from soda.kubernetes.api import OutOfReach, ask, connect
from soda.progress import say
from soda.stage import Call, one_by_one
from soda.storage import Place
from soda.training.run.interrupt import listen

__all__ = ["Nodes", "job_of", "run_job"]

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
POLL_SECONDS = 10.0
_MISSES = 30  # looks in a row that fail before a training of days is given up by its watcher


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where training runs: how many nodes, and what each has."""

    image: str
    nodes: int = 2
    runtime: str = "soda-torch"
    gpu_type: str = "nvidia.com/gpu"
    gpu_count: int = 8
    cpu: str = "16"
    memory: str = "64Gi"
    queue: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: list[Mapping[str, Any]] = field(default_factory=list)


def job_of(call: Call, store: str, where: Nodes) -> dict[str, Any]:
    """Return the TrainJob for one call of the stage.

    The nodes read the inputs from the store, where the steps before have put them, and put the
    result there.

    Raises:
        ClusterError: the store is no volume, which the nodes have to share for checkpoints.
    """
    if Place.of(store).remote:
        raise ClusterError(
            f"store: expected a folder on a volume that all nodes share, found {store}"
        )
    name = f"soda-{call.stage.name}-{run_key(call.config, call.inputs)[:16]}"
    command = ["torchrun", "-m", "soda", call.stage.name]
    for key, artifact in one_by_one(call.inputs):
        made = artifact.manifest
        command += [f"--{key}", f"{store}/{name_in_store(made.stage, made.key)}"]
    for key, value in call.config.model_dump(mode="json", exclude_none=True).items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    command += ["--out", f"{store}/trainjobs/{name}"]
    each = {"cpu": where.cpu, "memory": where.memory, where.gpu_type: str(where.gpu_count)}
    labels = {"app.kubernetes.io/part-of": "soda"}
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": where.runtime},
        "trainer": {
            "image": where.image,
            "command": command,
            "numNodes": where.nodes,
            "numProcPerNode": where.gpu_count,
            "resourcesPerNode": {"requests": each, "limits": each},
            "env": [{"name": "SODA_STORE", "value": store}],
        },
    }
    if where.queue:
        labels["kueue.x-k8s.io/queue-name"] = where.queue
        spec["suspend"] = True  # Kueue starts it when there is room
    placement = {
        "nodeSelector": dict(where.node_selector),
        "tolerations": [dict(each) for each in where.tolerations],
    }
    if pod := {key: value for key, value in placement.items() if value}:
        template = {"spec": {"template": {"spec": pod}}}
        jobs = [{"name": "node", "template": template}]
        spec["runtimePatches"] = [
            {
                "manager": "soda.dev/kubeflow",
                "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}},
            }
        ]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def run_job(job: dict[str, Any]) -> None:
    """Create a TrainJob, or find the one that runs, and wait for its end.

    SIGTERM deletes it: its nodes save their state, and a later try goes on from there.

    Raises:
        ClusterError: it failed, or the cluster refuses it.
        SystemExit: SIGTERM came (code 143).
    """
    from kubernetes import client

    connected = connect()
    if connected is None:
        raise ClusterError(
            "train: expected to be in a cluster with the Kubeflow Trainer, found none"
        )
    api, namespace = connected
    jobs, name = client.CustomObjectsApi(api), job["metadata"]["name"]
    place = (GROUP, VERSION, namespace, PLURAL)
    state, misses = "", 0

    def delete() -> None:
        # In the foreground: it is there until its pods have saved their state and are gone.
        call = jobs.delete_namespaced_custom_object
        ask(call, *place, name, none_for=404, propagation_policy="Foreground")

    with listen() as interrupt:
        while True:
            if interrupt.came:
                say(f"train: {name}: asked to stop; its state is kept")
                delete()
                raise SystemExit(143)
            try:
                found = ask(jobs.get_namespaced_custom_object, *place, name, none_for=404)
            except OutOfReach:
                misses += 1
                if misses > _MISSES:
                    raise
                _wait(interrupt, POLL_SECONDS)
                continue
            misses = 0
            if found is None:
                ask(jobs.create_namespaced_custom_object, *place, job, none_for=409)
                state = "Created"  # by another run, if there is one by now
                continue
            earlier, (state, reason) = state, _state(found)
            if state != earlier:
                say(f"train: {name}: {state} {reason}".rstrip())
            seen = earlier not in ("", "Ending")  # going on, in this try
            if state == "Complete" and seen:
                return
            if state == "Failed" and seen:
                raise ClusterError(
                    f"train: {name} failed: {reason or 'no reason given'}; its lines: kubectl logs "
                    f"-n {namespace} -l jobset.sigs.k8s.io/jobset-name={name} --prefix"
                )
            if state in ("Complete", "Failed"):  # an earlier try's, whose result is not there
                delete()
                state = ""
            _wait(interrupt, POLL_SECONDS)


def _state(job: Mapping[str, Any]) -> tuple[str, str]:
    if "deletionTimestamp" in job["metadata"]:
        return "Ending", ""
    conditions = {
        each["type"]: each.get("message", "")
        for each in job.get("status", {}).get("conditions", [])
        if each.get("status") == "True"
    }
    for state in ("Complete", "Failed", "Suspended"):
        if state in conditions:
            return state, conditions[state]
    return "Running", ""


def _wait(interrupt: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not interrupt.came:
        time.sleep(min(0.2, seconds))
