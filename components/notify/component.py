"""The notification at the end of a run as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["notify"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def notify(
    status: dsl.PipelineTaskFinalStatus,
    pipeline: str,
    recipe: dict,
    store: str,
    run: str,
    ui_url: str = "",
):
    """Send one message about a run's end, whatever it was, to the webhook in SODA_NOTIFY_URL.

    Args:
        status: How the run ended.
        pipeline: What ran.
        recipe: Values of every step; of register, the model's name and registry are told.
        store: Where runs keep what they share.
        run: This run's id.
        ui_url: Address of Kubeflow's UI, for the link.
    """
    from soda.commands.notify import notify

    notify(
        pipeline,
        state=status.state,
        error=status.error_message,
        register_config=recipe.get("register", {}),
        store=store,
        run=run,
        ui=ui_url,
    )
