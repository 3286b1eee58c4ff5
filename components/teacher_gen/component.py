"""The teacher-gen stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["teacher_gen"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def teacher_gen(
    prompts: dsl.Input[dsl.Dataset],
    config: dict,
    responses: dsl.Output[dsl.Dataset],
    overrides: dict = {},  # noqa: B006 - KFP reads it and never changes it
):
    """Ask the teacher every prompt: the chosen side of the pairs.

    Several tasks may share the work: a ParallelFor over [{"shard": "1/2"}, {"shard": "2/2"}] gives
    each its overrides. A task without any, after them, finds all answers in the store.
    """
    from soda import launch

    made = launch(
        "teacher-gen",
        inputs={"prompts": prompts.path},
        config={**config, **overrides},
        out=responses.path,
    )
    responses.metadata.update(digest=made.digest, rows=made.manifest["rows"])
