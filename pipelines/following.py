"""Follow a run on a cluster to its end: what begins, what waits and why, what failed and why."""

import time
from typing import Any

from soda.errors import ClusterError
from soda.kubernetes.api import connect_from_here
from soda.kubernetes.pods import ended, last_lines, list_pods
from soda.kubernetes.workflow import find_workflow, step_of

from .kfp_api import KfpServer

__all__ = ["follow"]

POLL_SECONDS = 10.0
_MISSES = 30  # looks in a row without an answer
_OVER = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}
_NODE = "workflows.argoproj.io/node-name"  # Argo's annotation of a pod


def follow(server: KfpServer, run: str, namespace: str) -> int:
    """Print what becomes of a run until it has ended; return 0 if it succeeded, else 1.

    Why a pod waits, and what a failed one said last, is read from Kubernetes, where a kubeconfig or
    a pod's account gives access to it; else Kubeflow's own words are all there is.

    Args:
        server: Kubeflow Pipelines.
        run: the run's id.
        namespace: where its pods are.

    Raises:
        ClusterError: Kubeflow does not answer any more.
    """
    steps, cluster = _Steps(), _Cluster(namespace, run)
    misses = 0
    while True:
        try:
            found = server.run(run)
            misses = 0
        except ClusterError:
            misses += 1
            if misses > _MISSES:
                raise
            time.sleep(POLL_SECONDS)
            continue
        details = found.run_details.task_details if found.run_details else None
        steps.show(details or [])
        if found.state in _OVER:
            break
        cluster.show_waiting()
        time.sleep(POLL_SECONDS)
    if found.state == "SUCCEEDED":
        _print("the run succeeded")
        return 0
    if found.state == "CANCELED" or cluster.is_cancelled():  # Kubeflow calls it failed at the end
        _print("the run was cancelled")
        return 1
    reasons = cluster.failures()
    words = found.error.message if found.error and found.error.message else "no reason given"
    for line in reasons:
        _print(line)
    _print("the run failed" + ("" if reasons else f": {words}"))
    return 1


class _Steps:
    """The steps of a run by Kubeflow's ids: one that is tried again has several of one name."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def show(self, tasks: list[Any]) -> None:
        """Print each that has another state than before."""
        for task in tasks:
            name, state = task.display_name or "", task.state or ""
            inner = name.startswith("executor") or name.endswith("-driver") or name == "root"
            if inner or not state or self._states.get(task.task_id) == state:
                continue
            self._states[task.task_id] = state
            _print(f"{name}: {state.lower()}")


class _Cluster:
    """What Kubernetes says of a run's pods."""

    def __init__(self, namespace: str, run: str):
        self._api, self._namespace, self._run = connect_from_here(), namespace, run
        self._told: set[tuple[str, str]] = set()
        if self._api is None:
            _print("no kubeconfig here: why pods wait will not be said")

    def show_waiting(self) -> None:
        """Print what each pod waits for, once."""
        if self._api is None:
            return
        try:
            found = find_workflow(self._api, self._namespace, self._run)
        except ClusterError as error:
            self._give_up(error)
            return
        for step, reason in found.waiting if found is not None else []:
            kind = reason.partition(":")[0]
            if (
                kind not in ("ContainerCreating", "PodInitializing")
                and (step, kind) not in self._told
            ):
                self._told.add((step, kind))
                _print(f"{step}: waits: {reason}")

    def is_cancelled(self) -> bool:
        """Return whether somebody ended the run, as far as Kubernetes tells."""
        try:
            api, namespace = self._api, self._namespace
            found = find_workflow(api, namespace, self._run) if api is not None else None
        except ClusterError:
            return False
        return found is not None and found.cancelled

    def failures(self) -> list[str]:
        """Return a line for each step that failed: its own last words, or else Argo's."""
        if self._api is None:
            return []
        try:
            workflow = find_workflow(self._api, self._namespace, self._run)
            pods = list_pods(self._api, self._namespace, f"pipeline/runid={self._run}")
            steps = {
                pod.metadata.name: step_of((pod.metadata.annotations or {}).get(_NODE, ""))
                for pod in pods
            }
            said: dict[str, str] = {}
            for end in ended(pods):
                if end.container == "main":
                    said[steps[end.pod]] = _why(
                        last_lines(self._api, self._namespace, end), end.why
                    )
        except ClusterError as error:
            self._give_up(error)
            return []
        argo = dict(workflow.failures) if workflow is not None else {}
        return [f"{step}: failed: {why}" for step, why in {**argo, **said}.items()]

    def _give_up(self, error: ClusterError) -> None:
        self._api = None
        _print(f"why pods wait will not be said: {error}")


def _why(lines: list[str], otherwise: str) -> str:
    refusals = [line for line in lines if line.startswith("soda: ")]
    return (refusals or [otherwise])[-1].removeprefix("soda: ")


def _print(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
