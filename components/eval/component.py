"""The eval stage as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl

from .. import images

__all__ = ["eval"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def eval(
    model: dsl.Input[dsl.Model],
    warmed: dsl.Input[dsl.Model],
    base: dsl.Input[dsl.Model],
    teacher: dsl.Input[dsl.Dataset],
    pairs: dsl.Input[dsl.Dataset],
    config: dict,
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    answers: dsl.Output[dsl.ClassificationMetrics],
    store: str = "",
) -> NamedTuple("Made", [("place", str)]):
    """Measure the base student, the warmed-up one and the trained one, on held-out prompts.

    Args:
        model: The trained student.
        warmed: The student that the last training started from.
        base: The base student.
        teacher: The teacher's answers.
        pairs: Preference pairs.
        config: Values of the stage eval.
        report: Every figure, and the answers side by side.
        page: The report as a page.
        summary: The report in a few lines.
        metrics: The figures after training.
        answers: Checkable answers, right and wrong; rows before training, columns after.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.

    Returns:
        place: Its address in the store, for a step that collects several.
    """
    from soda.launch import launch, place_in_store, show

    models = {"model": model.path, "warmed": warmed.path, "base": base.path}
    inputs = {**models, "teacher": teacher.path, "pairs": pairs.path}
    made = launch("eval", inputs=inputs, config=config, out=report.path, store=store)
    report.metadata.update(digest=made.digest, rows=made.manifest.rows)
    show(made, {"report.html": page.path, "report.md": summary.path})
    metrics.metadata.update(made.numbers())
    answers.log_confusion_matrix(["right", "wrong"], made.answers_right())
    return (place_in_store(made),)
