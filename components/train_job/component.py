"""The train stage on several nodes, through the Kubeflow Trainer, as a component."""

from kfp import dsl

from .. import images

__all__ = ["train_job"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def train_job(
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    config: dict,
    student: dsl.Output[dsl.Model],
    store: str,
    image: str,
    nodes: int = 2,
    gpu_type: str = "nvidia.com/gpu",
    gpu_count: int = 8,
    cpu: str = "16",
    memory: str = "64Gi",
    queue: str = "",
    runtime: str = "soda-torch",
    node_selector: dict = {},  # noqa: B006 - KFP reads it and never changes it
    tolerations: list = [],  # noqa: B006
):
    """Train a student on several nodes, as a TrainJob of the Kubeflow Trainer v2.

    A task that is tried again finds the job it began; one that is cancelled deletes it. It runs in
    the nodes' image: a result's key holds the versions of the libraries that compute it.

    Args:
        data: Preference pairs, or the teacher's answers for the method sft.
        model: The student to start from, which is the reference too.
        config: Values of the stage train.
        student: The trained student.
        store: A folder on a volume that this pod and the nodes share.
        image: Reference of the image that the nodes run.
        nodes: How many nodes.
        gpu_type: Resource name of the GPUs.
        gpu_count: GPUs of each node.
        cpu: CPUs of each node.
        memory: Memory of each node.
        queue: Local queue of Kueue; empty for none.
        runtime: The TrainingRuntime of the namespace, which mounts the volume.
        node_selector: Labels of the nodes.
        tolerations: Taints of the nodes that are tolerated.
    """
    from soda.launch import launch_on_nodes

    made = launch_on_nodes(
        "train",
        inputs={"data": data.path, "model": model.path},
        config=config,
        out=student.path,
        store=store,
        image=image,
        nodes=nodes,
        gpu_type=gpu_type,
        gpu_count=gpu_count,
        cpu=cpu,
        memory=memory,
        queue=queue,
        runtime=runtime,
        node_selector=node_selector,
        tolerations=tolerations,
    )
    student.metadata.update(digest=made.digest, rows=made.manifest.rows)
