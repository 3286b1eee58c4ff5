"""The look at the teacher as a Kubeflow component."""

from typing import NamedTuple

from kfp import dsl

from .. import images

__all__ = ["watch"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def watch(
    teacher_gen_config: dict,
    register_config: dict,
    store: str,
    report: dsl.Output[dsl.Markdown],
    force: bool = False,
) -> NamedTuple("Watched", [("Output", str), ("identity", str)]):
    """Say whether the teacher is new, changed or unchanged beside the champion's.

    A few requests and no GPU. Of two runs that find the same teacher, one is told that it is new:
    which run this is, the environment says (SODA_RUN_ID).

    Args:
        teacher_gen_config: Values of the stage teacher-gen.
        register_config: Values of the stage register - the model's name and registry.
        store: Where runs keep what they share.
        report: What was found, and the evidence.
        force: Take the teacher as changed whatever is found.

    Returns:
        Output: What was found - new, changed or unchanged.
        identity: The value of that name for teacher-gen.
    """
    from soda.commands.watch import watch_step

    return watch_step(
        teacher_gen_config,
        register_config,
        store=store,
        force=force,
        report=report.path,
    )
