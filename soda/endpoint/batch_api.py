"""The OpenAI Batch API: requests go up as files, answers come back within a day for half the price.

https://platform.openai.com/docs/guides/batch. Everything that decides where to go on is in the
journal or on the server: a batch carries our name in its metadata, so that one whose creation was
never noted down is found again, and one whose answers are in the journal is marked there as done.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

import aiohttp

from soda.endpoint.answer import Answer, Received
from soda.endpoint.asker import ATTEMPTS
from soda.endpoint.batch_calls import BatchCalls
from soda.endpoint.batch_lines import BatchLine, read_batch_line
from soda.endpoint.budget import Budget
from soda.endpoint.client import Client
from soda.endpoint.envelope import End, read
from soda.endpoint.failures import Refused, Unanswered, Unusable
from soda.endpoint.journal import Journal
from soda.endpoint.refusals import Where
from soda.endpoint.request import Request
from soda.endpoint.waits import Waits
from soda.errors import BudgetError, EndpointError
from soda.progress import progress, say

__all__ = ["BatchApi"]

_BYTES = 190_000_000  # in one batch, at most
_ENDED = {"completed", "failed", "expired", "cancelled"}
_ROUNDS = 3  # in so many batches a request may fail by itself


class BatchApi:
    """Brings a journal to the point where every request is answered, by batches.

    Args:
        unanswered: gives the requests that the journal has no answer to, as it is then.
        recount: brings the budget to what the journal says.
        name: what our batches are called in their metadata: the journal and the prompts.
        size: requests in a batch, at most; the API takes 50,000.
        check: looks at an answer; what it returns is why it cannot be used.
    """

    def __init__(
        self,
        client: Client,
        journal: Journal,
        budget: Budget,
        unanswered: Callable[[], Iterable[Request]],
        recount: Callable[[], None],
        *,
        name: str,
        size: int,
        waits: Waits,
        check: Callable[[Answer], str | None] = lambda answer: None,
    ):
        self._calls = BatchCalls(client, waits)
        self._endpoint = client.endpoint
        self._caller = client.endpoint.caller
        self._journal = journal
        self._budget = budget
        self._unanswered = unanswered
        self._recount = recount
        self._name = name
        self._size = size
        self._waits = waits
        self._check = check
        self._sent: dict[str, list[str]] = {}  # batch -> its requests' keys, of this process
        self._failed: Counter[str] = Counter()  # key -> in how many batches it failed
        self.failures: dict[str, str] = {}  # key -> why it has no answer
        self.answered = 0

    async def run(self) -> None:
        """Submit, wait, collect, until nothing is left to ask.

        Raises:
            BudgetError: the next batch could pass the cap.
            EndpointError: the server refused a file or a batch.
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
        query = {"limit": "100"}
        while True:
            page = await self._calls.call("GET", "/batches", query=query)
            listed = page["data"] if isinstance(page.get("data"), list) else []
            for batch in listed:
                ours = (batch.get("metadata") or {}).get("soda") == self._name
                if ours and batch["id"] not in self._journal.batches_done:
                    found[batch["id"]] = batch
            if not page.get("has_more") or not listed:
                return found
            query = {"limit": "100", "after": listed[-1]["id"]}

    async def _submit_all(self) -> dict[str, dict[str, Any]]:
        submitted: dict[str, dict[str, Any]] = {}
        with tempfile.TemporaryFile() as file:
            group: list[str] = []
            for request in self._unanswered():
                if request.key in self.failures:
                    continue
                try:
                    if self._budget.reserve(request) is None:
                        break  # what comes back will show what is left
                except BudgetError:
                    if group or submitted:
                        break
                    raise
                line = {
                    "custom_id": request.key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": request.body,
                }
                file.write(json.dumps(line).encode() + b"\n")
                group.append(request.key)
                if len(group) == self._size or file.tell() > _BYTES:
                    batch = await self._submit(file, group)
                    submitted[batch["id"]] = batch
                    group = []
                    file.seek(0)
                    file.truncate()
            if group:
                batch = await self._submit(file, group)
                submitted[batch["id"]] = batch
        return submitted

    async def _submit(self, file: IO[bytes], group: list[str]) -> dict[str, Any]:
        def form() -> aiohttp.FormData:
            file.seek(0)
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", file.read(), filename="requests.jsonl")
            return form

        uploaded = await self._calls.call("POST", "/files", form=form)
        known = await self._underway()
        body = {
            "input_file_id": uploaded["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"soda": self._name},
        }
        for key in group:
            await self._journal.sent(key)
        try:
            batch = await self._create(body, known)
        except Unanswered as error:
            raise EndpointError(f"{self._endpoint}: no batch was made: {error}") from error
        except EndpointError:
            await self._free(group)
            raise
        self._sent[batch["id"]] = group
        say(f"{self._caller.name}: {batch['id']}: {len(group)} requests submitted")
        return batch

    async def _create(self, body: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """Create a batch, once: after a lost answer it is looked whether it is there."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._calls.call("POST", "/batches", attempts=1, json=body)
            except Unanswered as error:  # it may have been created all the same
                await self._waits.sleep(self._waits.backoff(attempt))
                underway = await self._underway()
                made = [found for name, found in underway.items() if name not in known]
                if made:
                    return made[0]
                problem = error
        raise Unanswered(str(problem), billed=True)

    async def _collect_as_they_end(self, underway: dict[str, dict[str, Any]]) -> None:
        bar = progress(f"{self._caller.name}: batches", total=0, unit="answers")
        counts: dict[str, Mapping[str, int]] = {}
        try:
            while underway:
                for name in list(underway):
                    batch = underway[name] = await self._calls.call("GET", f"/batches/{name}")
                    counts[name] = batch.get("request_counts") or {}
                    if batch.get("status") in _ENDED:
                        await self._collect(underway.pop(name))
                bar.total = sum(count.get("total", 0) for count in counts.values())
                bar.set_postfix_str(f"{len(underway)} batches under way", refresh=False)
                bar.update(sum(count.get("completed", 0) for count in counts.values()) - bar.n)
                if underway:
                    await self._waits.sleep(self._waits.poll)
        finally:
            bar.close()

    async def _collect(self, batch: dict[str, Any]) -> None:
        """Put every answer of an ended batch into the journal, then mark the batch as done."""
        keys = await self._keys_of(batch)
        refused: list[tuple[str, Received, str]] = []
        seen: set[str] = set()
        odd = 0
        for kind in ("output_file_id", "error_file_id"):
            if batch.get(kind):
                with tempfile.TemporaryFile() as file:
                    await self._calls.text("GET", f"/files/{batch[kind]}/content", into=file)
                    file.seek(0)
                    for text in file:
                        line = read_batch_line(text)
                        if line is not None and (line.key in keys or not keys):
                            seen.add(line.key)
                            await self._take(line, refused)
                        else:
                            odd += bool(text.strip())
        if odd:
            say(f"{self._caller.name}: {batch['id']}: left out {odd} lines: torn, or not ours")
        await self._take_refused(refused)
        await self._free(keys - seen)
        await self._journal.batch_done(batch["id"], batch["status"])
        if batch["status"] == "failed":
            await self._raise_or_wait(batch)

    async def _raise_or_wait(self, batch: dict[str, Any]) -> None:
        errors = (batch.get("errors") or {}).get("data") or [{}]
        if errors[0].get("code") != "token_limit_exceeded":  # too many at once: later
            raise EndpointError(
                f"{self._endpoint}: {batch['id']} failed: {errors[0].get('message')}"
            )
        await self._waits.sleep(self._waits.poll)

    async def _keys_of(self, batch: Mapping[str, Any]) -> set[str]:
        """Return the requests of a batch; of one that another process made, from its input file."""
        if batch["id"] in self._sent:
            return set(self._sent[batch["id"]])
        with tempfile.TemporaryFile() as file:
            try:
                await self._calls.text("GET", f"/files/{batch['input_file_id']}/content", into=file)
            except (EndpointError, LookupError):
                return set()  # some servers keep no input: then every line may be ours
            file.seek(0)
            lines = (read_batch_line(text) for text in file)
            return {line.key for line in lines if line is not None}

    async def _take(self, line: BatchLine, refused: list[tuple[str, Received, str]]) -> None:
        key, received = line.key, line.received
        if key in self._journal:
            return
        if received is None:
            if not line.expired:  # else it was never begun
                self._count_failure(key, line.problem)
            await self._journal.freed(key)
            return
        end = self._read(received)
        if isinstance(end, Answer):
            self.answered += 1
            await self._journal.received(key, received)
        elif isinstance(end, Refused):
            refused.append((key, received, str(end)))
        elif received.status < 300 and isinstance(end, Unusable | Unanswered):
            await self._journal.not_usable(key, received, str(end))
            self.failures[key] = str(end)
        else:
            await self._journal.freed(key)
            self._count_failure(key, str(end))

    def _read(self, received: Received) -> End:
        where = Where(str(self._endpoint), "", self._caller.key_variable)
        end = read(received, where)
        why = self._check(end) if isinstance(end, Answer) else None
        return end if why is None else Unusable(why)

    def _count_failure(self, key: str, problem: str) -> None:
        self._failed[key] += 1
        if self._failed[key] >= _ROUNDS:
            self.failures[key] = problem

    async def _take_refused(self, refused: list[tuple[str, Received, str]]) -> None:
        """Keep refusals as the end of their requests, unless nothing else was ever answered."""
        for key, received, problem in refused:
            if self.answered or self._journal.has_answers:
                await self._journal.received(key, received)
                self.failures[key] = problem
            else:
                await self._journal.freed(key)
        if refused and not (self.answered or self._journal.has_answers):
            raise EndpointError(
                f"{self._endpoint}: expected answers, found none to the {len(refused)} "
                f"requests of a batch; the last: {refused[-1][2]}"
            )

    async def _free(self, keys: Iterable[str]) -> None:
        """Note that nothing was billed for requests that an ended batch says nothing of."""
        for key in keys:
            if self._journal.possibly_billed(key):
                await self._journal.freed(key)
