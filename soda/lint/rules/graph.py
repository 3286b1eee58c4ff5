"""Rules about the graph: tasks, what they run, and what they wait for."""

from ..findings import Fault, Faults, Rule
from ..spec import Component, Spec, Task

__all__ = ["RULES"]


def _unknown_component(spec: Spec) -> Faults:
    """A task runs a component that the spec does not hold: the run is refused."""
    for task in spec.tasks:
        if task.component not in spec.components:
            yield Fault(task.place, f"runs '{task.component}', no component")


def _unknown_executor(spec: Spec) -> Faults:
    """A component names an executor that the spec does not hold: the run is refused."""
    for component in spec.components.values():
        if component.executor and component.executor not in spec.kinds:
            yield Fault(component.place, f"is run by '{component.executor}', no executor")


def _orphan_settings(spec: Spec) -> Faults:
    """Kubernetes settings name an executor that the spec does not hold.

    KFP ignores them in silence: no secret, no volume, no node selector.
    """
    for label in sorted(spec.settings.keys() - spec.kinds.keys()):
        yield Fault(spec.settings[label], "has platform settings, but is no executor")


def _unknown_dependency(spec: Spec) -> Faults:
    """A task waits for one that is not beside it: the run is refused.

    On KFP a task that runs even after a failure (an exit task, ignore_upstream_failure) becomes a
    hook of the task before it, so nothing can wait for it either.
    """
    for task in spec.tasks:
        beside = spec.components[task.around].tasks
        for name in sorted(task.after):
            if name not in beside:
                yield Fault(task.place.at("dependentTasks"), f"waits for '{name}', no task here")


def _after_exit_task(spec: Spec) -> Faults:
    """A task waits for, or reads from, one that runs even where a task before it failed.

    KFP makes such a task (an exit task, ignore_upstream_failure) a hook of the task before it.
    Argo then knows no task of its name, and refuses the run.
    """
    for task in spec.tasks:
        beside = spec.components[task.around].tasks
        for name in sorted(_before(task) & beside.keys()):
            if beside[name].always and not task.always:
                yield Fault(task.place, f"waits for '{name}', which KFP runs as a hook")


def _lost_exit_task(spec: Spec) -> Faults:
    """A task that is to run even after a failure does not run, or runs more than once.

    KFP makes it a hook of each task that it waits for. A task has one hook: of two exit tasks, one
    is dropped. Loops and importers have none. A hook on two tasks runs twice.
    """
    for component in spec.components.values():
        hooked: dict[str, Task] = {}
        for _, task in sorted(component.tasks.items()):
            if not task.always:
                continue
            before = sorted(task.after & component.tasks.keys())
            if len(before) != 1:
                yield Fault(task.place, f"runs once for each task before it: {len(before)} times")
            for name in before:
                other = component.tasks[name]
                loop = other.items or other.constants
                if loop or spec.kind(other) == "importer":
                    kind = "a loop" if loop else "an importer"
                    yield Fault(task.place, f"never runs: '{name}', {kind}, can have no hook")
                elif name in hooked:
                    yield Fault(hooked[name].place, f"never runs: '{task.name}' takes its place")
                hooked[name] = task


def _before(task: Task) -> set[str]:
    read = {each.producer for each in task.inputs.values() if not each.status}
    return (task.after | read) - {""}


def _task_cycle(spec: Spec) -> Faults:
    """Tasks wait for each other in a circle, or a component runs itself: no run can end."""
    for component in spec.components.values():
        if circle := _circle({name: _before(t) for name, t in component.tasks.items()}):
            place = component.tasks[circle[0]].place
            yield Fault(place, f"waits for itself: {' -> '.join(circle)}")
    inner = {c.name: {t.component for t in c.tasks.values()} for c in spec.components.values()}
    if circle := _circle(inner):
        yield Fault(spec.components[circle[0]].place, f"runs itself: {' -> '.join(circle)}")


