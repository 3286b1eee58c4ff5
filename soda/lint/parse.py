"""The documents of a compiled pipeline -> what the rules look at."""

from collections.abc import Iterator
from typing import Any

from .errors import LintError
from .shape import PIPELINE, PLATFORM, fit
from .spec import Component, Executor, Input, Output, Place, Spec, Task, Tree

__all__ = ["holds_pipeline", "parse"]


def holds_pipeline(document: Any) -> bool:
    """Tell whether a document is a pipeline, or a manifest with one."""
    return any(True for _ in _pipelines(document))


def _pipelines(document: Any) -> Iterator[tuple[Tree, tuple[str, ...], Any]]:
    """Yield pipelines, the keys that lead to them, and a manifest's own platform settings."""
    if not isinstance(document, dict):
        return
    if isinstance(document.get("root"), dict) and "dag" in document["root"]:
        yield document, (), None
    body = document.get("spec") if document.get("kind") == "PipelineVersion" else None
    if isinstance(body, dict) and holds_pipeline(body.get("pipelineSpec")):
        yield body["pipelineSpec"], ("spec", "pipelineSpec"), body.get("platformSpec") or {}


def parse(documents: list[Any], allow_images: tuple[str, ...] = ()) -> list[Spec]:
    """Return every pipeline among the documents.

    Raises:
        LintError: there is none, or a part of one has another form than KFP's.
    """
    shared = [(i, d) for i, d in enumerate(documents) if isinstance(d, dict) and "platforms" in d]
    found = []
    for index, document in enumerate(documents):
        for pipeline, keys, platform in _pipelines(document):
            start = (str(index), *keys)
            where: tuple[str, ...] = (str(index), "spec", "platformSpec")
            if platform is None:
                platform = shared[0][1] if shared else {}
                where = (str(shared[0][0]),) if shared else ()
            pipeline, platform = fit(pipeline, PIPELINE), fit(platform, PLATFORM)
            found.append(_spec(pipeline, start, platform, where, allow_images))
    if not found:
        raise LintError("expected a compiled pipeline, found no 'root' with a 'dag'")
    return found


def _spec(
    pipeline: Tree,
    start: tuple[str, ...],
    platform: Tree,
    where: tuple[str, ...],
    allow_images: tuple[str, ...],
) -> Spec:
    settings: dict[str, tuple[Place, Tree]] = {}
    for name, tree in platform.get("platforms", {}).items():
        for label, each in tree.get("deploymentSpec", {}).get("executors", {}).items():
            keys = (*where, "platforms", name, "deploymentSpec", "executors", label)
            settings[label] = Place(label, keys), each
    executors = pipeline.get("deploymentSpec", {}).get("executors", {})
    bodies = {"root": pipeline["root"], **pipeline.get("components", {})}
    information = pipeline.get("pipelineInfo", {})
    components = {
        name: _component(
            name, body, (*start, *(("root",) if name == "root" else ("components", name)))
        )
        for name, body in bodies.items()
    }
    callers: dict[str, list[Task]] = {}
    for component in components.values():
        for task in component.tasks.values():
            callers.setdefault(task.component, []).append(task)
    return Spec(
        name=information.get("name", ""),
        place=Place("root", (*start, "pipelineInfo")),
        description=information.get("description", ""),
        components=components,
        executors={
            label: _executor(
                Place(label, (*start, "deploymentSpec", "executors", label)),
                body["container"],
                settings[label][1] if label in settings else {},
            )
            for label, body in executors.items()
            # The driver makes and deletes volumes by itself: no image of this name exists.
            if "container" in body
            and not body["container"].get("image", "").startswith("argostub/")
        },
        labels=set(executors),
        settings={label: place for label, (place, _) in settings.items()},
        allow_images=allow_images,
        callers=callers,
    )


def _executor(place: Place, container: Tree, platform: Tree) -> Executor:
    return Executor(
        place=place,
        image=container.get("image", ""),
        command=container.get("command", []),
        args=container.get("args", []),
        env={e.get("name", ""): e.get("value", "") for e in container.get("env", [])},
        resources=container.get("resources", {}),
        platform=platform,
    )


def _component(name: str, body: Tree, keys: tuple[str, ...]) -> Component:
    dag = body.get("dag", {})
    definitions = body.get("inputDefinitions", {})
    produced = body.get("outputDefinitions", {})
    return Component(
        name=name,
        place=Place(name, keys),
        executor=body.get("executorLabel", ""),
        parameters=definitions.get("parameters", {}),
        artifacts=definitions.get("artifacts", {}),
        produces={each for kind in produced.values() for each in kind},
        tasks={
            each: _task(Place(f"{name}/{each}", (*keys, "dag", "tasks", each)), name, each, task)
            for each, task in dag.get("tasks", {}).items()
        },
        outputs=[
            Output(output, *selector)
            for kind in dag.get("outputs", {}).values()
            for output, tree in kind.items()
            for selector in _selectors(tree)
        ],
    )


def _task(place: Place, around: str, name: str, task: Tree) -> Task:
    iterator = task.get("parameterIterator") or task.get("artifactIterator", {})
    items = iterator.get("items", {})
    trigger = task.get("triggerPolicy", {})
    caching = task.get("cachingOptions", {})
    return Task(
        place=place,
        name=name,
        component=task.get("componentRef", {}).get("name", ""),
        around=around,
        inputs={
            each: _input(tree)
            for kind in task.get("inputs", {}).values()
            for each, tree in kind.items()
        },
        after=set(task.get("dependentTasks", [])),
        condition=trigger.get("condition", ""),
        item=iterator.get("itemInput", ""),
        items=items.get("inputParameter", items.get("inputArtifact", "")),
        retries="retryPolicy" in task,
        cached=bool(caching.get("enableCache")),
        cache_key=caching.get("cacheKey", ""),
        always=trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
    )


def _input(tree: Tree) -> Input:
    made = tree.get("taskOutputParameter") or tree.get("taskOutputArtifact", {})
    status = tree.get("taskFinalStatus", {})
    return Input(
        around=tree.get("componentInputParameter") or tree.get("componentInputArtifact") or "",
        producer=made.get("producerTask", status.get("producerTask", "")),
        output=made.get("outputParameterKey", made.get("outputArtifactKey", "")),
        status=bool(status),
        constant=tree.get("runtimeValue", {}).get("constant"),
    )


def _selectors(tree: Any) -> Iterator[tuple[str, str]]:
    """Find the pairs of producer and key in an output, whatever kind of selector it has."""
    if isinstance(tree, dict):
        if "producerSubtask" in tree:
            key = tree.get("outputParameterKey", tree.get("outputArtifactKey", ""))
            yield str(tree["producerSubtask"]), str(key)
        else:
            for each in tree.values():
                yield from _selectors(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _selectors(each)
