"""A pipeline's last step, however it ended: one message, and what a failed run holds is let go.

How it ended is read from what its steps left in the store, and from its Workflow: Kubeflow itself
says COMPLETE, RUNNING or FAILED, of a cancelled run too, and never why. The message has the form
that Slack and Mattermost take.
"""

import contextlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from soda.commands.watch import release
from soda.errors import SodaError
from soda.escape import escape_chat, is_open_to_others
from soda.kubernetes.trainjob import delete_job
from soda.kubernetes.workflow import RunState, look_at_workflow
from soda.progress import say
from soda.run_state import Step, forget_steps, read_steps, run_id

__all__ = ["Ending", "ending_of", "notify", "post_message"]

_TIMEOUT_SECONDS = 20
_LONGEST = 500  # characters of a reason
_AGAIN = "submit it again: it continues from what is in the store"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook answers by itself; whoever it points to is not told."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, in a sentence that a person can act on."""

    mark: str
    sentence: str
    is_good: bool


def notify(
    pipeline: str,
    *,
    state: str,
    error: str,
    register_config: Mapping[str, Any],
    store: str,
    ui: str,
) -> None:
    """Send one message about the run; if it failed, let another run have what it held.

    That is the teacher that it took, and a TrainJob that still trains.

    Args:
        pipeline: what ran.
        state: how it ended, as Kubeflow says.
        error: why, as Kubeflow says.
        register_config: the model's name and registry.
        store: where runs keep what they share.
        ui: address of Kubeflow's UI, for the link; "" for none.
    """
    name, registry = register_config.get("name", ""), register_config.get("registry", "")
    steps: list[Step] = []
    workflow = None
    with _saying_refusals():
        steps = read_steps(store, run_id())
    with _saying_refusals():
        workflow = look_at_workflow()
    ending = ending_of(steps, workflow, state, error)
    if not ending.is_good:
        with _saying_refusals():
            if store and name and run_id():
                release(name, store, run_id())
        for job in [step.facts["trainjob"] for step in steps if "trainjob" in step.facts]:
            with _saying_refusals():
                delete_job(job)
    lines = [f"{ending.mark} {f'{pipeline} {name}'.strip()}: {ending.sentence}"]
    lines += [f"run: {ui.rstrip('/')}/#/runs/details/{run_id()}"] if ui else []
    lines += [f"registry: {registry}/{name}"] if registry else []
    post_message("\n".join(lines))
    with _saying_refusals():  # a retry of the run begins with none
        forget_steps(store, run_id())


def ending_of(steps: list[Step], workflow: RunState | None, state: str, error: str) -> Ending:
    """Say how a run ended.

    Args:
        steps: what its steps left in the store.
        workflow: what its Workflow says; None where there is none.
        state: Kubeflow's word.
        error: Kubeflow's reason.
    """
    done = {step.name: step.facts for step in steps if step.state == "done"}
    at_work = [step.name for step in steps if step.state == "at work"]
    if "register" in done:
        return _registered(done["register"])
    if "compare" in done:
        return Ending("✓", "the comparison is ready", True)
    if (outcome := done.get("watch", {}).get("outcome")) in ("unchanged", "unclear"):
        evidence = "; ".join(done["watch"]["evidence"])
        return Ending("·", f"nothing new, the teacher is {outcome}: {evidence}"[:_LONGEST], True)
    if workflow is not None and workflow.cancelled:
        where = f" while {' and '.join(at_work)} was at work" if at_work else ""
        return Ending("■", f"cancelled{where}; {_AGAIN}", False)
    failed = [(step.name, step.error) for step in steps if step.state == "failed"]
    lost = workflow.failures if workflow is not None else []
    vanished = [(name, "its pod or its process was killed") for name in at_work]
    known = failed or [*lost, *vanished]
    if known:
        step, why = known[0]
        why = why or "no reason given"
        others = f" (and {len(known) - 1} more)" if len(known) > 1 and failed else ""
        advice = "" if failed else f"; {_AGAIN}"
        return Ending("✗", f"failed at {step}: {why}"[:_LONGEST] + others + advice, False)
    if state.upper() in ("COMPLETE", "SUCCEEDED"):
        return Ending("✓", "complete", True)
    why = " ".join(error.split())[:_LONGEST] or "no step said why: look at the run"
    return Ending("✗", f"{state.lower()}: {why}", False)


def _registered(facts: Mapping[str, Any]) -> Ending:
    version = f"version {facts['version']}"
    if facts["champion"]:
        return Ending("✓", f"{version} is the champion", True)
    failed = facts["failed_checks"]
    why = f"expected {', '.join(failed)}" if failed else "a newer version is the champion"
    return Ending("·", f"{version} is registered and is not the champion: {why}", True)


@contextlib.contextmanager
def _saying_refusals() -> Iterator[None]:
    """Say what went wrong and go on: the message matters most."""
    try:
        yield
    except SodaError as problem:
        say(f"notify: {problem}")


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
