"""The three pipelines: distill a teacher, refresh when it is new, compare the methods."""

from types import SimpleNamespace
from typing import Any

from kfp import dsl

from soda_components.compare.component import compare

from ..parameters import make_pipeline
from .steps import Steps

__all__ = ["PIPELINES", "build"]

_TEXTS = {
    "distill": "Distil a teacher, reached only through an API, into a small student, and register "
    "it.",
    "refresh": "Look whether the teacher is new; if it is, ask it everything, train the student "
    "anew, and register it.",
    "compare": "Train one student with SODA, SeqKD and GAD on the same answers, and put them side "
    "by side.",
}
PIPELINES = tuple(_TEXTS)


def build(name: str, *, store: str = "", volume: bool = False, nodes: bool = False) -> Any:
    """Return a pipeline.

    Args:
        name: distill, refresh or compare.
        store: where journals, unfinished work and finished artifacts lie: the default of the
            run's parameter; "": a run has to say it.
        volume: mount a volume for the store, the claim `store_claim`.
        nodes: train on several nodes, as a TrainJob; needs a volume that all nodes share.
    """

    def distill(given: SimpleNamespace) -> None:
        steps = Steps(given, volume=volume)
        with dsl.ExitHandler(steps.notify("soda-distill", given.recipe_register)):
            checked = steps.preflight(given.train_nodes if nodes else 1)
            _train_and_register(steps, steps.pairs(checked, given.teacher_identity))

    def refresh(given: SimpleNamespace) -> None:
        steps = Steps(given, volume=volume)
        with dsl.ExitHandler(steps.notify("soda-refresh", given.recipe_register)):
            watched = steps.watch()
            with dsl.If(watched.outputs["Output"] != "unchanged", name="new teacher"):
                checked = steps.preflight(given.train_nodes if nodes else 1)
                made = steps.pairs(checked, watched.outputs["identity"])
                _train_and_register(steps, made)

    def compare_methods(given: SimpleNamespace) -> None:
        steps = Steps(given, volume=volume)
        with dsl.ExitHandler(steps.notify("soda-compare", {})):
            made = steps.pairs(steps.preflight(), given.teacher_identity)
            warmed = steps.warm_up(made)
            soda = steps.train(made, warmed, title="Train: soda", overrides=given.compare_soda)
            gad = steps.train(made, made.base, title="Train: gad", overrides=given.compare_gad)
            trained = {"soda": (warmed, soda), "seqkd": (warmed, warmed), "gad": (made.base, gad)}
            reports = {
                method: steps.measure(made, *both, title=f"Measure: {method}").outputs["report"]
                for method, both in trained.items()
            }
            task = compare(**reports, config={}, store=given.store)
            steps.place.on_cpu(task).set_display_name("Compare")

    def _train_and_register(steps: Steps, made: Any) -> None:
        given = steps.given
        if nodes:
            config = given.recipe_warm_up
            warmed = steps.train_on_nodes(
                made.teacher.outputs["responses"], made.base, config, "Warm up"
            )
            trained = steps.train_on_nodes(made.pairs.output, warmed, given.recipe_train, "Train")
        else:
            warmed = steps.warm_up(made)
            trained = steps.train(made, warmed)
        steps.register(trained, steps.measure(made, warmed, trained))

    leave_out = [] if volume else ["store_claim"]
    leave_out += [] if nodes and name != "compare" else ["train_"]
    leave_out += ["teacher_identity"] if name == "refresh" else ["watch_"]
    # GAD trains on one GPU, and times compare on the same hardware only
    compared = ["recipe_register", "register_secret", "gpu_count"]
    leave_out += compared if name == "compare" else ["compare_"]
    body = {"distill": distill, "refresh": refresh, "compare": compare_methods}[name]
    return make_pipeline(
        f"soda-{name}", _TEXTS[name], body, store=store, volume=volume, leave_out=leave_out
    )
