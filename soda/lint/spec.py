"""What the rules look at: a compiled pipeline, its components, tasks and executors."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Component",
    "Executor",
    "Input",
    "Output",
    "Place",
    "Spec",
    "Task",
    "Tree",
]

Tree = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]")


@dataclass(frozen=True)
class Place:
    """What a finding names, and the keys that lead there in the file."""

    name: str
    keys: tuple[str, ...]

    def at(self, *keys: str) -> "Place":
        """Return a place further in, under the same name."""
        return Place(self.name, self.keys + keys)


@dataclass(frozen=True)
class Input:
    """Where one input of a task comes from."""

    around: str = ""  # the input of the component around the task
    producer: str = ""  # or the task
    output: str = ""  # and which of its outputs
    status: bool = False  # or how that task ended
    constant: Any = None  # or a value


@dataclass(frozen=True)
class Output:
    """Where one output of a group of tasks comes from."""

    name: str
    producer: str
    output: str


@dataclass(frozen=True)
class Executor:
    """What runs in a pod, and the platform's settings for it."""

    place: Place
    image: str
    command: list[str]
    args: list[str]
    env: dict[str, str]
    resources: Tree
    platform: Tree

    @property
    def accelerated(self) -> bool:
        """Whether it asks for a GPU or its like."""
        accelerator = self.resources.get("accelerator") or {}
        return str(accelerator.get("resourceCount", accelerator.get("count", 0))) != "0"

    @property
    def reads(self) -> set[str]:
        """The inputs that its image, resources and platform settings read."""
        tree = [self.image, self.resources, self.platform]
        return set(_PLACEHOLDER.findall(json.dumps(tree, default=str)))


@dataclass(frozen=True)
class Task:
    """One task of a group."""

    place: Place
    name: str
    component: str
    around: str  # the component that holds it
    inputs: dict[str, Input]
    after: set[str]
    condition: str
    item: str  # of a loop: the input that holds the item
    items: str  # of a loop: the input that holds the list, '' for a constant
    retries: bool
    cached: bool
    cache_key: str
    always: bool  # it runs even where a task before it failed


@dataclass(frozen=True)
class Component:
    """What a task runs: an executor, or a group of tasks."""

    name: str
    place: Place
    executor: str
    parameters: dict[str, Tree]
    artifacts: dict[str, Tree]
    produces: set[str]
    tasks: dict[str, Task]
    outputs: list[Output]

    @property
    def receives(self) -> set[str]:
        """The names of its inputs."""
        return self.parameters.keys() | self.artifacts.keys()


@dataclass(frozen=True)
class Spec:
    """One compiled pipeline or component."""

    name: str
    place: Place
    description: str
    components: dict[str, Component]  # 'root' among them
    executors: dict[str, Executor]  # those that start a pod: no importer, no volume of KFP's own
    labels: set[str]  # of all executors
    settings: dict[str, Place]  # what the platform has settings for
    allow_images: tuple[str, ...] = ()
    callers: dict[str, list[Task]] = field(default_factory=dict)  # component -> tasks that run it

    @property
    def tasks(self) -> Iterator[Task]:
        """Every task."""
        return (task for each in self.components.values() for task in each.tasks.values())

    @property
    def pods(self) -> Iterator[tuple[Task, Executor]]:
        """Every task that starts a pod."""
        for task in self.tasks:
            component = self.components.get(task.component)
            if component and component.executor in self.executors:
                yield task, self.executors[component.executor]

    @property
    def root(self) -> Component:
        """The pipeline itself."""
        return self.components["root"]

    @property
    def is_component(self) -> bool:
        """Whether it is one component, compiled by itself: nothing can be set on its task yet."""
        return [task.name for task in self.root.tasks.values()] == [self.name] and not self.settings

    def groups(self, task: Task) -> list[Task]:
        """Return the tasks around a task: conditions, loops, exit handlers, pipelines."""
        found: list[Task] = []
        waiting = list(self.callers.get(task.around, []))
        while waiting:
            group = waiting.pop()
            if group not in found:
                found.append(group)
                waiting += self.callers.get(group.around, [])
        return found
