"""The train stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["train"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def train(
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    config: dict,
    student: dsl.Output[dsl.Model],
    store: str = "",
    gpus: int = 1,
    overrides: dict = {},  # noqa: B006 - KFP reads it and never changes it
):
    """Train a student in this pod, by the method of the config: sft, dpo or gad.

    Args:
        data: Preference pairs, or the teacher's answers for the method sft.
        model: The student to start from, which is the reference too.
        config: Values of the stage train.
        student: The trained student.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
        gpus: How many processes share the work, a GPU each.
        overrides: Values over the config's, such as another method.
    """
    from soda.launch import launch

    made = launch(
        "train",
        inputs={"data": data.path, "model": model.path},
        config=config,
        overrides=overrides,
        out=student.path,
        store=store,
        processes=gpus,
    )
    student.metadata.update(digest=made.digest, rows=made.manifest.rows)
