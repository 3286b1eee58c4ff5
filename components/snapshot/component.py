"""The snapshot stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["snapshot"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def snapshot(
    prompts: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    config: dict,
    responses: dsl.Output[dsl.Dataset],
):
    """Sample the base student's own answers, once: the rejected side of the pairs."""
    from soda import launch

    made = launch(
        "snapshot",
        inputs={"prompts": prompts.path, "model": model.path},
        config=config,
        out=responses.path,
    )
    responses.metadata.update(digest=made.digest, rows=made.manifest["rows"])
