"""The judge stage as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl

from .. import images

__all__ = ["judge"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def judge(
    report: dsl.Input[dsl.Artifact],
    config: dict,
    judged: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    store: str = "",
) -> NamedTuple("Made", [("place", str)]):
    """Let a judge compare the trained student with the base, the champion and other students.

    Args:
        report: Every figure, and the answers side by side.
        config: Values of the stage judge.
        judged: The report with the judge's win rates.
        page: The report as a page.
        summary: The report in a few lines.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.

    Returns:
        place: Its address in the store, for a step that collects several.
    """
    from soda.launch import launch, place_in_store, show

    made = launch(
        "judge", inputs={"report": report.path}, config=config, out=judged.path, store=store
    )
    judged.metadata.update(digest=made.digest, rows=made.manifest.rows)
    show(made, {"report.html": page.path, "report.md": summary.path})
    return (place_in_store(made),)
