"""The import-student stage as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["import_student"]


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def import_student(
    config: dict,
    model: dsl.Output[dsl.Model],
    store: str = "",
):
    """Bring the student in as safetensors, with its tokenizer and chat template.

    Args:
        config: Values of the stage import-student; the revision or digest is among them.
        model: The base student.
        store: Where journals, unfinished work and finished artifacts lie: gs://, s3:// or a folder.
    """
    from soda.launch import launch

    made = launch("import-student", inputs={}, config=config, out=model.path, store=store)
    model.metadata.update(digest=made.digest, rows=made.manifest.rows)
