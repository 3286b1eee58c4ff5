"""The checks before a run as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl

from .. import images

__all__ = ["preflight"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def preflight(
    recipe: dict,
    store: str,
    report: dsl.Output[dsl.Markdown],
    steps: list = [],  # noqa: B006 - KFP reads it and never changes it
    images: list = [],  # noqa: B006
    gpus: dict = {},  # noqa: B006
    pods: dict = {},  # noqa: B006
    nodes: int = 1,
    train_runtime: str = "",
) -> NamedTuple(
    "Pods",
    [
        ("cpu", str),
        ("memory", str),
        ("gpu_type", str),
        ("gpu_count", str),
        ("gpu_cpu", str),
        ("gpu_memory", str),
        ("gpu_node_selector", dict),
        ("gpu_tolerations", list),
        ("gpu_affinity", dict),
    ],
):
    """Fail in seconds rather than hours: teacher, student, store, GPUs, quota, images.

    What it returns is what the pods of the following steps ask for, as KFP's driver reads it.

    Args:
        recipe: Values of every step, by its name; what follows a colon in a name tells two apart.
        store: Where journals, unfinished work and finished artifacts lie.
        report: What was found, and what to do about it.
        steps: The steps that there have to be.
        images: References that the steps will pull; none are looked up if it is empty.
        gpus: What pods with GPUs ask for, over the defaults.
        pods: What pods without GPUs ask for, over the defaults.
        nodes: Nodes for training.
        train_runtime: The TrainingRuntime, if training is a TrainJob.

    Returns:
        cpu: CPUs of the pods without a GPU.
        memory: Their memory.
        gpu_type: Resource name of the GPUs.
        gpu_count: GPUs for training.
        gpu_cpu: CPUs of the pods with GPUs.
        gpu_memory: Their memory.
        gpu_node_selector: Labels of their nodes.
        gpu_tolerations: Taints that they tolerate.
        gpu_affinity: Their node affinity.
    """
    from soda.commands.preflight import preflight_step

    return preflight_step(
        recipe,
        steps=steps,
        store=store,
        images=images,
        gpus=gpus,
        pods=pods,
        nodes=nodes,
        report=report.path,
        runtime=train_runtime,
    )
