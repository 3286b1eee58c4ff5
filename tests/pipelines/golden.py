"""A compiled pipeline, short enough to be read in review: what each task runs, reads and asks for.

python -m tests.pipelines.golden    writes distill.golden.yaml, after a change that is meant
"""

import re
from pathlib import Path

from soda.recipe import load_recipe
from soda_components.generate import readable
from soda_pipelines import quickstart
from soda_pipelines.compile import compile_pipeline

__all__ = ["GOLDEN", "golden"]

GOLDEN = Path(__file__).with_name("distill.golden.yaml")
_KINDS = ("cpu", "gpu")
# kfp hands a pod's resources to its task too
_RESOURCES = {"accelerator_count", "accelerator_type", "cpu_limit", "cpu_request"}
_RESOURCES |= {"memory_limit", "memory_request"}


def golden(name="distill"):
    """Return what the golden file has to hold."""
    recipe = Path(quickstart.__file__).parent / "distill" / "recipes" / "quickstart.yaml"
    spec, platform = compile_pipeline(name, load_recipe(recipe)).documents
    pods = _pods(spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    shared = {kind: _shared([pod for k, pod in pods.values() if k == kind]) for kind in _KINDS}
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    made = {
        "pipeline": spec["pipelineInfo"],
        "parameters": {key: each.get("defaultValue", "(required)") for key, each in inputs.items()},
        "pods": shared,
        "tasks": _tasks(spec, spec["root"], pods, shared),
    }
    return "# Made by `make generated`; see golden.py.\n" + readable(_short(made))


def _pods(spec, settings):
    """Return each executor's kind of pod and what it asks for."""
    pods = {}
    for label, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        image = container["image"].rpartition("/")[2].partition(":")[0]
        kind = _KINDS["accelerator" in container["resources"]]
        pod = {"image": image, **container["resources"], **settings[label]}
        pods[label] = kind, _short(pod)
    return pods


def _shared(pods):
    """Return the settings that all of some pods have; of a list, the items."""
    first, *others = pods
    made = {}
    for key, value in first.items():
        if isinstance(value, list):
            made[key] = [item for item in value if all(item in pod.get(key, []) for pod in others)]
        elif all(pod.get(key) == value for pod in others):
            made[key] = value
    return made


def _tasks(spec, around, pods, shared):
    """Return the tasks of a group, and in a task that is a group its own."""
    made = {}
    for name, task in around["dag"]["tasks"].items():
        component = spec["components"][task.pop("componentRef")["name"]]
        if "dag" in component:
            made[name] = {**task, "tasks": _tasks(spec, component, pods, shared)}
            continue
        kind, pod = pods[component["executorLabel"]]
        own = {
            key: [item for item in value if item not in shared[kind].get(key, [])]
            if isinstance(value, list)
            else value
            for key, value in pod.items()
            if value != shared[kind].get(key)
        }
        parameters = task["inputs"].get("parameters", {})
        for key in _RESOURCES & parameters.keys():
            del parameters[key]
        made[name] = {**task, "pod": {"kind": kind, **own}}
    return made


def _short(value):
    """Write where a value comes from, `$parameter` or `task.output`; leave out what only passes."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, str):
        return re.sub(
            r"\{\{\$\.inputs\.parameters\['(?:pipelinechannel--)?([\w-]+)'\]\}\}", r"$\1", value
        )
    if not isinstance(value, dict):
        return value
    if part := value.get("parameterExpressionSelector"):
        return f"${value['componentInputParameter']}{part.removeprefix('parseJson(string_value)')}"
    for kind in ("Parameter", "Artifact"):
        if inner := value.get(f"componentInput{kind}"):
            return f"${inner.removeprefix('pipelinechannel--')}"
        if inner := value.get(f"taskOutput{kind}"):
            return f"{inner['producerTask']}.{inner[f'output{kind}Key']}"
    if value.keys() == {"runtimeValue"}:
        return _short(value["runtimeValue"]["constant"])
    inner = {key.removeprefix("pipelinechannel--"): _short(each) for key, each in value.items()}
    return {key: each for key, each in inner.items() if each not in (f"${key}", {}, [])}


if __name__ == "__main__":
    GOLDEN.write_text(golden(), encoding="utf-8")