def _circle(edges: dict[str, set[str]]) -> list[str]:
    """Return one circle of a graph, its first name again at its end, or []."""
    done: set[str] = set()
    for start in edges:
        path = [start]
        left = [sorted(edges[start])]
        while path and path[-1] not in done:
            if not left[-1]:
                done.add(path.pop())
                left.pop()
                continue
            name = left[-1].pop(0)
            if name in path:
                return [*path[path.index(name) :], name]
            if name in edges and name not in done:
                path.append(name)
                left.append(sorted(edges[name]))
    return []


def _not_on_kfp(spec: Spec) -> Faults:
    """The schema has it, and KFP's backend does not: the run is refused.

    Loops over artifacts, resolvers, Vertex custom jobs, a condition on an importer's own task, a
    group without tasks or with exit tasks alone, and a task without a name.
    """
    for task in spec.tasks:
        kind = spec.kind(task)
        if task.over_artifacts:
            yield Fault(task.place.at("artifactIterator"), "KFP has no loops over artifacts")
        if kind in ("resolver", "customJob"):
            yield Fault(task.place, f"KFP runs no {kind}")
        if kind == "importer" and task.condition:
            yield Fault(task.place.at("triggerPolicy"), "KFP takes no condition on an importer")
        if not task.title:
            yield Fault(task.place.at("taskInfo"), "KFP's driver takes no task without a name")
    for component in spec.components.values():
        if _is_group(spec, component) and all(t.always for t in component.tasks.values()):
            yield Fault(component.place.at("dag"), "has no task that KFP could run")


def _is_group(spec: Spec, component: Component) -> bool:
    return not component.executor and (component.name == "root" or component.name in spec.callers)


def _missing_dependency(spec: Spec) -> Faults:
    """A task reads what another makes, and does not wait for it in so many words.

    KFP's backend and Vertex add the wait by themselves. KFP's local runner does not: it may start
    the task too early, and fail. kfp 2.17 leaves it out for the list of a loop that ignores its
    items.
    """
    for task in spec.tasks:
        beside = spec.components[task.around].tasks
        read = {each.producer for each in task.inputs.values()} & beside.keys()
        for producer in sorted(read - task.after):
            yield Fault(task.place, f"reads what '{producer}' makes, and does not wait for it")


_AGAIN = "compile the pipeline again, with one version of kfp"

RULES = (
    Rule(
        "unknown-component",
        "error",
        "a task runs a component that is not in the spec: the run is refused",
        _AGAIN,
        _unknown_component,
    ),
    Rule(
        "unknown-executor",
        "error",
        "a component names an executor that is not in the spec: the run is refused",
        _AGAIN,
        _unknown_executor,
    ),
    Rule(
        "orphan-settings",
        "warning",
        "Kubernetes settings name no executor: secrets and volumes are left out in silence",
        _AGAIN,
        _orphan_settings,
        ("kfp",),
    ),
    Rule(
        "unknown-dependency",
        "error",
        "a task waits for one that is not there: the run is refused",
        _AGAIN,
        _unknown_dependency,
    ),
    Rule(
        "after-exit-task",
        "error",
        "a task waits for one that runs even after a failure: Argo refuses the run",
        "let it wait for the task before that one, or put both into one component",
        _after_exit_task,
        ("kfp",),
    ),
    Rule(
        "lost-exit-task",
        "warning",
        "a task that is to run even after a failure does not run, or runs more than once",
        "let one exit task wait for one task, or for a dsl.ExitHandler around several",
        _lost_exit_task,
        ("kfp",),
    ),
    Rule(
        "task-cycle",
        "error",
        "tasks wait for each other in a circle, or a component runs itself",
        "remove one of the dependencies",
        _task_cycle,
    ),
    Rule(
        "not-on-kfp",
        "error",
        "the spec uses what KFP's backend cannot run: the run is refused",
        "write it in another way; Vertex AI may take it (--target vertex)",
        _not_on_kfp,
        ("kfp",),
    ),
    Rule(
        "missing-dependency",
        "note",
        "kfp.local may start a task before what it reads is there",
        "read the item in the loop, or call .after(...) on a task of the loop with the list's",
        _missing_dependency,
        ("local",),
    ),
)
