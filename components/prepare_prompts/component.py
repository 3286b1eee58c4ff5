"""The prepare-prompts stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["prepare_prompts"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def prepare_prompts(
    config: dict,
    prompts: dsl.Output[dsl.Dataset],
    store: str = "",
):
    """Make prompts of a dataset: stable ids, duplicates out, a split that never moves.

    Args:
        config: Values of the stage prepare-prompts; the dataset's digest is among them.
        prompts: The prompts.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch

    made = launch("prepare-prompts", inputs={}, config=config, out=prompts.path, store=store)
    prompts.metadata.update(digest=made.digest, rows=made.manifest.rows)
