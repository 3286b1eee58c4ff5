"""What form a compiled spec has, as far as the rules read it: checked once, then trusted."""

from typing import Any

from .errors import LintError

__all__ = ["PIPELINE", "PLATFORM", "fit"]

# A mapping of keys ("*": every other), a list of one form, str for a scalar, or ANY.
ANY = object()
_NAMED = {"*": {"*": ANY}}
_SOURCE = {
    "componentInputParameter": str,
    "componentInputArtifact": str,
    "runtimeValue": {"*": ANY},
    **{
        kind: {"producerTask": str, "outputParameterKey": str, "outputArtifactKey": str}
        for kind in ("taskOutputParameter", "taskOutputArtifact", "taskFinalStatus")
    },
}
_ITERATOR = {"itemInput": str, "items": {"inputParameter": str, "inputArtifact": str}}
_TASK = {
    "componentRef": {"name": str},
    "inputs": {"*": {"*": _SOURCE}},
    "dependentTasks": [str],
    "triggerPolicy": {"condition": str, "strategy": str},
    "cachingOptions": {"cacheKey": str},
    "parameterIterator": _ITERATOR,
    "artifactIterator": _ITERATOR,
}
_COMPONENT = {
    "executorLabel": str,
    "inputDefinitions": {"parameters": _NAMED, "artifacts": _NAMED},
    "outputDefinitions": {"*": _NAMED},
    "dag": {"tasks": {"*": _TASK}, "outputs": _NAMED},
}
_CONTAINER = {
    "image": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str, "value": str}],
    "resources": {"accelerator": {"*": ANY}},
}
PIPELINE = {
    "pipelineInfo": {"name": str, "description": str},
    "root": _COMPONENT,
    "components": {"*": _COMPONENT},
    "deploymentSpec": {"executors": {"*": {"container": _CONTAINER}}},
}
_VARIABLES = [{"keyToEnv": [{"envVar": str}]}]
_SETTINGS = {
    "secretAsEnv": _VARIABLES,
    "configMapAsEnv": _VARIABLES,
    "emptyDirMounts": [{"mountPath": str, "medium": str}],
}
PLATFORM = {"platforms": {"*": {"deploymentSpec": {"executors": {"*": _SETTINGS}}}}}


def fit(tree: Any, form: Any, where: str = "") -> Any:
    """Return the tree without its empty branches; scalars where the form says so are text.

    Raises:
        LintError: a part of the tree has another form.
    """
    if form is ANY:
        return tree
    if form is str:
        if isinstance(tree, dict | list):
            raise LintError(f"{where}: expected a text, found {_short(tree)}")
        return str(tree)
    if not isinstance(tree, type(form)):
        expected = "a mapping" if isinstance(form, dict) else "a list"
        raise LintError(f"{where}: expected {expected}, found {_short(tree)}")
    if isinstance(form, list):
        return [fit(each, form[0], f"{where}[{i}]") for i, each in enumerate(tree)]
    return {
        str(key): fit(value, form.get(key, form.get("*", ANY)), f"{where}.{key}".lstrip("."))
        for key, value in tree.items()
        if value is not None
    }


def _short(tree: Any) -> str:
    text = repr(tree)
    return text if len(text) < 40 else f"{text[:36]}..."
