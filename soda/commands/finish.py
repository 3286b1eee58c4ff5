"""What a pipeline does last, however it ended."""

from collections.abc import Mapping
from typing import Any

from soda.commands.watch import release
from soda.errors import SodaError
from soda.kubernetes.notify import notify
from soda.progress import say

__all__ = ["finish"]


def finish(
    pipeline: str,
    *,
    state: str,
    error: str,
    register_config: Mapping[str, Any],
    store: str,
    run: str,
    ui: str,
) -> None:
    """Send one message about the run; if it failed, let another run have its teacher.

    Args:
        pipeline: what ran.
        state: how it ended: SUCCEEDED, FAILED, CANCELLED.
        error: why, if it failed.
        register_config: the model's name and registry.
        store: where runs keep what they share.
        run: the run's id.
        ui: address of Kubeflow's UI, for the link; "" for none.
    """
    name, registry = register_config.get("name", ""), register_config.get("registry", "")
    if state != "SUCCEEDED" and store and name:
        try:
            release(name, store, run)
        except SodaError as problem:
            say(f"finish: {problem}")
    links = {
        "run": f"{ui.rstrip('/')}/#/runs/details/{run}" if ui else "",
        "registry": f"{registry}/{name}" if registry else "",
    }
    notify(f"{pipeline} {name}".strip(), state, error, links)
