"""Pods of one piece of work: why they wait, and what they said last."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from soda.kubernetes.api import ask

__all__ = ["Ended", "ended", "last_lines", "list_pods", "waiting"]

_STARTING = {"", "ContainerCreating", "PodInitializing"}  # nothing to put right
_TAIL = 20  # lines


@dataclass(frozen=True, slots=True)
class Ended:
    """One container that ended badly."""

    pod: str
    container: str
    tries: int  # how often it had been started
    why: str  # the kernel's or Kubernetes' word, and the exit code
    is_gone: bool  # another one runs in its place


def list_pods(api: Any, namespace: str, selector: str) -> list[Any]:
    """Return the pods that bear some labels.

    Raises:
        ClusterError: Kubernetes refused, or cannot be reached.
    """
    from kubernetes import client

    call = client.CoreV1Api(api).list_namespaced_pod
    return list(ask(call, namespace, label_selector=selector).items)


def waiting(pods: Iterable[Any]) -> Iterator[tuple[Any, str]]:
    """Yield each pod that waits for something, and for what, in Kubernetes' words."""
    for pod in pods:
        if pod.status.phase != "Pending":
            continue
        reasons = [
            f"{each.reason}: {each.message or ''}"
            for each in pod.status.conditions or []
            if each.type == "PodScheduled" and each.status == "False"
        ]
        reasons += [
            f"{state.waiting.reason}: {state.waiting.message or ''}"
            for state in _states(pod)
            if state.waiting and (state.waiting.reason or "") not in _STARTING
        ]
        if reasons:
            yield pod, " ".join(reasons[0].split()).rstrip(": ")


def ended(pods: Iterable[Any]) -> Iterator[Ended]:
    """Yield the containers that ended with another code than 0, also those begun again since."""
    for pod in pods:
        for status in pod.status.container_statuses or []:
            now = status.state.terminated if status.state else None
            before = status.last_state.terminated if status.last_state else None
            last = now or before
            if last is not None and last.exit_code:
                why = f"{last.reason or 'Error'}, exit code {last.exit_code}"
                name, tries = pod.metadata.name, status.restart_count or 0
                yield Ended(name, status.name, tries, why, now is None)


def last_lines(api: Any, namespace: str, end: Ended) -> list[str]:
    """Return the last lines of a container's log.

    Raises:
        ClusterError: Kubernetes refused, or cannot be reached.
    """
    from kubernetes import client

    found = ask(
        client.CoreV1Api(api).read_namespaced_pod_log,
        end.pod,
        namespace,
        container=end.container,
        previous=end.is_gone,
        tail_lines=_TAIL,
        none_for=404,
        _preload_content=False,  # the client takes a line of JSON for a value
    )
    text = found.data.decode(errors="replace") if found is not None else ""
    return [line for line in text.splitlines() if line.strip()]


def _states(pod: Any) -> Iterator[Any]:
    for status in [
        *(pod.status.init_container_statuses or []),
        *(pod.status.container_statuses or []),
    ]:
        if status.state is not None:
            yield status.state
