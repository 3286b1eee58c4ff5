"""The register stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["register"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register(
    model: dsl.Input[dsl.Model],
    report: dsl.Input[dsl.Artifact],
    config: dict,
    registration: dsl.Output[dsl.Artifact],
    card: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    store: str = "",
):
    """Register a model as a new version; crown it if its report passes every check.

    Args:
        model: The trained student.
        report: Its figures.
        config: Values of the stage register.
        registration: Which version it became, and whether it is the champion.
        card: The model card.
        metrics: The version, whether it is the champion (1 or 0), and how many checks it failed.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch, show

    inputs = {"model": model.path, "report": report.path}
    made = launch("register", inputs=inputs, config=config, out=registration.path, store=store)
    registration.metadata.update(digest=made.digest, **made.facts())
    metrics.metadata.update(made.numbers())
    show(made, {made.CARD: card.path})
