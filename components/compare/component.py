"""The compare stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["compare"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def compare(
    soda: dsl.Input[dsl.Artifact],
    seqkd: dsl.Input[dsl.Artifact],
    gad: dsl.Input[dsl.Artifact],
    config: dict,
    comparison: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    store: str = "",
):
    """Put SODA, SeqKD and GAD side by side, as the paper does.

    Args:
        soda: The report of SODA's student.
        seqkd: The report of SeqKD's student.
        gad: The report of GAD's student.
        config: Values of the stage compare, which has none.
        comparison: Every figure of the three.
        page: The comparison as a page.
        summary: The comparison as a table.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch, show

    inputs = {"soda": soda.path, "seqkd": seqkd.path, "gad": gad.path}
    made = launch("compare", inputs=inputs, config=config, out=comparison.path, store=store)
    comparison.metadata.update(digest=made.digest)
    show(made, dict(zip(made.PAGES, [page.path, summary.path], strict=True)))
