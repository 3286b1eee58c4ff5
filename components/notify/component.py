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
    ui_url: str = "",
):
    """Send one message about a run's end, whatever it was, to the webhook in SODA_NOTIFY_URL.

    How it ended, its steps have left in the store, under the run's id (SODA_RUN_ID).

    Args:
        status: How the run ended, as far as Kubeflow knows.
        pipeline: What ran.
        recipe: Values of every step; of register, the model's name and registry are told.
        store: Where runs keep what they share.
        ui_url: Address of Kubeflow's UI, for the link.
    """
    from soda.commands.notify import notify

    notify(
        pipeline,
        state=status.state,
        error=status.error_message,
        register_config=recipe.get("register", {}),
        store=store,
        ui=ui_url,
    )
