"""The compare stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["compare"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def compare(
    reports: list,
    config: dict,
    comparison: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    store: str = "",
):
    """Put several trainings side by side, as the paper does.

    Args:
        reports: Where the reports lie - the output place of each measuring task.
        config: Values of the stage compare - a name for each report.
        comparison: Every figure of them all.
        page: The comparison as a page.
        summary: The comparison as a table.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch, show

    inputs = {"reports": reports}
    made = launch("compare", inputs=inputs, config=config, out=comparison.path, store=store)
    comparison.metadata.update(digest=made.digest)
    show(made, dict(zip(made.PAGES, [page.path, summary.path], strict=True)))
