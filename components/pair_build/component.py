"""The pair-build stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["pair_build"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def pair_build(
    teacher: dsl.Input[dsl.Dataset],
    student: dsl.Input[dsl.Dataset],
    config: dict,
    pairs: dsl.Output[dsl.Dataset],
    store: str = "",
):
    """Make pairs: the teacher's answer is chosen, the student's own is rejected.

    Args:
        teacher: The teacher's answers.
        student: The student's answers.
        config: Values of the stage pair-build.
        pairs: Preference pairs, which datasets and TRL load.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch

    made = launch(
        "pair-build",
        inputs={"teacher": teacher.path, "student": student.path},
        config=config,
        out=pairs.path,
        store=store,
    )
    pairs.metadata.update(digest=made.digest, rows=made.manifest.rows)
