"""Checks on a compiled pipeline that `kfp dsl compile` does not make."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from soda.errors import ConfigError

__all__ = ["RULES", "Finding", "Spec", "Task", "lint", "load"]

Tree = dict[str, Any]
Faults = Iterator[tuple[str, str, str]]  # place, message, mend

_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]")
_FROM_AROUND = re.compile(r'"componentInputParameter": "([^"]+)"')
_OPERAND = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
# The end leaves out TOKENIZERS_PARALLELISM and MAX_TOKENS, and names of places: TOKEN_FILE.
_SECRET = re.compile(
    r"(token|secret|passwo?r?d|(api|access|private)_?key)(?![a-z]|_(file|path|name)$)", re.I
)


@dataclass(frozen=True)
class Finding:
    """One fault: where it is, what is wrong and how to mend it."""

    rule: str
    severity: Literal["error", "warning"]
    place: str
    message: str
    mend: str


@dataclass(frozen=True)
class Task:
    """One task, and what the component around it holds."""

    place: str
    component: str
    executor: str  # '' for a group of tasks
    retries: bool
    condition: set[str]  # the parameters that its condition reads
    inputs: dict[str, Tree]  # parameters and artifacts: name -> source
    received: set[str]  # the inputs of the component around it
    beside: set[str]  # the tasks of the component around it

    def lost(self, name: str) -> str:
        """Return the input or task that an input comes from and that is not there, or ''."""
        for kind, source in self.inputs[name].items():
            if kind.startswith("componentInput") and source not in self.received:
                return str(source)
            if kind.startswith("task") and source["producerTask"] not in self.beside:
                return str(source["producerTask"])
        return ""


@dataclass(frozen=True)
class Spec:
    """The parts of one compiled pipeline."""

    description: str
    components: dict[str, Tree]  # 'root' among them
    executors: dict[str, Tree]
    containers: dict[str, Tree]  # the executors that start one; an importer does not
    platform: dict[str, Tree]  # by executor: secrets, volumes, node selectors
    tasks: list[Task]

    def settings(self, task: Task) -> set[str]:
        """Return the inputs that a task's image, resources and platform settings read."""
        container = self.containers.get(task.executor, {})
        tree = container.get("image"), container.get("resources"), self.platform.get(task.executor)
        return set(_PLACEHOLDER.findall(json.dumps(tree, default=str)))


