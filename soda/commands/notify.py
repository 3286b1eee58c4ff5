"""A pipeline's last step, however it ended: one message, and a failed run's teacher is let go.

The message has the form that Slack and Mattermost take.
"""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from soda.commands.watch import release
from soda.errors import SodaError
from soda.escape import escape_chat, is_open_to_others
from soda.progress import say

__all__ = ["notify", "post_message"]

_TIMEOUT_SECONDS = 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook answers by itself; whoever it points to is not told."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
_MARKS = {"SUCCEEDED": "✓", "FAILED": "✗"}


def notify(
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
        state: how it ended, as Kubeflow says: SUCCEEDED, FAILED, CANCELLED.
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
            say(f"notify: {problem}")
    lines = [f"{_MARKS.get(state, '·')} {f'{pipeline} {name}'.strip()}: {state.lower()}"]
    lines += [" ".join(error.split())[:500]] if error else []
    lines += [f"run: {ui.rstrip('/')}/#/runs/details/{run}"] if ui else []
    lines += [f"registry: {registry}/{name}"] if registry else []
    post_message("\n".join(lines))


def post_message(text: str) -> None:
    """Post a message to SODA_NOTIFY_URL; without one it is only printed, and no failure raises."""
    say(f"notify: {text}")
    url = os.environ.get("SODA_NOTIFY_URL", "").strip()
    if not url:
        return
    # The address holds its own password: it is in no message.
    if not url.startswith(("https://", "http://")):
        say("notify: SODA_NOTIFY_URL: expected http:// or https://, found another address")
        return
    if is_open_to_others(url):
        say("warning: notify: SODA_NOTIFY_URL is plain http: others can read it; use https")
    try:
        request = urllib.request.Request(
            url,
            data=json.dumps({"text": escape_chat(text)}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with _OPENER.open(request, timeout=_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as refusal:
        refusal.close()
        say(f"notify: the webhook in SODA_NOTIFY_URL answered {refusal.code}")
    except (OSError, ValueError, http.client.HTTPException) as failure:
        reason = getattr(failure, "reason", None) or type(failure).__name__
        say(f"notify: the webhook in SODA_NOTIFY_URL cannot be reached: {reason}")
