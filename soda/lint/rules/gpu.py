"""Rules about tasks that ask for a GPU."""

import re
from collections.abc import Iterator

from ..findings import Fault, Faults, Rule
from ..spec import Executor, Spec, Task

__all__ = ["RULES"]

_PLACE = re.compile(
    r"stor(e|age)|checkpoint|ckpt|resume|bucket|state_dir|(work|out)(put)?_?dir|s3|gcs|uri|volume|pvc",
    re.I,
)
_TRAINS = re.compile(r"train|tun(e|ing)|distill|sft|dpo|ppo", re.I)
_LAUNCHES = re.compile(r"\b(torchrun|accelerate launch|deepspeed|torch\.distributed)\b")


def _gpus(spec: Spec) -> Iterator[tuple[Task, Executor]]:
    """Yield the tasks with a GPU; a TPU has its memory elsewhere and is scheduled otherwise."""
    for task, executor in spec.pods if not spec.is_component else ():
        if executor.accelerator and "tpu" not in executor.accelerator.lower():
            yield task, executor


def _trains(task: Task, executor: Executor) -> bool:
    command = " ".join(executor.words)
    return bool(_TRAINS.search(f"{task.name} {task.component}") or _LAUNCHES.search(command))


def _gpu_without_shm(spec: Spec) -> Faults:
    """A training pod's /dev/shm is 64 MiB. PyTorch's data loaders and NCCL share memory through it.

    They die with a bus error, or with 'No space left on device', maybe an hour into training.
    Looked at: GPU tasks that train, by their name or command.
    """
    for task, executor in _gpus(spec):
        mounts = executor.platform.get("emptyDirMounts") or []
        has = any(
            each.get("mountPath", "").rstrip("/") == "/dev/shm" and each.get("medium") == "Memory"
            for each in mounts
        )
        if not has and _trains(task, executor):
            yield Fault(task.place, "its /dev/shm has 64 MiB")


def _gpu_without_toleration(spec: Spec) -> Faults:
    """GPU nodes are often tainted, so that other pods keep away: this one waits for ever.

    Some clusters add the toleration by themselves (GKE does). One from a parameter counts.
    """
    for task, executor in _gpus(spec):
        if not executor.platform.get("tolerations"):
            yield Fault(task.place, "it tolerates no taint: where GPU nodes have one, it waits")


def _gpu_without_checkpoint(spec: Spec) -> Faults:
    """A GPU task that trains has no lasting place to go on from.

    A pod that is evicted or preempted begins again from nothing, and set_retry does not help:
    Argo's OnFailure leaves out pods that were deleted. Taken as a place: a mounted volume claim, an
    input or a variable whose name speaks of a store, a bucket, an address, checkpoints or resuming.
    """
    for task, executor in _gpus(spec):
        component = spec.components[task.component]
        names = {*executor.env, *component.receives}
        for kind in ("secretAsEnv", "configMapAsEnv"):
            for each in executor.platform.get(kind) or []:
                names |= {one.get("envVar", "") for one in each.get("keyToEnv") or []}
        lasting = executor.platform.get("pvcMount") or any(_PLACE.search(n) for n in names)
        if not lasting and _trains(task, executor):
            yield Fault(task.place, "it keeps no checkpoint: an eviction costs all its work")


RULES = (
    Rule(
        "gpu-without-shm",
        "warning",
        "a GPU task has 64 MiB of /dev/shm: data loaders and NCCL die with a bus error",
        "call kubernetes.empty_dir_mount(task, 'shm', '/dev/shm', medium='Memory')",
        _gpu_without_shm,
        ("kfp",),
    ),
    Rule(
        "gpu-without-toleration",
        "note",
        "a GPU task tolerates no taint: on tainted nodes it waits for ever",
        "call kubernetes.add_toleration or add_toleration_json",
        _gpu_without_toleration,
        ("kfp",),
    ),
    Rule(
        "gpu-without-checkpoint",
        "note",
        "a GPU task has no lasting place to go on from: an eviction costs all its work",
        "call kubernetes.mount_pvc, or give it a parameter with the place of its checkpoints",
        _gpu_without_checkpoint,
        ("kfp",),
    ),
)