def load(path: Path) -> list[Tree]:
    """Read the documents of a compiled pipeline: KFP's own YAML or Kubernetes manifests.

    Raises:
        ConfigError: the file is missing, is not YAML or holds no pipeline.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: expected a pipeline, found {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from error
    documents = [document for document in documents if isinstance(document, dict)]
    if not _pipelines(documents):
        raise ConfigError(f"{path}: expected a compiled pipeline, found no 'root' with a 'dag'")
    return documents


def lint(documents: list[Tree]) -> list[Finding]:
    """Apply every rule to every pipeline among the documents."""
    return [
        Finding(rule, "warning" if rule in _WARNINGS else "error", *fault)
        for spec in _pipelines(documents)
        for rule, check in RULES.items()
        for fault in check(spec)
    ]


def _pipelines(documents: list[Tree]) -> list[Spec]:
    platform = next((each for each in documents if "platforms" in each), {})
    manifests = [
        each.get("spec", {}) for each in documents if each.get("kind") == "PipelineVersion"
    ]
    pairs = [(each, platform) for each in documents]
    pairs += [(each.get("pipelineSpec", {}), each.get("platformSpec", {})) for each in manifests]
    return [_parse(*pair) for pair in pairs if "dag" in (pair[0].get("root") or {})]


def _parse(pipeline: Tree, platform: Tree) -> Spec:
    components = {"root": pipeline["root"], **pipeline.get("components", {})}
    executors = pipeline.get("deploymentSpec", {}).get("executors", {})
    platforms = platform.get("platforms", {}).values()
    return Spec(
        description=pipeline.get("pipelineInfo", {}).get("description", ""),
        components=components,
        executors=executors,
        containers={n: each["container"] for n, each in executors.items() if "container" in each},
        platform={
            name: settings
            for each in platforms
            for name, settings in each.get("deploymentSpec", {}).get("executors", {}).items()
        },
        tasks=[
            Task(
                place=f"{around}/{name}",
                component=(component := task["componentRef"]["name"]),
                executor=components.get(component, {}).get("executorLabel", ""),
                retries="retryPolicy" in task,
                condition=set(_OPERAND.findall(task.get("triggerPolicy", {}).get("condition", ""))),
                inputs={n: s for kind in task.get("inputs", {}).values() for n, s in kind.items()},
                received=_received(components[around]),
                beside=set(components[around]["dag"]["tasks"]),
            )
            for around, body in components.items()
            for name, task in body.get("dag", {}).get("tasks", {}).items()
        ],
    )


def _received(component: Tree) -> set[str]:
    return {name for kind in component.get("inputDefinitions", {}).values() for name in kind}


def _dangling_input(spec: Spec) -> Faults:
    mend = "pass it on through every group around the task"
    for task in spec.tasks:
        # What a setting reads is left to unthreaded-resource, whose mend is another.
        for name in sorted(task.inputs.keys() - spec.settings(task)):
            if lost := task.lost(name):
                yield task.place, f"input '{name}' comes from '{lost}', which is not there", mend
        for name in sorted(task.condition - task.inputs.keys()):
            yield task.place, f"its condition reads '{name}', no input of the task", mend


def _unknown_component(spec: Spec) -> Faults:
    for task in spec.tasks:
        if task.component not in spec.components:
            yield task.place, f"runs '{task.component}', no component", "compile the pipeline again"


def _unthreaded_resource(spec: Spec) -> Faults:
    mend = "kfp forgets it inside groups: call task.register_pipeline_channels([...]) with it"
    for task in spec.tasks:
        lost = {n for n in spec.settings(task) if n not in task.inputs or task.lost(n)}
        platform = json.dumps(spec.platform.get(task.executor), default=str)
        lost |= set(_FROM_AROUND.findall(platform)) - task.received
        for name in sorted(lost):
            yield task.place, f"a setting of its pod reads '{name}', which it does not get", mend


def _if_on_named_output(spec: Spec) -> Faults:
    mend = "call that field of the NamedTuple 'Output'"
    for task in spec.tasks:
        for name in sorted(task.condition & task.inputs.keys()):
            source = task.inputs[name].get("taskOutputParameter", {})
            if source.get("outputParameterKey", "Output") != "Output":
                message = f"kfp.local cannot read '{name}': it skips the task and reports success"
                yield task.place, message, mend


def _unpinned_image(spec: Spec) -> Faults:
    mend = "name a version or a digest: the image reference is part of the cache key"
    for name, container in spec.containers.items():
        image = container["image"]
        tag = image.rpartition("/")[2].partition(":")[2]
        if "{{" not in image and "@" not in image and tag in ("", "latest"):
            yield name, f"image '{image}' can change under its name", mend


def _runtime_pip(spec: Spec) -> Faults:
    mend = "put the packages into the image and set install_kfp_package=False"
    for name, container in spec.containers.items():
        command = " ".join([*container.get("command", []), *container.get("args", [])])
        if re.search(r"\bpip3? install\b", command):
            yield name, "installs packages when it starts", mend


def _literal_secret(spec: Spec) -> Faults:
    mend = "call kubernetes.use_secret_as_env, and replace the secret: anyone can read this file"
    for name, container in spec.containers.items():
        for variable in container.get("env", []):
            if _SECRET.search(variable["name"]) and variable.get("value"):
                yield name, f"the value of {variable['name']} is in the spec", mend


def _unknown_executor(spec: Spec) -> Faults:
    for name in sorted(spec.platform.keys() - spec.executors.keys()):
        yield name, "has platform settings, but is no executor", "compile the pipeline again"


def _missing_description(spec: Spec) -> Faults:
    if not spec.description:
        yield "root", "the pipeline has no description", "give its function a docstring"
    inputs = spec.components["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in inputs.items():
        if not definition.get("description"):
            yield f"root/{name}", "the parameter has no description", "name it under 'Args:'"
    for name, container in spec.containers.items():
        if not _documented(container.get("command", []), container.get("args", [])):
            yield name, "the component has no description", "give its function a docstring"


def _documented(command: list[str], args: list[str]) -> bool:
    """Look for the docstring in a Python component's source: the spec has no other place for it."""
    if "--function_to_execute" not in args or "\ndef " not in command[-1]:
        return True
    name = args[args.index("--function_to_execute") + 1]
    functions = [n for n in ast.parse(command[-1]).body if isinstance(n, ast.FunctionDef)]
    return any(ast.get_docstring(each) for each in functions if each.name == name)


def _no_retry(spec: Spec) -> Faults:
    for task in spec.tasks:
        if task.executor in spec.containers and not task.retries:
            yield task.place, "one failure of it ends the run", "call task.set_retry(...)"


def _no_limits(spec: Spec) -> Faults:
    for name, container in spec.containers.items():
        for resource in ("cpu", "memory"):
            keys = {f"{resource}Limit", f"resource{resource.title()}Limit"}
            if not keys & container.get("resources", {}).keys():
                yield name, f"has no {resource} limit", f"call task.set_{resource}_limit(...)"


RULES: dict[str, Callable[[Spec], Faults]] = {
    "dangling-input": _dangling_input,
    "unknown-component": _unknown_component,
    "unthreaded-resource": _unthreaded_resource,
    "if-on-named-output": _if_on_named_output,
    "unpinned-image": _unpinned_image,
    "runtime-pip": _runtime_pip,
    "literal-secret": _literal_secret,
    "unknown-executor": _unknown_executor,
    "missing-description": _missing_description,
    "no-retry": _no_retry,
    "no-limits": _no_limits,
}
_WARNINGS = {"missing-description", "no-retry", "no-limits"}
