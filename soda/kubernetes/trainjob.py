"""Training on several nodes: the stage as a TrainJob of the Kubeflow Trainer, watched to its end.

The job's name is made of what decides the result. So a step that is tried again finds the job it
began, and two runs of one training share one.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soda.artifacts.artifact import name_in_store
from soda.artifacts.keys import run_key
from soda.errors import ClusterError
from soda.kubernetes.api import OutOfReach, ask, connect
from soda.kubernetes.pods import ended, last_lines, list_pods, waiting
from soda.progress import say
from soda.stage import Call, one_by_one
from soda.storage import Place
from soda.training.run.interrupt import listen

__all__ = ["Nodes", "delete_job", "job_of", "run_job"]

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
POLL_SECONDS = 10.0
PATIENCE_SECONDS = 3600.0  # for pods that wait for an image, a node, a claim, a quota
_MISSES = 30  # looks in a row that fail before a training of days is given up by its watcher
_PODS = "jobset.sigs.k8s.io/jobset-name={}"
_REFUSED = "soda: "  # how a refusal begins in a log
_CONTAINER = "node"  # the runtime's, in which training runs


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
    claim: str = ""  # the volume of the store; "": the runtime's
    pull_secret: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: list[Mapping[str, Any]] = field(default_factory=list)
    affinity: Mapping[str, Any] = field(default_factory=dict)  # to nodes


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
    # its exit code is the stage's, so that the runtime can tell a refusal (2) from a lost process
    command = ["python", "-m", "soda.training.run.workers", "torchrun", "-m", "soda"]
    command += [call.stage.name]
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
    if pod := _placement(where):
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


def _placement(where: Nodes) -> dict[str, Any]:
    """Return what the pods have over the runtime's: only what is said."""
    claim = {"name": "store", "persistentVolumeClaim": {"claimName": where.claim}}
    said = {
        "nodeSelector": dict(where.node_selector),
        "tolerations": [dict(each) for each in where.tolerations],
        "affinity": {"nodeAffinity": dict(where.affinity)} if where.affinity else {},
        "imagePullSecrets": [{"name": where.pull_secret}] if where.pull_secret else [],
        "volumes": [claim] if where.claim else [],
    }
    return {key: value for key, value in said.items() if value}


def delete_job(name: str) -> None:
    """Delete a TrainJob and its pods; one that is not there is fine.

    In the foreground: it is there until its pods have saved their state and are gone.

    Raises:
        ClusterError: Kubernetes refused, or cannot be reached.
    """
    from kubernetes import client

    connected = connect()
    if connected is None:
        return
    api, namespace = connected
    call = client.CustomObjectsApi(api).delete_namespaced_custom_object
    place = (GROUP, VERSION, namespace, PLURAL)
    ask(call, *place, name, none_for=404, propagation_policy="Foreground")


def run_job(job: dict[str, Any], is_made: Callable[[], bool] = lambda: False) -> None:
    """Create a TrainJob, or find the one that runs, wait for its end, and delete it.

    SIGTERM deletes it: its nodes save their state, and a later try goes on from there. One that
    failed stays, with its pods, until the run's last step.

    Args:
        job: the TrainJob.
        is_made: whether its result is there, where the job has gone: another run that waited for
            it deleted it.

    Raises:
        ClusterError: it failed, or its pods waited too long, or the cluster refuses it.
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
    state, misses, pods = "", 0, _Pods(api, namespace, name)

    with listen() as interrupt:
        while True:
            if interrupt.came:
                delete_job(name)  # first: a second later this process is gone
                say(f"train: {name}: asked to stop; its state is kept")
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
            if found is None and state and is_made():
                return
            if found is None:
                ask(jobs.create_namespaced_custom_object, *place, job, none_for=409)
                state = "Created"  # by another run, if there is one by now
                continue
            earlier, (state, reason) = state, _state(found)
            seen = earlier not in ("", "Ending")  # going on, in this try
            pods.look(is_waiting=state == "Running")
            if state != earlier:
                say(f"train: {name}: {state} {reason}".rstrip())
            if state == "Complete" and seen:
                try:
                    delete_job(name)
                except ClusterError as error:  # its result is there all the same
                    say(f"train: {name} stays: {error}")
                return
            if state == "Failed" and seen:
                why = "; ".join(filter(None, [reason or "no reason given", pods.last_words]))
                raise ClusterError(f"train: {name} failed: {why}")
            if state in ("Complete", "Failed"):  # an earlier try's, whose result is not there
                delete_job(name)
                state = ""
            _wait(interrupt, POLL_SECONDS)


class _Pods:
    """What the pods of a TrainJob wait for, and the last lines of each that failed."""

    def __init__(self, api: Any, namespace: str, name: str):
        self.last_words = ""  # of the first that said why it refused, or else of the last one
        self._api, self._namespace, self._name = api, namespace, name
        self._told: set[tuple[str, int]] = set()
        self._reason, self._since = "", time.monotonic()
        self._is_blind = False

    def look(self, *, is_waiting: bool) -> None:
        """Say what is new.

        Args:
            is_waiting: the job could run; else it waits in a queue, for as long as that takes.

        Raises:
            ClusterError: the pods have waited too long for the same thing.
        """
        if self._is_blind:
            return
        try:
            pods = list_pods(self._api, self._namespace, _PODS.format(self._name))
            for end in ended(pods):
                if end.container == _CONTAINER and (end.pod, end.tries) not in self._told:
                    self._told.add((end.pod, end.tries))
                    self._tell(end)
            reason = next((f"{pod.metadata.name}: {why}" for pod, why in waiting(pods)), "")
            if is_waiting and not pods:
                reason = self._refusal()
        except OutOfReach:
            return
        except ClusterError as error:  # training needs no such permission; watching it does
            self._is_blind = True
            say(f"train: {self._name}: its pods cannot be looked at: {error}")
            return
        if not reason or not is_waiting:
            self._reason, self._since = "", time.monotonic()
            return
        if not self._reason:
            say(f"train: {self._name}: waits: {reason}")
        self._reason = reason
        if time.monotonic() - self._since > PATIENCE_SECONDS:
            delete_job(self._name)
            raise ClusterError(
                f"train: {self._name}: expected its pods to start within "
                f"{PATIENCE_SECONDS / 60:.0f} minutes, found {reason}"
            )

    def _tell(self, end: Any) -> None:
        lines = last_lines(self._api, self._namespace, end)
        for line in lines:
            say(f"train: {end.pod}: {line}")
        say(f"train: {end.pod}: {end.why}")
        refusals = [line for line in lines if line.startswith(_REFUSED)]
        if refusals and _REFUSED not in self.last_words:
            self.last_words = f"{end.pod}: {refusals[-1]}"
        elif not self.last_words or _REFUSED not in self.last_words:
            self.last_words = f"{end.pod}: {end.why}" + (f": {lines[-1]}" if lines else "")

    def _refusal(self) -> str:
        """Return why Kubernetes makes no pods for the job, which its events say; '' if it does."""
        from kubernetes import client

        call = client.CoreV1Api(self._api).list_namespaced_event
        events = ask(call, self._namespace, field_selector="reason=FailedCreate").items
        ours = [one for one in events if one.involved_object.name.startswith(self._name)]
        return " ".join((ours[-1].message or "").split()) if ours else ""


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
        time.sleep(min(0.05, seconds))
