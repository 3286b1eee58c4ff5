"""Who is behind a teacher's name now: its entry in the endpoint's list, and what it says."""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

from soda.config import suggest
from soda.endpoint.asking import Request
from soda.endpoint.client import Busy, TeacherClient, Unanswered, open_session
from soda.errors import TeacherError
from soda.rows import digest
from soda.teacher.fingerprint import PROBES, compare, take_fingerprint

__all__ = ["difference", "find_model", "identity_of", "look_at"]

_TIMEOUT_SECONDS = 60.0
_NO_LIST = (404, 405, 501)
_LISTED = ("id", "created", "owned_by")  # what a new model behind the name may change


def find_model(base_url: str, model: str) -> dict[str, Any] | None:
    """Look a model up in the endpoint's list; one request, which costs nothing.

    Where the endpoint has no list, one short prompt is asked, so that a wrong key shows.

    Returns: its entry there, or None where the endpoint has no list.

    Raises:
        TeacherError: the endpoint cannot be reached, refuses the key, or does not have the model.
    """

    async def find(client: TeacherClient) -> dict[str, Any] | None:
        listed = await _find(client, model)
        if listed is None:
            message = {"role": "user", "content": PROBES[0]}
            try:
                await client.complete({"model": model, "messages": [message]})
            except (Busy, Unanswered) as error:
                raise TeacherError(f"{base_url}: expected an answer, found: {error}") from error
        return listed

    found: dict[str, Any] | None = asyncio.run(_with_client(base_url, find))
    return found


def look_at(base_url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Look a model up and ask the six probe prompts.

    Args:
        base_url: the endpoint.
        body: a request's fields but its messages.

    Returns: `endpoint`, `model`, `listed` (its entry, or None) and `fingerprint`.

    Raises:
        TeacherError: as `find_model`, or no probe was answered.
    """

    async def look(client: TeacherClient) -> dict[str, Any]:
        async def ask(request: Request) -> dict[str, Any]:
            return await client.complete(request.body)

        listed = await _find(client, body["model"])
        fingerprint = await take_fingerprint(ask, base_url, body)
        if not any(fingerprint["answers"]):
            raise TeacherError(f"{base_url}: expected an answer to a probe prompt, found none")
        return {
            "endpoint": base_url,
            "model": body["model"],
            "listed": listed,
            "fingerprint": fingerprint,
        }

    found: dict[str, Any] = asyncio.run(_with_client(base_url, look))
    return found


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say in what a teacher differs from one that was looked at earlier; None if in nothing."""
    for key in ("endpoint", "model"):
        if before[key] != now[key]:
            return f"the {key} is '{now[key]}', before '{before[key]}'"
    old, new = before["listed"], now["listed"]
    if old and new and old != new:
        return f"the endpoint lists it as {json.dumps(new)}, before {json.dumps(old)}"
    if before["fingerprint"]:
        return compare(before["fingerprint"], now["fingerprint"])
    return None


def identity_of(seen: Mapping[str, Any]) -> str:
    """Return a short name for what was seen of a teacher."""
    said = {key: seen["fingerprint"][key] for key in ("model", "fingerprint", "answers")}
    return digest({**seen, "fingerprint": said})[:12]


async def _with_client(base_url: str, work: Any) -> Any:
    key = os.environ.get("SODA_TEACHER_API_KEY")
    async with open_session(_TIMEOUT_SECONDS) as session:
        try:
            client = TeacherClient(session, base_url, key)
        except ValueError as error:
            raise TeacherError(f"{base_url}: expected a URL, found: {error}") from error
        return await work(client)


async def _find(client: TeacherClient, model: str) -> dict[str, Any] | None:
    url = f"{client.base_url}/models"
    try:
        status, headers, text = await client.request("GET", url)
        if status in _NO_LIST:
            return None
        client.check(url, status, headers, text)
    except (Busy, Unanswered) as error:
        raise TeacherError(f"{url}: expected a list of models, found: {error}") from error
    try:
        entries = {entry["id"]: entry for entry in json.loads(text)["data"]}
    except (ValueError, LookupError, TypeError):
        return None
    if model not in entries:
        raise TeacherError(
            f"{url}: expected '{model}', which is not there; {suggest(model, entries)}"
        )
    return {key: entries[model].get(key) for key in _LISTED}
