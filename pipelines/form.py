"""The parameters of the pipelines: a form in Kubeflow's UI, which lists them by their names.

They are few: the recipe is one, a JSON object with every step's values, and so are gpus and pods. A
step reads its own part of the recipe: KFP's driver picks it, so that a step's cache depends on that
part alone. kfp writes such a choice for the items of a loop only; here it is written into the spec.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

from kfp import dsl

from soda.kubernetes.resources import CpuPods, GpuPods
from soda_components import images

__all__ = ["DEFAULTS", "fold", "make_form"]

_REQUIRED = inspect.Parameter.empty
_PART = "recipe_part_"

# Name -> type, default, description.
_PARAMETERS: dict[str, tuple[type, Any, str]] = {
    "force": (bool, False, "Take the teacher as changed whatever is found."),
    "gpus": (dict, GpuPods.parse({}).model_dump(), "What the pods with GPUs ask for."),
    "images": (list, [images.CPU, images.GPU], "Images that preflight looks up; [] for none."),
    "pods": (dict, CpuPods.parse({}).model_dump(), "What the pods without GPUs ask for."),
    "recipe": (dict, _REQUIRED, "Values of every step: teacher, student, prompts, name first."),
    "store": (str, _REQUIRED, "Where answers, checkpoints and artifacts lie: gs:// or s3://."),
    "train_nodes": (int, 2, "Nodes for training, each with gpus.count GPUs."),
    "train_queue": (str, "", "Local queue of Kueue; empty for none."),
    "train_runtime": (
        str,
        "soda-torch",
        "TrainingRuntime of the namespace; it mounts the store.",
    ),
    "ui_url": (str, "", "Address of Kubeflow's UI, for the link in the notification."),
}
DEFAULTS = {name: default for name, (_, default, _) in _PARAMETERS.items()}


def make_form(
    name: str,
    text: str,
    body: Callable[[SimpleNamespace, dict[str, Any]], None],
    *,
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    left_out: Collection[str],
) -> Any:
    """Return a pipeline; `fold` has to make its spec's many parts of a recipe one parameter.

    KFP reads a function's signature and docstring; here both are made of the table.

    Args:
        name: the pipeline's name.
        text: its description.
        body: wires the tasks together; gets the parameters by their names, and each step's values
            by its name.
        values: the recipe's, by the names of steps.
        defaults: of other parameters, over the table's.
        left_out: parameters that this pipeline has no use for.
    """
    names = [each for each in _PARAMETERS if each not in left_out]
    parts = {f"{_PART}{number}": key for number, key in enumerate(values)}
    kinds = {each: _PARAMETERS[each][0] for each in names} | dict.fromkeys(parts, dict)
    given = {each: defaults.get(each, _PARAMETERS[each][1]) for each in names}
    given |= {"recipe": dict(values)} | {part: values[key] for part, key in parts.items()}
    parameters = [
        inspect.Parameter(
            each, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=given[each], annotation=kind
        )
        for each, kind in kinds.items()
    ]
    parameters.sort(key=lambda each: each.default is not _REQUIRED)  # Python wants these first

    def wired(*channels: Any) -> None:
        found = dict(zip([each.name for each in parameters], channels, strict=True))
        body(SimpleNamespace(**found), {key: found[part] for part, key in parts.items()})

    wired.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wired.__annotations__ = kinds
    lines = [f"    {each}: {_PARAMETERS[each][2]}" for each in names]
    wired.__doc__ = "\n".join([text, "", "Args:", *lines])
    wired.__name__ = name.replace("-", "_")
    return dsl.pipeline(name=name, description=text)(wired)


def fold(spec: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Let the spec's steps read their parts of the one parameter `recipe`."""
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    parts = {f"{_PART}{number}": key for number, key in enumerate(values)}
    for part in parts:
        inputs.pop(part, None)
    for task in spec["root"]["dag"]["tasks"].values():
        for read in task.get("inputs", {}).get("parameters", {}).values():
            key = parts.get(read.get("componentInputParameter", ""))
            if key is not None:
                read["componentInputParameter"] = "recipe"
                read["parameterExpressionSelector"] = f'parseJson(string_value)["{key}"]'
