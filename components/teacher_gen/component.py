"""The teacher-gen stage as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl

from .. import images

__all__ = ["teacher_gen"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def teacher_gen(
    prompts: dsl.Input[dsl.Dataset],
    config: dict,
    responses: dsl.Output[dsl.Dataset],
    store: str = "",
    shard: str = "",
    identity: str = "",
) -> NamedTuple("Made", [("place", str)]):
    """Ask the teacher every prompt: the chosen side of the pairs.

    Several tasks may share the work, a shard each; a task for the whole after them finds all
    answers in the store.

    Args:
        prompts: The prompts.
        config: Values of the stage teacher-gen.
        responses: The teacher's answers.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
        shard: Which part of the prompts, such as 2/8; empty leaves it to the config.
        identity: Which teacher is behind the name; empty leaves it to the config.

    Returns:
        place: Its address in the store, for a step that collects several.
    """
    from soda.launch import launch, place_in_store

    made = launch(
        "teacher-gen",
        inputs={"prompts": prompts.path},
        config=config,
        overrides={"identity": identity, "shard": shard},
        out=responses.path,
        store=store,
    )
    responses.metadata.update(digest=made.digest, rows=made.manifest.rows)
    return (place_in_store(made),)
