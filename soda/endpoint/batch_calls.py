"""The calls of a Batch API: each is sent until it is answered."""

import json
from collections.abc import Callable, Mapping
from typing import IO, Any

import aiohttp

from soda.endpoint.answer import Answer
from soda.endpoint.asker import ATTEMPTS
from soda.endpoint.client import Client, Response
from soda.endpoint.failures import Busy, Refused, Unanswered
from soda.endpoint.refusals import Said, explain, quoted, said_in
from soda.endpoint.waits import Waits
from soda.errors import EndpointError

__all__ = ["BatchCalls"]


class BatchCalls:
    """Files and batches of one endpoint."""

    def __init__(self, client: Client, waits: Waits):
        self._client = client
        self._waits = waits

    async def call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        """Send one HTTP request until it is answered, and return its JSON.

        Raises:
            EndpointError: it was refused, or not answered after all attempts.
            Unanswered: likewise, if there was to be one attempt only.
        """
        text = await self.text(method, path, **content)
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError:
            found = {}
        if not isinstance(found, dict) or not ({"id", "data"} & found.keys()):
            raise EndpointError(
                f"{self._client.endpoint}{path}: expected an answer of a Batch API, found "
                f"{quoted(text)!r}"
            )
        return found

    async def text(
        self,
        method: str,
        path: str,
        *,
        attempts: int = ATTEMPTS,
        form: Callable[[], aiohttp.FormData] | None = None,
        query: Mapping[str, str] | None = None,
        into: IO[bytes] | None = None,
        **content: Any,
    ) -> str:
        """Send one HTTP request until it is answered, and return the body."""
        url = self._client.endpoint.address.at(path, **(query or {}))
        attempt = limited = 0
        while True:
            if form is not None:
                content["data"] = form()
            if into is not None:
                into.seek(0)
                into.truncate()
            try:
                response = await self._client.request(method, url, into=into, **content)
                return self._body(str(url), response)
            except Busy as error:
                limited += 1
                wait = self._waits.backoff(limited) if error.wait is None else error.wait
            except Unanswered as error:
                attempt += 1
                if attempt >= attempts:
                    if attempts == 1:
                        raise
                    raise EndpointError(f"{url}: {error}") from error
                wait = self._waits.backoff(attempt) if error.wait is None else error.wait
            await self._waits.sleep(min(wait, self._waits.longest))

    def _body(self, url: str, response: Response) -> str:
        """Return a response's body, or raise what its status means."""
        received = response.received
        if 200 <= received.status < 300:
            return received.body
        try:
            data = json.loads(received.body)
        except ValueError:
            data = None
        text = quoted(received.body)
        where = self._client.where({"model": "of the Batch API"}, url)
        end = explain(received.status, said_in(data, text) or Said(text), where, response.wait)
        if isinstance(end, Answer | Refused):
            raise EndpointError(f"{url}: {end.detail if isinstance(end, Answer) else end}")
        raise end
