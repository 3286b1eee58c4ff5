"""The choose-rejects stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["choose_rejects"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def choose_rejects(
    candidates: list,
    model: dsl.Input[dsl.Model],
    config: dict,
    responses: dsl.Output[dsl.Dataset],
    store: str = "",
):
    """Choose each prompt's rejected answer among those of several models, or of several draws.

    A GPU is of use where config.choose is least_likely or most_likely; otherwise none is needed.

    Args:
        candidates: Where the answers lie - the output place of each task that answered.
        model: The warmed-up student, whose likelihoods decide; without them, any student.
        config: Values of the stage choose-rejects.
        responses: The chosen answers, and after them the others.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch

    made = launch(
        "choose-rejects",
        inputs={"candidates": candidates, "model": model.path},
        config=config,
        out=responses.path,
        store=store,
    )
    responses.metadata.update(digest=made.digest, rows=made.manifest.rows)
