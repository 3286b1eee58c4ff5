"""The train stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["train"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def train(
    pairs: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    config: dict,
    student: dsl.Output[dsl.Model],
):
    """Train the student with DPO against its frozen self: SODA."""
    from soda import launch

    made = launch(
        "train", inputs={"pairs": pairs.path, "model": model.path}, config=config, out=student.path
    )
    student.metadata.update(digest=made.digest, rows=made.manifest["rows"])
