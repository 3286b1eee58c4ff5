"""The OpenAI Batch API: requests go up as files, answers come back within a day for half the price.

https://platform.openai.com/docs/guides/batch. Everything that decides where to go on is in the
journal or on the server: a batch carries our name in its metadata, so that one whose creation was
never noted down is found again, and one whose answers are in the journal is marked there as done.
"""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from typing import IO, Any

import aiohttp

from soda.endpoint.asking import Request
from soda.endpoint.budget import Budget
from soda.endpoint.client import Busy, TeacherClient, Unanswered, read_completion
from soda.endpoint.journal import Journal
from soda.endpoint.retry import ATTEMPTS, backoff_seconds
from soda.errors import TeacherError
from soda.progress import progress, say

__all__ = ["Batches", "read_batch_line"]

_REQUESTS = 50_000  # in one batch, the API's limits
_BYTES = 190_000_000
_POLL_SECONDS = 30.0
_ENDED = {"completed", "failed", "expired", "cancelled"}
_ROUNDS = 3  # in so many batches a request may fail by itself


class Batches:
    """Brings a journal to the point where every request is answered, by batches.

    Args:
        tag: what our batches are called in their metadata: the journal and the prompts.
        unanswered: gives the requests that the journal has no answer to; called anew each time.
        recount: brings the budget to what the journal says.
    """

    def __init__(
        self,
        client: TeacherClient,
        journal: Journal,
        budget: Budget,
        tag: str,
        unanswered: Callable[[], Iterable[Request]],
        recount: Callable[[], None],
    ):
        self._client = client
        self._journal = journal
        self._budget = budget
        self._tag = tag
        self._unanswered = unanswered
        self._recount = recount
        self._failed: Counter[str] = Counter()  # key -> in how many batches it failed
        self.failures: dict[str, str] = {}
        self.answered = 0

    async def run(self) -> None:
        """Submit, wait, collect, until nothing is left to ask.

        Raises:
            BudgetError: the next batch could pass the cap.
            TeacherError: the server refused a file or a batch.
        """
        while True:
            underway = await self._underway()
            if not underway:
                self._recount()
                underway = await self._submit_all()
            if not underway:
                return
            await self._collect_as_they_end(underway)

    async def _underway(self) -> dict[str, dict[str, Any]]:
        """Return our batches whose answers are not in the journal, as the server lists them."""
        found: dict[str, dict[str, Any]] = {}
        query = "limit=100"
        while True:
            page = await self._call("GET", f"/batches?{query}")
            for batch in page["data"]:
                ours = (batch.get("metadata") or {}).get("soda") == self._tag
                if ours and batch["id"] not in self._journal.batches_done:
                    found[batch["id"]] = batch
            if not page.get("has_more") or not page["data"]:
                return found
            query = f"limit=100&after={page['data'][-1]['id']}"

    async def _submit_all(self) -> dict[str, dict[str, Any]]:
        submitted: dict[str, dict[str, Any]] = {}
        with tempfile.TemporaryFile() as file:
            group: list[Request] = []
            for request in self._unanswered():
                if request.key in self.failures:
                    continue
                amount = self._budget.bound(request.messages)
                if not self._budget.allows(amount):
                    if not group and not submitted:
                        raise self._budget.refusal(amount)
                    break  # what comes back will show what is left
                self._budget.reserved += amount
                line = {
                    "custom_id": request.key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": request.body,
                }
                file.write(json.dumps(line).encode() + b"\n")
                group.append(request)
                if len(group) == _REQUESTS or file.tell() > _BYTES:
                    batch = await self._submit(file, group)
                    submitted[batch["id"]] = batch
                    group = []
                    file.seek(0)
                    file.truncate()
            if group:
                batch = await self._submit(file, group)
                submitted[batch["id"]] = batch
        return submitted

    async def _submit(self, file: IO[bytes], group: list[Request]) -> dict[str, Any]:
        def form() -> aiohttp.FormData:
            file.seek(0)
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", file.read(), filename="requests.jsonl")
            return form

        uploaded = await self._call("POST", "/files", form=form)
        known = await self._underway()
        body = {
            "input_file_id": uploaded["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"soda": self._tag},
        }
        for request in group:
            await self._journal.sent(request.key)
        for attempt in range(ATTEMPTS):
            try:
                batch = await self._call("POST", "/batches", attempts=1, json=body)
                break
            except Unanswered as error:  # it may have been created all the same
                await asyncio.sleep(backoff_seconds(attempt))
                underway = await self._underway()
                made = [found for name, found in underway.items() if name not in known]
                if made:
                    batch = made[0]
                    break
                problem = error
            except TeacherError:
                for request in group:
                    await self._journal.freed(request.key)
                raise
        else:
            raise TeacherError(f"{self._client.base_url}/batches: {problem}")
        say(f"teacher-gen: {batch['id']}: {len(group)} requests submitted")
        return batch

    async def _collect_as_they_end(self, underway: dict[str, dict[str, Any]]) -> None:
        bar = progress("teacher-gen: batches", total=0, unit="answers")
        counts: dict[str, dict[str, int]] = {}
        try:
            while underway:
                for name in list(underway):
                    batch = underway[name] = await self._call("GET", f"/batches/{name}")
                    if batch["status"] in _ENDED:
                        await self._collect(underway.pop(name))
                    counts[name] = {"total": 0, "completed": 0, **(batch["request_counts"] or {})}
                bar.total = sum(count["total"] for count in counts.values())
                bar.set_postfix_str(f", {len(underway)} batches under way", refresh=False)
                bar.update(sum(count["completed"] for count in counts.values()) - bar.n)
                if underway:
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            bar.close()

    async def _collect(self, batch: dict[str, Any]) -> None:
        """Put every answer of an ended batch into the journal, then mark the batch as done."""
        for kind in ("output_file_id", "error_file_id"):
            if batch.get(kind):
                with tempfile.TemporaryFile() as file:
                    await self._text("GET", f"/files/{batch[kind]}/content", into=file)
                    file.seek(0)
                    for line in file:
                        if line.strip():
                            await self._take(json.loads(line))
        await self._journal.batch_done(batch["id"], batch["status"])
        if batch["status"] == "failed":
            errors = (batch.get("errors") or {}).get("data") or [{}]
            if errors[0].get("code") != "token_limit_exceeded":  # too many at once: later
                raise TeacherError(
                    f"{self._client.base_url}: {batch['id']} failed: {errors[0].get('message')}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _take(self, line: dict[str, Any]) -> None:
        key = line["custom_id"]
        try:
            _, answer = read_batch_line(line)
        except (LookupError, ValueError):
            await self._not_answered(key, line)
            return
        if key not in self._journal:
            self.answered += 1
            await self._journal.answered(key, answer)

    async def _not_answered(self, key: str, line: dict[str, Any]) -> None:
        response = line.get("response") or {}
        status, text = response.get("status_code", 0), json.dumps(response.get("body"))
        error = line.get("error") or {}
        if error.get("code") == "batch_expired":
            await self._journal.freed(key)  # it was never begun
            return
        try:
            url = f"{self._client.base_url}/batches"
            answer = self._client.read_refusal(url, {"model": ""}, status, {}, text)
        except (Busy, Unanswered, TeacherError) as problem:
            await self._journal.freed(key)
            self._failed[key] += 1
            if self._failed[key] >= _ROUNDS:
                self.failures[key] = str(problem)
        else:
            await self._journal.answered(key, answer)

    async def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._text(method, path, **content))
        return found

    async def _text(
        self,
        method: str,
        path: str,
        *,
        attempts: int = ATTEMPTS,
        form: Callable[[], aiohttp.FormData] | None = None,
        into: IO[bytes] | None = None,
        **content: Any,
    ) -> str:
        """Send one HTTP request until it is answered, and return the body."""
        url = f"{self._client.base_url}{path}"
        attempt = limited = 0
        while True:
            if form is not None:
                content["data"] = form()
            if into is not None:
                into.seek(0)
                into.truncate()
            try:
                status, headers, text = await self._client.request(
                    method, url, into=into, **content
                )
                self._client.check(url, status, headers, text)
                return text
            except Busy as error:
                limited += 1
                wait = backoff_seconds(limited) if error.wait is None else error.wait
            except Unanswered as error:
                attempt += 1
                if attempt >= attempts:
                    if attempts == 1:
                        raise
                    raise TeacherError(f"{url}: {error}") from error
                wait = backoff_seconds(attempt) if error.wait is None else error.wait
            await asyncio.sleep(wait)


def read_batch_line(row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Read one line of an OpenAI batch output: its `custom_id` and the answer.

    Raises:
        LookupError: the line says that its request was not answered.
        ValueError: it is no such line.
    """
    response = row.get("response")
    if row.get("error") or response is None or response["status_code"] != 200:
        raise LookupError(row["custom_id"])
    return str(row["custom_id"]), read_completion(response["body"])
