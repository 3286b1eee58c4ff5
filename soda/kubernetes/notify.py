"""One message about a run's end, to a webhook, in the form that Slack and Mattermost take."""

import http.client
import json
import os
import urllib.error
import urllib.request

from soda.progress import say

__all__ = ["notify"]

_TIMEOUT_SECONDS = 20
_MARKS = {"SUCCEEDED": "✓", "FAILED": "✗"}


def notify(pipeline: str, state: str, error: str, links: dict[str, str]) -> None:
    """Post one message to SODA_NOTIFY_URL; a failure is said and fails nothing.

    Args:
        pipeline: what ran.
        state: how it ended, as Kubeflow says: SUCCEEDED, FAILED, CANCELLED.
        error: why, if it failed.
        links: name -> address; empty ones are left out.
    """
    lines = [f"{_MARKS.get(state, '·')} {pipeline}: {state.lower()}"]
    lines += [" ".join(error.split())[:500]] if error else []
    lines += [f"{name}: {address}" for name, address in links.items() if address]
    text = "\n".join(lines)
    say(f"notify: {text}")
    url = os.environ.get("SODA_NOTIFY_URL", "").strip()
    if not url:
        return
    # The address holds its own password: it is in no message.
    if not url.startswith(("https://", "http://")):
        say("notify: SODA_NOTIFY_URL: expected http:// or https://, found another address")
        return
    try:
        request = urllib.request.Request(
            url,
            data=json.dumps({"text": text}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as refusal:
        refusal.close()
        say(f"notify: the webhook in SODA_NOTIFY_URL answered {refusal.code}")
    except (OSError, ValueError, http.client.HTTPException) as failure:
        reason = getattr(failure, "reason", None) or type(failure).__name__
        say(f"notify: the webhook in SODA_NOTIFY_URL cannot be reached: {reason}")
