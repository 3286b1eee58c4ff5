"""The eval stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["eval"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def eval(
    model: dsl.Input[dsl.Model],
    base: dsl.Input[dsl.Model],
    teacher: dsl.Input[dsl.Dataset],
    pairs: dsl.Input[dsl.Dataset],
    config: dict,
    report: dsl.Output[dsl.Artifact],
):
    """Measure the student before and after training, on held-out prompts."""
    from soda import launch

    made = launch(
        "eval",
        inputs={
            "model": model.path,
            "base": base.path,
            "teacher": teacher.path,
            "pairs": pairs.path,
        },
        config=config,
        out=report.path,
    )
    report.metadata.update(digest=made.digest, rows=made.manifest["rows"])
