"""The audit stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["audit"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def audit(
    pairs: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Dataset],
    config: dict,
    kept: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    store: str = "",
):
    """Keep the pairs that are fit for training; stop where the teacher is not clearly better.

    Args:
        pairs: Preference pairs.
        teacher: The teacher's answers.
        config: Values of the stage audit.
        kept: The pairs that are left, and what was found.
        page: What was found, as a page.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch, show

    made = launch(
        "audit",
        inputs={"pairs": pairs.path, "teacher": teacher.path},
        config=config,
        out=kept.path,
        store=store,
    )
    kept.metadata.update(digest=made.digest, rows=made.manifest.rows)
    show(made, {"audit.html": page.path})
