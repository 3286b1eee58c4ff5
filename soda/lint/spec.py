"""What the rules look at: a compiled pipeline, its components, tasks and executors."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .shape import Keys, Misfit

__all__ = [
    "NOTHING",
    "PARAMETER",
    "TARGETS",
    "Component",
    "Executor",
    "Input",
    "Output",
    "Place",
    "Spec",
    "Target",
    "Task",
    "Tree",
]

Tree = dict[str, Any]
Target = Literal["kfp", "vertex", "local"]
TARGETS: tuple[Target, ...] = ("kfp", "vertex", "local")

NOTHING = object()  # no constant at all; None is one
PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


@dataclass(frozen=True)
class Place:
    """What a finding names, and the keys that lead there in the file."""

    name: str
    keys: Keys

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
    constant: Any = NOTHING  # or a value
    selected: bool = False  # a part of that, by an expression
    artifact: bool = False


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
    settings: Place  # where the platform's settings are
    image: str
    command: list[str]
    args: list[str]
    env: dict[str, str]
    resources: Tree
    platform: Tree

    @property
    def source(self) -> str:
        """The source code of a lightweight Python component, or ''."""
        python = "--function_to_execute" in self.args and self.command
        return self.command[-1] if python else ""

    @property
    def words(self) -> list[str]:
        """The command and its arguments, but for a component's source."""
        return (self.command[:-1] if self.source else self.command) + self.args

    @property
    def accelerator(self) -> str:
        """The type of accelerator that it asks for, or ''; of one that a parameter names, that."""
        wanted = self.resources.get("accelerator", {})
        count = str(wanted.get("resourceCount") or wanted.get("count") or "0")
        return str(wanted.get("resourceType") or wanted.get("type") or "") if count != "0" else ""

    @property
    def reads(self) -> set[str]:
        """The inputs that its image, resources and platform settings read."""
        tree = [self.image, self.resources, self.platform]
        return set(PARAMETER.findall(json.dumps(tree, default=str)))


@dataclass(frozen=True)
class Task:
    """One task of a group."""

    place: Place
    name: str
    title: str
    component: str
    around: str  # the component that holds it
    inputs: dict[str, Input]
    after: set[str]
    condition: str
    item: str  # of a loop: the input that holds the item
    items: str  # of a loop: the input that holds the list, '' for a constant
    constants: str  # of a loop over constants: their JSON
    over_artifacts: bool  # it is a loop over artifacts
    retries: int | None  # None: nothing is said about retries
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
    makes: dict[str, str]  # its outputs, and the types of those that are parameters
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
    place: Place  # of the pipeline's name and description
    whole: Place
    tree: Tree  # as it was read
    version: str  # of the schema
    description: str
    components: dict[str, Component]  # those that run, 'root' among them
    executors: dict[str, Executor]  # those that start a pod: no importer, no volume of KFP's own
    kinds: dict[str, str]  # of all executors
    settings: dict[str, Place]  # what the platform has settings for
    misfits: list[Misfit]
    repeated: list[Keys]  # keys that stand twice
    surplus: list[tuple[str, Keys]]  # further documents of a kind that KFP takes one of
    target: Target  # that it seems to be made for
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

    def kind(self, task: Task) -> str:
        """Return what kind of executor a task has: 'container', 'importer', ...; '' for none."""
        component = self.components.get(task.component)
        return self.kinds.get(component.executor, "") if component else ""

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
