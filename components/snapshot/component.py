"""The snapshot stage as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl

from .. import images

__all__ = ["snapshot"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def snapshot(
    prompts: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    config: dict,
    responses: dsl.Output[dsl.Dataset],
    store: str = "",
    shard: str = "",
) -> NamedTuple("Made", [("place", str)]):
    """Sample the base student's own answers, once: the rejected side of the pairs.

    Several tasks may share the work, a shard each; a task for the whole after them finds all
    answers in the store.

    Args:
        prompts: The prompts.
        model: The base student.
        config: Values of the stage snapshot.
        responses: The student's answers.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
        shard: Which part of the prompts, such as 2/8; empty leaves it to the config.

    Returns:
        place: Its address in the store, for a step that collects several.
    """
    from soda.launch import launch, place_in_store

    made = launch(
        "snapshot",
        inputs={"prompts": prompts.path, "model": model.path},
        config=config,
        overrides={"shard": shard},
        out=responses.path,
        store=store,
    )
    responses.metadata.update(digest=made.digest, rows=made.manifest.rows)
    return (place_in_store(made),)
