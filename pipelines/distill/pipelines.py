"""The three pipelines: distill a teacher, refresh when it is new, compare variants."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from kfp import dsl

from ..form import make_form
from ..placement import VOLUME, Placement, Secrets
from .graph import Step
from .steps import Steps

__all__ = ["PIPELINES", "Fixed", "build"]

_TEXTS = {
    "distill": "Distil a teacher, reached only through an API, into a small student, and register "
    "it.",
    "refresh": "Look whether the teacher is new; if it is, ask it everything, train the student "
    "again, and register it.",
    "compare": "Train variants of one recipe on the same answers, and put them side by side.",
}
PIPELINES = tuple(_TEXTS)


@dataclass(frozen=True, slots=True)
class Fixed:
    """What is decided when a pipeline is compiled, and no parameter of a run.

    Args:
        volume: mount a volume for the store, the claim `claim`.
        nodes: train on several nodes, as a TrainJob; needs a volume that all nodes share.
        claim: the PersistentVolumeClaim.
        secrets: the names of the Secrets.
    """

    volume: bool = False
    nodes: bool = False
    claim: str = "soda-store"
    secrets: Secrets = field(default_factory=lambda: Secrets.parse({}))


def build(name: str, graph: list[Step], fixed: Fixed, defaults: dict[str, Any]) -> Any:
    """Return a pipeline and what its parameters are called inside of it.

    Args:
        name: distill, refresh or compare.
        graph: its steps.
        fixed: what no run can change.
        defaults: of the parameters.
    """

    def body(given: SimpleNamespace, values: dict[str, Any]) -> None:
        place = Placement(fixed.secrets, fixed.claim if fixed.volume else "")
        steps = Steps(given, values, place, nodes=fixed.nodes)
        with dsl.ExitHandler(steps.notify(f"soda-{name}"), name=name.capitalize()):
            if name != "refresh":
                steps.run(graph)
                return
            watched = steps.watch()
            with dsl.If(watched.outputs["Output"] != "unchanged", name="New teacher"):
                steps.run(graph, identity=watched.outputs["identity"])

    if fixed.volume:
        defaults = {"store": VOLUME, **defaults}
    left_out = set() if name == "refresh" else {"force"}
    left_out |= set() if fixed.nodes else {"train_nodes", "train_queue", "train_runtime"}
    values = {step.key: dict(step.values) for step in graph}
    return make_form(
        f"soda-{name}", _TEXTS[name], body, values=values, defaults=defaults, left_out=left_out
    )
