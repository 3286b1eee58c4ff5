"""What KFP's driver does with what reaches a pod's spec; read from backend/src/v2/driver, 2.17.

Parameters are resolved as `resolveInputs` does it: values, then the choice of a part, then texts
where a task declares a text. Resources are texts with placeholders (driver.go); Secrets, claims and
pull secrets are names, of which none may be empty (resolve.go, `resolveInputParameterStr`);
selectors, tolerations and affinity are JSON (k8s.go).
"""

import json
import re

__all__ = ["PLACEHOLDER", "Refused", "pods_of_run"]

PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")
_PART = re.compile(r'parseJson\(string_value\)\["(.+)"\]')
_NAMES = {
    "secretAsEnv": "secretNameParameter",
    "configMapAsEnv": "configMapNameParameter",
    "imagePullSecret": "secretNameParameter",
    "pvcMount": "pvcNameParameter",
}
_JSON = {"tolerations": "tolerationJson", "nodeAffinity": "nodeAffinityJson"}


class Refused(Exception):  # noqa: N818 - it says what the driver does
    """The driver fails."""


def pods_of_run(documents, arguments, outputs):
    """Return what each executor's pod asks for in a run.

    Args:
        documents: the spec, and what it says to Kubernetes.
        arguments: of the run; the rest are the spec's defaults.
        outputs: what tasks return, by name of task and parameter.
    """
    spec, platform = documents
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    declared = spec["root"]["inputDefinitions"]["parameters"]
    given = {key: each.get("defaultValue") for key, each in declared.items()} | arguments
    pods = {}
    _walk(spec, settings, spec["root"], given, outputs, pods)
    return pods


def _walk(spec, settings, component, given, outputs, pods):
    for task in component["dag"]["tasks"].values():
        inner = spec["components"][task["componentRef"]["name"]]
        inputs = _inputs(task, inner, given, outputs)
        if "dag" in inner:
            _walk(spec, settings, inner, inputs, outputs, pods)
            continue
        label = inner["executorLabel"]
        container = spec["deploymentSpec"]["executors"][label]["container"]
        pods[task["taskInfo"]["name"]] = _pod(
            container["resources"], settings[label], inputs, given, outputs
        )


def _inputs(task, component, given, outputs):
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    found = {}
    for name, read in task.get("inputs", {}).get("parameters", {}).items():
        value = _value(read, given, outputs)
        if part := _PART.fullmatch(read.get("parameterExpressionSelector", "")):
            if part[1] not in value:
                raise Refused(f"no such key: {part[1]}")
            value = value[part[1]]
        kind = declared.get(name, {}).get("parameterType")
        if kind == "STRING" and not isinstance(value, str):
            value = json.dumps(value)
        found[name] = value
    return found


def _value(read, given, outputs):
    if "componentInputParameter" in read:
        return given[read["componentInputParameter"]]
    if "taskOutputParameter" in read:
        of = read["taskOutputParameter"]
        return outputs.get(of["producerTask"], {}).get(of["outputParameterKey"], "a place")
    if "taskFinalStatus" in read:
        return {}
    return read["runtimeValue"]["constant"]


def _text(text, inputs):
    """Replace placeholders; of what is no text the driver takes nothing (GetStringValue)."""
    return PLACEHOLDER.sub(
        lambda found: inputs[found[1]] if isinstance(inputs[found[1]], str) else "", text
    )


def _pod(resources, own, inputs, given, outputs):
    limits = {}
    for key, name in (("resourceCpuLimit", "cpu"), ("resourceMemoryLimit", "memory")):
        limits[name] = _text(resources[key], inputs)
    if accelerator := resources.get("accelerator"):
        kind = _text(accelerator["resourceType"], inputs)
        limits[kind] = _text(accelerator["resourceCount"], inputs)
    if "" in limits.values() or "" in limits:
        raise Refused(f"an empty limit in {limits}")
    names = []
    for kind, key in _NAMES.items():
        for each in own.get(kind, []):
            name = _value(each[key], given, outputs)
            if not isinstance(name, str) or not name:
                raise Refused(f"{kind}: Expected a non-empty string")
            names.append(name)
    parts = {
        key: [_value(each[read], given, outputs) for each in own.get(key, [])]
        for key, read in _JSON.items()
    }
    if selector := own.get("nodeSelector"):
        parts["nodeSelector"] = _value(selector["nodeSelectorJson"], given, outputs)
    return {"limits": limits, "names": names, **parts}
