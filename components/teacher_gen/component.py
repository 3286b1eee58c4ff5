"""The teacher-gen stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["teacher_gen"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def teacher_gen(
    prompts: dsl.Input[dsl.Dataset],
    config: dict,
    responses: dsl.Output[dsl.Dataset],
):
    """Ask the teacher every prompt: the chosen side of the pairs."""
    from soda import launch

    made = launch(
        "teacher-gen", inputs={"prompts": prompts.path}, config=config, out=responses.path
    )
    responses.metadata.update(digest=made.digest, rows=made.manifest["rows"])
