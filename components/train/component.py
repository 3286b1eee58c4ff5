"""The train stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["train"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def train(
    pairs: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    config: dict,
    student: dsl.Output[dsl.Model],
    store: str = "",
    gpus: int = 1,
    overrides: dict = {},  # noqa: B006 - KFP reads it and never changes it
):
    """Train the student in this pod: SODA, SeqKD or GAD, as the config's method says.

    Args:
        pairs: Preference pairs.
        model: The base student.
        config: Values of the stage train.
        student: The trained student.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
        gpus: How many processes share the work, a GPU each.
        overrides: Values over the config's, such as another method.
    """
    from soda.launch import launch

    made = launch(
        "train",
        inputs={"pairs": pairs.path, "model": model.path},
        config=config,
        overrides=overrides,
        out=student.path,
        store=store,
        processes=gpus,
    )
    student.metadata.update(digest=made.digest, rows=made.manifest.rows)
