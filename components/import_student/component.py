"""The import-student stage as a Kubeflow component."""

from kfp import dsl

from components import images

__all__ = ["import_student"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def import_student(
    config: dict,
    model: dsl.Output[dsl.Model],
):
    """Bring the student in as safetensors, with its tokenizer and chat template."""
    from soda import launch

    made = launch("import-student", inputs={}, config=config, out=model.path)
    model.metadata.update(digest=made.digest, rows=made.manifest["rows"])
