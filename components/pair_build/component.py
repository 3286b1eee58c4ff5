"""The pair-build stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["pair_build"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def pair_build(
    teacher: dsl.Input[dsl.Dataset],
    student: dsl.Input[dsl.Dataset],
    config: dict,
    pairs: dsl.Output[dsl.Dataset],
):
    """Make pairs: the teacher's answer is chosen, the student's own is rejected."""
    from soda import launch

    made = launch(
        "pair-build",
        inputs={"teacher": teacher.path, "student": student.path},
        config=config,
        out=pairs.path,
    )
    pairs.metadata.update(digest=made.digest, rows=made.manifest["rows"])
