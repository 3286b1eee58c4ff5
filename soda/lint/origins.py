"""Where a value comes from, through every group of tasks in between."""

from .spec import Spec, Task

__all__ = ["origins"]


def origins(spec: Spec, task: Task, name: str) -> tuple[list[Task], list[str]]:
    """Return the tasks with an executor, and the pipeline's inputs, behind an input of a task."""
    made: list[Task] = []
    given: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    _follow(spec, task, name, (made, given), seen)
    return made, given


def _follow(
    spec: Spec,
    task: Task,
    name: str,
    found: tuple[list[Task], list[str]],
    seen: set[tuple[str, str, str]],
) -> None:
    """Go outwards from an input of a task."""
    source = task.inputs.get(name)
    if source is None or (task.around, task.name, name) in seen:
        return
    seen.add((task.around, task.name, name))
    if source.around and task.around == "root":
        found[1].append(source.around)
    elif source.around:
        for caller in spec.callers.get(task.around, []):
            _follow(spec, caller, source.around, found, seen)
            if source.around == caller.item:  # what the loop goes over
                _follow(spec, caller, caller.items, found, seen)
    if source.producer:
        _enter(spec, task.around, source.producer, source.output, found[0], seen)


def _enter(
    spec: Spec,
    around: str,
    producer: str,
    output: str,
    found: list[Task],
    seen: set[tuple[str, str, str]],
) -> None:
    """Go inwards to the task that makes an output."""
    task = spec.components[around].tasks.get(producer)
    component = spec.components.get(task.component) if task else None
    if task is None or component is None or (around, producer, f">{output}") in seen:
        return
    seen.add((around, producer, f">{output}"))
    if component.executor:
        found.append(task)
    for each in component.outputs:
        if each.name == output:
            _enter(spec, component.name, each.producer, each.output, found, seen)
