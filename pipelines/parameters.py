"""The parameters of the pipelines: a form in Kubeflow's UI, which lists them by their names."""

import inspect
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from kfp import dsl

from soda.recipe import STEPS
from soda.stage import load_stage
from soda_components import images

from .placement import VOLUME

__all__ = ["RECIPE", "make_pipeline"]

_GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
_REQUIRED = inspect.Parameter.empty

# Step -> what its values say. A stage that takes a list gets its values from the pipeline.
RECIPE = {
    step: inspect.cleandoc(str(load_stage(stage).config.__doc__)).partition("\n")[0]
    for step, stage in STEPS.items()
    if load_stage(stage).config.model_fields and not load_stage(stage).lists
}
# Name -> type, default, description. A prefix makes a group: the form is sorted.
_PARAMETERS: dict[str, tuple[type, Any, str]] = {
    "compare_gad": (dict, {"method": "gad"}, "Values of train for GAD, over recipe_train."),
    "compare_soda": (dict, {"method": "dpo"}, "Values of train for SODA, over recipe_train."),
    "gpu_affinity": (dict, {}, "Node affinity of the pods with GPUs, as Kubernetes writes it."),
    "gpu_autoscaled": (bool, False, "Whether nodes with GPUs come only when they are asked for."),
    "gpu_count": (int, 1, "GPUs for training, a process each; snapshot and eval take one."),
    "gpu_cpu": (str, "8", "CPUs of the pods with GPUs."),
    "gpu_memory": (str, "64Gi", "Memory of the pods with GPUs."),
    "gpu_node_selector": (dict, {}, "Labels of the nodes with GPUs."),
    "gpu_tolerations": (list, [_GPU_TAINT], "Taints that the pods with GPUs tolerate."),
    "gpu_type": (str, "nvidia.com/gpu", "Resource name of the GPUs."),
    "hub_secret": (str, "soda-hub", "Secret whose key token is a Hugging Face token; optional."),
    "images": (list, [images.CPU, images.GPU], "Image references that preflight looks up."),
    "notify_secret": (str, "soda-notify", "Secret whose key url is a webhook; optional."),
    "notify_ui_url": (str, "", "Address of Kubeflow's UI, for the link in the notification."),
    "pod_cpu": (str, "2", "CPUs of the pods without a GPU."),
    "pod_memory": (str, "8Gi", "Memory of the pods without a GPU."),
    "pod_pull_secret": (str, "soda-registry", "Secret for pulling the images, if they need one."),
    **{
        f"recipe_{name.replace('-', '_')}": (dict, _REQUIRED, text) for name, text in RECIPE.items()
    },
    "register_secret": (str, "soda-model-registry", "Secret whose key token opens it; optional."),
    "shards_snapshot": (list, ["1/1"], "Pods that share the snapshot: ['1/2', '2/2'], a GPU each."),
    "shards_teacher": (list, ["1/1"], "Pods that share the teacher's prompts: ['1/2', '2/2']."),
    "store": (str, _REQUIRED, "Where answers, checkpoints and artifacts lie: gs:// or s3://."),
    "store_claim": (str, "soda-store", "PersistentVolumeClaim that the store lies on."),
    "store_secret": (str, "soda-store", "Secret with AWS_ACCESS_KEY_ID and the like; optional."),
    "teacher_identity": (str, "", "Which teacher is behind the name; empty: the recipe's."),
    "teacher_secret": (str, "soda-teacher", "Secret whose key api_key is the teacher's API key."),
    "train_nodes": (int, 2, "Nodes for training, each with gpu_count GPUs."),
    "train_queue": (str, "", "Local queue of Kueue; empty for none."),
    "train_runtime": (
        str,
        "soda-torch",
        "TrainingRuntime of the namespace; it mounts the store.",
    ),
    "watch_force": (bool, False, "Take the teacher as changed whatever is found."),
}


def make_pipeline(
    name: str,
    text: str,
    body: Callable[[SimpleNamespace], None],
    *,
    store: str,
    volume: bool,
    leave_out: Iterable[str],
) -> Any:
    """Return a pipeline whose parameters are those of the table.

    KFP reads a function's signature and docstring; here both are made of the table, as three
    pipelines share it.

    Args:
        name: the pipeline's name.
        text: its description.
        body: wires the tasks together; gets the parameters by their names.
        store: the store's default; "": none, a run has to name it.
        volume: whether the store lies on a volume.
        leave_out: parameters, or their prefixes that end in `_`, that this pipeline has no use for.
    """
    left_out = set(leave_out)
    names = [
        each
        for each in _PARAMETERS
        if each not in left_out and f"{each.partition('_')[0]}_" not in left_out
    ]
    defaults = {"store": store or (VOLUME if volume else _REQUIRED)}
    parameters = [
        inspect.Parameter(
            each,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=defaults.get(each, _PARAMETERS[each][1]),
            annotation=_PARAMETERS[each][0],
        )
        for each in names
    ]
    parameters.sort(key=lambda each: each.default is not _REQUIRED)  # Python wants these first

    def wired(*channels: Any) -> None:
        body(
            SimpleNamespace(**dict(zip([each.name for each in parameters], channels, strict=True)))
        )

    wired.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wired.__annotations__ = {each.name: each.annotation for each in parameters}
    lines = [f"    {each}: {_PARAMETERS[each][2]}" for each in names]
    wired.__doc__ = "\n".join([text, "", "Args:", *lines])
    wired.__name__ = name.replace("-", "_")
    return dsl.pipeline(name=name, description=text)(wired)
