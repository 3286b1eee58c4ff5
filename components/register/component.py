"""The register stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["register"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register(
    model: dsl.Input[dsl.Model],
    report: dsl.Input[dsl.Artifact],
    config: dict,
    registration: dsl.Output[dsl.Artifact],
):
    """Register a model as a new version; crown it if its report passes every check."""
    from soda import launch

    made = launch(
        "register",
        inputs={"model": model.path, "report": report.path},
        config=config,
        out=registration.path,
    )
    registration.metadata.update(digest=made.digest, rows=made.manifest["rows"])
