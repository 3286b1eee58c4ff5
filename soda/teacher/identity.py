"""Who is behind a teacher's name now: its entry in the endpoint's list, and what it says."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from soda.config import suggest
from soda.endpoint.answer import Answer
from soda.endpoint.asker import Asker
from soda.endpoint.budget import Budget, Price
from soda.endpoint.client import Client, Endpoint, open_session
from soda.endpoint.envelope import End
from soda.endpoint.failures import Refused, Unanswered
from soda.endpoint.limits import Limits
from soda.endpoint.notes import Nothing
from soda.endpoint.standing import Standing
from soda.endpoint.waits import Waits
from soda.errors import EndpointError
from soda.rows import digest
from soda.teacher.fingerprint import PROBES, Fingerprint, Verdict, take_fingerprint, verdict
from soda.teacher.served import spelling

__all__ = ["Listed", "Look", "Proof", "difference", "look_at", "prove"]

_TIMEOUT_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0
_ATTEMPTS = 3
_UNDER_WAY = 6

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Listed:
    """What an endpoint's list says of a model and a new one behind the name may change."""

    id: str
    created: Any = None
    owned_by: Any = None


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a teacher at one time."""

    endpoint: str  # the address as it counts in keys
    model: str
    listed: Listed | None  # None: the endpoint has no list, or not this name in it
    fingerprint: Fingerprint | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read it back from its JSON form."""
        listed, fingerprint = value["listed"], value["fingerprint"]
        return cls(
            value["endpoint"],
            value["model"],
            listed and Listed(**listed),
            fingerprint and Fingerprint.from_json(fingerprint),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @property
    def identity(self) -> str:
        """A short name for what was seen."""
        seen = self.to_json()
        if self.fingerprint is not None:
            said = {key: seen["fingerprint"][key] for key in ("model", "fingerprint", "answers")}
            seen["fingerprint"] = said
        return digest(seen)[:12]


@dataclass(frozen=True, slots=True)
class Proof:
    """That a teacher takes requests of a recipe's kind."""

    listed: bool | None  # whether its name is in the endpoint's list; None: there is no list
    served: str | None  # who answered


def prove(endpoint: Endpoint, body: Mapping[str, Any]) -> Proof:
    """Send one real request of the recipe's kind, with room for a single token.

    A list of models is a hint only: names are spelled in several ways, lists have pages, and a key
    may open the list alone.

    Raises:
        EndpointError: the endpoint cannot be reached, or refuses key, model or sampling.
    """

    async def ask(client: Client) -> Proof:
        names = await _list(client)
        model = str(body["model"])
        asked = {**body, "messages": [{"role": "user", "content": PROBES[0]}]}
        limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        end = await _send(client, {**asked, limit: 1})
        if not _took(end) and isinstance(end, Answer | Refused):
            end = await _send(client, asked)  # some models want room to think
        if isinstance(end, EndpointError) and names and model not in names:
            raise EndpointError(f"{end}; {suggest(model, names)}") from end
        if isinstance(end, EndpointError):
            raise end
        if not isinstance(end, Answer) or not _took(end):
            found = end.detail if isinstance(end, Answer) else end
            raise EndpointError(f"{endpoint}: expected an answer, found: {found}")
        return Proof(None if names is None else _entry(names, model) is not None, end.model)

    return asyncio.run(_with_client(endpoint, ask))


def look_at(endpoint: Endpoint, body: Mapping[str, Any], waits: Waits | None = None) -> Look:
    """Look a model up and ask the probe prompts.

    Args:
        endpoint: where it is.
        body: a request's fields but its messages.

    Raises:
        EndpointError: it cannot be reached, refuses, or no probe was answered.
    """
    waits = waits or Waits(longest=5.0)
    identity = endpoint.address.identity

    async def look(client: Client) -> Look:
        caller, model = endpoint.caller, str(body["model"])
        names = await _list(client)
        entry = _entry(names or {}, model)
        pace = Limits(concurrency=_UNDER_WAY).pace(caller, waits)
        standing = Standing(caller, str(endpoint), waits, patience_seconds=_PATIENCE_SECONDS)
        budget = Budget(Price(), body, None, caller.name)
        asker = Asker(client, Nothing(), pace, budget, standing, waits)
        fingerprint = await take_fingerprint(
            lambda request: asker.ask(request, _ATTEMPTS), identity, body
        )
        if fingerprint is None:
            problems = ", ".join(asker.problems) or "refusals"
            raise EndpointError(
                f"{endpoint}: expected an answer to a probe prompt, found none: {problems}"
            )
        return Look(identity, model, entry, fingerprint)

    return asyncio.run(_with_client(endpoint, look))


def difference(before: Look, now: Look) -> Verdict:
    """Say whether a teacher is the one that was looked at earlier, and why."""
    for key in ("endpoint", "model"):
        one, other = getattr(before, key), getattr(now, key)
        if one != other:
            return Verdict("changed", f"the {key} is '{other}', before '{one}'")
    if before.listed and now.listed and before.listed != now.listed:
        one, other = json.dumps(asdict(before.listed)), json.dumps(asdict(now.listed))
        return Verdict("changed", f"the endpoint lists it as {other}, before {one}")
    if before.fingerprint and now.fingerprint:
        return verdict(before.fingerprint, now.fingerprint)
    return Verdict("unclear", "no probe was taken before: none compared")


async def _with_client(endpoint: Endpoint, work: Callable[[Client], Awaitable[Found]]) -> Found:
    async with open_session(_TIMEOUT_SECONDS) as session:
        return await work(Client(session, endpoint))


async def _send(client: Client, body: dict[str, Any]) -> End:
    try:
        return client.read(body, await client.send(body))
    except (Unanswered, EndpointError) as error:
        return error


def _took(end: End) -> bool:
    """Tell whether a request was taken: a token was had, or nothing but a filter objected."""
    return isinstance(end, Answer) and end.worked


async def _list(client: Client) -> dict[str, Listed] | None:
    """Return the first page of the endpoint's models by name; None where it has no list for us."""
    url = client.endpoint.address.at("/models")
    try:
        received = (await client.request("GET", url)).received
        entries = json.loads(received.body)["data"] if received.status == 200 else None
        return {
            entry["id"]: Listed(entry["id"], entry.get("created"), entry.get("owned_by"))
            for entry in entries or []
        } or None
    except (Unanswered, EndpointError, ValueError, LookupError, TypeError, AttributeError):
        return None  # the request that follows says what is wrong, if anything is


def _entry(names: Mapping[str, Listed], model: str) -> Listed | None:
    exact = names.get(model)
    alike = (entry for name, entry in names.items() if spelling(str(name)) == spelling(model))
    return exact or next(alike, None)
