"""The documents of a compiled pipeline -> what the rules look at."""

from collections.abc import Iterator
from typing import Any

from .find import Found, find
from .guess import guess
from .shape import Keys, Misfit, fit
from .source import Source
from .spec import NOTHING, Component, Executor, Input, Output, Place, Spec, Task, Tree

__all__ = ["parse"]

_KINDS = ("container", "importer", "resolver", "customJob")


def parse(source: Source, allow_images: tuple[str, ...] = ()) -> list[Spec]:
    """Return every pipeline in a file.

    Raises:
        NoPipelineError: there is none.
    """
    found, surplus = find(source.documents)
    specs = []
    for index, each in enumerate(found):
        places = [each.keys, *([each.platform_keys] if each.platform_keys else [])]
        repeated = [k for k, _ in source.repeated if any(k[: len(p)] == p for p in places)]
        specs.append(_spec(each, repeated, [] if index else surplus, allow_images))
    return specs


def _spec(
    found: Found,
    repeated: list[Keys],
    surplus: list[tuple[str, Keys]],
    allow_images: tuple[str, ...],
) -> Spec:
    misfits: list[Misfit] = []
    start = found.keys
    pipeline = fit(found.pipeline, "PipelineSpec", start, misfits)
    deployment = _key(found.pipeline, "deploymentSpec", "deployment_spec")
    executors = fit(
        pipeline.get("deploymentSpec", {}),
        "PipelineDeploymentConfig",
        (*start, deployment),
        misfits,
        loose=True,
    ).get("executors", {})
    settings = dict(_settings(found, misfits))
    components = _components(pipeline, start)
    information = pipeline.get("pipelineInfo", {})
    callers: dict[str, list[Task]] = {}
    for component in components.values():
        for task in component.tasks.values():
            callers.setdefault(task.component, []).append(task)
    return Spec(
        name=information.get("name", ""),
        place=Place("root", (*start, "pipelineInfo")),
        whole=Place("root", start),
        tree=found.pipeline,
        version=pipeline.get("schemaVersion", ""),
        description=information.get("description", ""),
        components=components,
        executors={
            label: _executor(
                Place(label, (*start, deployment, "executors", label)),
                body["container"],
                settings.get(label, (Place(label, start), {})),
            )
            for label, body in executors.items()
            # The driver makes and deletes volumes by itself: no image of this name exists.
            if "container" in body
            and not body["container"].get("image", "").startswith("argostub/")
        },
        kinds={
            label: "volume"
            if body.get("container", {}).get("image", "").startswith("argostub/")
            else next((kind for kind in _KINDS if kind in body), "")
            for label, body in executors.items()
        },
        settings={label: place for label, (place, _) in settings.items()},
        misfits=misfits,
        repeated=repeated,
        surplus=surplus,
        target=guess(pipeline, executors, bool(settings), found.around),
        allow_images=allow_images,
        callers=callers,
    )


def _key(tree: Tree, *names: str) -> str:
    return next((name for name in names if name in tree), names[0])


def _settings(found: Found, misfits: list[Misfit]) -> Iterator[tuple[str, tuple[Place, Tree]]]:
    """Yield the Kubernetes settings of every executor that has any."""
    platforms = fit(found.platform, "PlatformSpec", found.platform_keys, misfits)
    for name, platform in platforms.get("platforms", {}).items():
        for label, tree in platform.get("deploymentSpec", {}).get("executors", {}).items():
            keys = (*found.platform_keys, "platforms", name, "deploymentSpec", "executors", label)
            if name == "kubernetes":
                tree = fit(tree, "KubernetesExecutorConfig", keys, misfits)
            yield label, (Place(label, keys), tree if name == "kubernetes" else {})


def _components(pipeline: Tree, start: Keys) -> dict[str, Component]:
    """Return the components that run; KFP never looks at the others."""
    bodies = pipeline.get("components", {})
    components = {"root": _component("root", pipeline.get("root", {}), (*start, "root"))}
    waiting = [components["root"]]
    while waiting:
        for task in waiting.pop().tasks.values():
            name = task.component
            if name in bodies and name not in components:
                components[name] = _component(name, bodies[name], (*start, "components", name))
                waiting.append(components[name])
    return components


def _executor(place: Place, container: Tree, settings: tuple[Place, Tree]) -> Executor:
    return Executor(
        place=place,
        settings=settings[0],
        image=container.get("image", ""),
        command=container.get("command", []),
        args=container.get("args", []),
        env={e.get("name", ""): e.get("value", "") for e in container.get("env", [])},
        resources=container.get("resources", {}),
        platform=settings[1],
    )


def _component(name: str, body: Tree, keys: Keys) -> Component:
    dag = body.get("dag", {})
    given, made = body.get("inputDefinitions", {}), body.get("outputDefinitions", {})
    types = {n: d.get("parameterType", "") for n, d in made.get("parameters", {}).items()}
    return Component(
        name=name,
        place=Place(name, keys),
        executor=body.get("executorLabel", ""),
        parameters=given.get("parameters", {}),
        artifacts=given.get("artifacts", {}),
        makes=dict.fromkeys(made.get("artifacts", {}), "") | types,
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
    trigger, caching = task.get("triggerPolicy", {}), task.get("cachingOptions", {})
    inputs = task.get("inputs", {})
    return Task(
        place=place,
        name=name,
        title=task.get("taskInfo", {}).get("name", ""),
        component=task.get("componentRef", {}).get("name", ""),
        around=around,
        inputs={
            each: _input(tree, kind == "artifacts")
            for kind in ("artifacts", "parameters")
            for each, tree in inputs.get(kind, {}).items()
        },
        after=set(task.get("dependentTasks", [])),
        condition=trigger.get("condition", ""),
        item=iterator.get("itemInput", ""),
        items=items.get("inputParameter", items.get("inputArtifact", "")),
        constants=items.get("raw", ""),
        over_artifacts="artifactIterator" in task,
        retries=_whole(task["retryPolicy"].get("maxRetryCount")) if "retryPolicy" in task else None,
        cached=bool(caching.get("enableCache")),
        cache_key=caching.get("cacheKey", ""),
        always=trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
    )


def _whole(value: Any) -> int:
    return int(value or 0)


def _input(tree: Tree, artifact: bool) -> Input:
    made = tree.get("taskOutputParameter") or tree.get("taskOutputArtifact", {})
    status = tree.get("taskFinalStatus", {})
    value = tree.get("runtimeValue", {})
    constant = value.get("constant", NOTHING)
    for kind in ("stringValue", "intValue", "doubleValue"):  # of schema 2.0.0
        constant = value.get("constantValue", {}).get(kind, constant)
    return Input(
        around=tree.get("componentInputParameter") or tree.get("componentInputArtifact") or "",
        producer=made.get("producerTask", status.get("producerTask", "")),
        output=made.get("outputParameterKey", made.get("outputArtifactKey", "")),
        status=bool(status),
        constant=constant,
        selected="parameterExpressionSelector" in tree,
        artifact=artifact,
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
