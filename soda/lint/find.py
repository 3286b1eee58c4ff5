"""The pipelines in a document: KFP's own YAML or JSON, and what it comes wrapped in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import NoPipelineError
from .shape import Keys, camel
from .spec import Tree

__all__ = ["Found", "find", "holds_pipeline"]

_KNOWN = {"pipelineInfo", "root", "components", "deploymentSpec", "schemaVersion", "sdkVersion"}


@dataclass(frozen=True)
class Found:
    """A pipeline, its platform settings, and the keys that lead to both."""

    pipeline: Tree
    keys: Keys
    platform: Any
    platform_keys: Keys
    around: Tree  # the mapping that holds it: a PipelineJob, an answer of the API, a resource


def _fields(tree: Any) -> dict[str, str]:
    """Return a mapping's keys by the names that protobuf's JSON gives them."""
    return {camel(str(key)): key for key in tree} if isinstance(tree, dict) else {}


def _is_pipeline(tree: Any) -> bool:
    return len(_fields(tree).keys() & _KNOWN) >= 3


def holds_pipeline(document: Any) -> bool:
    """Tell whether a document is a pipeline, or holds one."""
    return next(_search(document, (), {}), None) is not None


def _search(tree: Any, keys: Keys, around: Tree) -> Iterator[tuple[Tree, Keys, Tree]]:
    """Look through mappings and lists of any depth, but not into pipelines."""
    if _is_pipeline(tree):
        yield tree, keys, around
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, dict | list):
                yield from _search(value, (*keys, str(key)), tree)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            if isinstance(value, dict | list):
                yield from _search(value, (*keys, str(index)), around)


def find(documents: list[Any]) -> tuple[list[Found], list[tuple[str, Keys]]]:
    """Return every pipeline in a file's documents, and the documents that are too many.

    KFP takes one pipeline and one document of platform settings. Several pipelines of an export,
    or several Kubernetes resources, may stand in a file.

    Raises:
        NoPipelineError: there is none.
    """
    found: list[Found] = []
    platforms: list[tuple[Any, Keys]] = [
        (d, (str(i),)) for i, d in enumerate(documents) if "platforms" in _fields(d)
    ]
    platform, platform_keys = platforms[0] if platforms else ({}, ())
    pipelines: list[Keys] = [(str(i),) for i, d in enumerate(documents) if _is_pipeline(d)]
    surplus: list[tuple[str, Keys]] = [("pipeline", keys) for keys in pipelines[1:]]
    surplus += [("platform settings", keys) for _, keys in platforms[1:]]
    for index, document in enumerate(documents):
        for tree, keys, around in _search(document, (str(index),), {}):
            if keys in pipelines:
                found.append(Found(tree, keys, platform, platform_keys, {}))
            else:
                name = _fields(around).get("platformSpec", "")
                own = around.get(name) or {}
                found.append(Found(tree, keys, own, (*keys[:-1], name), around))
    if not found:
        raise NoPipelineError(f"expected a compiled KFP v2 pipeline, found {_found(documents)}")
    return found, surplus


def _found(documents: list[Any]) -> str:
    """Say what a file without a pipeline is."""
    for document in documents:
        fields = _fields(document)
        version = str(document.get("apiVersion", "")) if fields else ""
        if version.startswith("argoproj.io/"):
            return "an Argo workflow, as KFP v1 made them: compile it with kfp 2"
        if version.startswith("tekton.dev/"):
            return "a Tekton pipeline, as KFP v1 made them: compile it with kfp 2"
        if "implementation" in fields:
            return "the definition of a KFP component"
        if "platforms" in fields:
            return "platform settings alone"
    return "no pipelineInfo, root, components, deploymentSpec or schemaVersion"
