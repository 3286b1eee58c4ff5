"""Rules about what a task's pod is given."""

import json
import re

from ..findings import Fault, Faults, Rule
from ..spec import Input, Spec, Task
from .wiring import available

__all__ = ["RULES"]

_AROUND = re.compile(r'"componentInputParameter": "([^"]+)"')
_MANY = 1000
_PRODUCER = re.compile(r'"producerTask": "([^"]+)"')


def _unthreaded_resource(spec: Spec) -> Faults:
    """A pod's setting reads a parameter that does not get to the task.

    Resources from a parameter inside dsl.If, dsl.ParallelFor or dsl.ExitHandler compile, and fail
    at run time: kfp forgets to pass the parameter through the group.
    """
    for task, executor in spec.pods:
        around = spec.components[task.around]
        received = available(spec, around)
        lost = set()
        for name in executor.reads:
            source = task.inputs.get(name, Input())
            there = {"", *received, *around.tasks}
            if name not in task.inputs or not {source.around, source.producer} <= there:
                lost.add(name)
        platform = json.dumps(executor.platform, default=str)
        lost |= set(_AROUND.findall(platform)) - received
        lost |= set(_PRODUCER.findall(platform)) - around.tasks.keys()
        for name in sorted(lost):
            yield Fault(task.place, f"a setting of its pod reads '{name}', which it does not get")


def _idle_retry(spec: Spec) -> Faults:
    """A task's retries do nothing: there are none, or it is an importer, which KFP never retries.

    set_retry(0) looks like a policy in the spec, and is none.
    """
    for task in spec.tasks:
        if task.retries is not None and spec.kind(task) == "importer":
            yield Fault(task.place.at("retryPolicy"), "KFP never retries an importer")
        elif task.retries == 0:
            yield Fault(task.place.at("retryPolicy"), "retries 0 times")


def _volume_stays(spec: Spec) -> Faults:
    """A run makes a volume under a new name, and never deletes it: each run leaves one behind.

    Not meant is a volume of a fixed name, which is there to stay.
    """
    deleted = any("pvc_name" in task.inputs and not _makes(spec, task) for task in _volumes(spec))
    for task in _volumes(spec):
        fixed = task.inputs.get("pvc_name", Input())
        kept = fixed.around or fixed.producer or isinstance(fixed.constant, str)
        if _makes(spec, task) and not kept and not deleted:
            yield Fault(task.place, "makes a volume that no task deletes")


def _volumes(spec: Spec) -> list[Task]:
    return [task for task in spec.tasks if spec.kind(task) == "volume"]


def _makes(spec: Spec, task: Task) -> bool:
    return "name" in spec.components[task.component].makes


def _long_loop(spec: Spec) -> Faults:
    """A loop goes over more constants than a run can hold.

    Each item is two drivers and its tasks' pods; all of their states are kept in one Workflow
    object, which Kubernetes limits to 1.5 MiB.
    """
    for task in spec.tasks:
        try:
            items = json.loads(task.constants or "[]")
        except (ValueError, RecursionError):
            yield Fault(task.place.at("parameterIterator"), "its items are no JSON")
            continue
        if isinstance(items, list) and len(items) > _MANY:
            yield Fault(task.place.at("parameterIterator"), f"goes over {len(items)} items")


def _no_retry(spec: Spec) -> Faults:
    """One failure of the task ends the run: a node that goes away, a name that does not resolve."""
    if spec.is_component:
        return
    for task, _ in spec.pods:
        if not any(each.retries for each in (task, *spec.groups(task))):  # a group's hold for it
            yield Fault(task.place, "one failure of it ends the run")


def _no_limits(spec: Spec) -> Faults:
    """A pod may take all the memory of its node, and others die with it.

    Where the namespace has a quota, a pod without limits is not even made.
    """
    yield from _missing(spec, "Limit", ("Limit",))


def _no_requests(spec: Spec) -> Faults:
    """The scheduler cannot know what the pod needs, and puts it where there is no room.

    Not reported where there is a limit: Kubernetes then takes the limit as the request.
    """
    yield from _missing(spec, "Request", ("Request", "Limit"))


def _missing(spec: Spec, wanted: str, either: tuple[str, ...]) -> Faults:
    """Find executors without a cpu or memory setting of one of these kinds."""
    for executor in spec.executors.values() if not spec.is_component else ():
        lacks = [
            resource
            for resource in ("cpu", "memory")
            if not executor.resources.keys()
            & {
                key
                for kind in either
                for key in (f"{resource}{kind}", f"resource{resource.title()}{kind}")
            }
        ]
        if lacks:
            yield Fault(executor.place, f"has no {' and no '.join(lacks)} {wanted.lower()}")


def _no_security_context(spec: Spec) -> Faults:
    """Nothing says which user the pod runs as: it is the image's, often root.

    A namespace that enforces the 'restricted' Pod Security Standard refuses such a pod. KFP's
    backend drops capabilities and privilege escalation by itself; the user it leaves to you.
    """
    for executor in spec.executors.values() if not spec.is_component else ():
        if not executor.platform.get("securityContext"):
            yield Fault(executor.place, "runs as its image's user, who may be root")


RULES = (
    Rule(
        "unthreaded-resource",
        "error",
        "a setting of a pod reads a parameter that does not get there: the run fails",
        "kfp forgets it inside groups: call task.register_pipeline_channels([...]) with it",
        _unthreaded_resource,
        ("kfp", "vertex"),
    ),
    Rule(
        "idle-retry",
        "warning",
        "a task's retries do nothing",
        "call task.set_retry(2) on a task that runs a container, or leave it out",
        _idle_retry,
        ("kfp", "vertex"),
    ),
    Rule(
        "volume-stays",
        "warning",
        "a run makes a volume and never deletes it: each run leaves one behind",
        "call kubernetes.DeletePVC(pvc_name=made.outputs['name']).after(the last task)",
        _volume_stays,
        ("kfp",),
    ),
    Rule(
        "long-loop",
        "warning",
        "a loop goes over more items than a run can hold",
        "let each item stand for many, and loop over them inside the component",
        _long_loop,
        ("kfp",),
    ),
    Rule(
        "no-retry",
        "note",
        "one failure of a task ends the run",
        "call task.set_retry(...)",
        _no_retry,
        ("kfp", "vertex"),
        style=True,
    ),
    Rule(
        "no-limits",
        "note",
        "a pod without limits takes all of its node, or a quota refuses it",
        "call task.set_cpu_limit(...) and task.set_memory_limit(...)",
        _no_limits,
        ("kfp",),
        style=True,
    ),
    Rule(
        "no-requests",
        "note",
        "a pod without requests is put where there is no room for it",
        "call task.set_cpu_request(...) and task.set_memory_request(...)",
        _no_requests,
        ("kfp",),
        style=True,
    ),
    Rule(
        "no-security-context",
        "note",
        "a pod runs as root where its image does, and strict namespaces refuse it",
        "call kubernetes.set_security_context(task, run_as_user=1000, run_as_non_root=True)",
        _no_security_context,
        ("kfp",),
        style=True,
    ),
)
