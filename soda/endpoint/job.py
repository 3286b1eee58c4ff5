"""Bring the journal to the point where every request of a run is answered."""

import asyncio
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from soda.endpoint.asking import Asker, Request
from soda.endpoint.batch import Batches
from soda.endpoint.budget import USD, Budget, Price
from soda.endpoint.client import TeacherClient, Unanswered, open_session, unanswered
from soda.endpoint.journal import Journal
from soda.endpoint.pace import Pace
from soda.errors import TeacherError
from soda.progress import progress, say
from soda.teacher.fingerprint import compare, take_fingerprint

__all__ = ["Job", "Limits"]


class Limits(BaseModel):
    """How fast the teacher may be asked, and for how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: int = Field(
        default=1000, ge=1, description="most requests under way; the best is found"
    )
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    usd: float | None = Field(
        default=None, gt=0, description="stop before these prompts can cost more"
    )
    timeout_seconds: float = Field(default=600.0, gt=0, description="for one request")
    hedge_after_seconds: float = Field(
        default=0.0,
        ge=0,
        description="then send a copy, and take the first answer; both may be billed",
    )


class Job:
    """One run's requests to one teacher.

    Args:
        endpoint: the teacher's base URL.
        body: what every request has but its messages: the model, the sampling.
        requests: gives the requests; None stands for a row that needs none. Called anew each time.
        total: how many rows there are.
        allowed_failures: how many prompts may stay unanswered.
        probe: take a fingerprint of the teacher before anything is asked.
        batch: ask through the Batch API, with batches of this name.
    """

    def __init__(
        self,
        journal: Journal,
        endpoint: str,
        body: dict[str, Any],
        requests: Callable[[], Iterable[Request | None]],
        *,
        total: int,
        price: Price,
        limits: Limits,
        allowed_failures: float,
        probe: bool,
        batch: str | None,
    ):
        self.journal = journal
        self.endpoint = endpoint
        self.failures: dict[str, str] = {}  # a request's key -> what its last attempt met
        self.budget = Budget(price, body, limits.usd)
        self._body = body
        self.requests = requests
        self._total = total
        self._limits = limits
        self._allowed_failures = allowed_failures
        self._probes = probe
        self._batch = batch
        self._under_way: set[str] = set()  # of one question twice, one is asked
        self.answered = 0
        self.problems: dict[str, int] = {}

    def run(self, at_most: int | None = None) -> None:
        """Ask all that is not answered yet, or the first few of it.

        Raises:
            SodaError, Stopped: see `Asker.run`; what was answered is in the journal.
        """
        self.recount()
        unanswered = self._unanswered()
        if at_most is not None:
            unanswered = itertools.islice((one for one in unanswered if one), at_most)
        for skipped, first in enumerate(unanswered):
            if first is not None:
                asyncio.run(self._ask(skipped, itertools.chain([first], unanswered)))
                return

    def end_of(self, request: Request) -> dict[str, Any]:
        """Return how a request ended."""
        answer = self.journal.get(request.key)
        return answer or unanswered(self.failures.get(request.key, "not asked"))

    def account(self) -> dict[str, Any]:
        """Return what this run did and what these prompts have cost, in USD."""
        return {
            "answered": self.answered,
            "failed_attempts": self.problems,
            "possibly_billed": sum(self.journal.open_requests.values()),
            "usd": self.budget.spent / USD,
            "usd_possibly_billed": self.budget.unsure / USD,
            "fingerprint": self.journal.probes[-1] if self.journal.probes else None,
        }

    def recount(self) -> None:
        """Bring the budget to what these prompts have cost, as the journal says."""
        if not (self.budget.price.input or self.budget.price.output):
            return
        self.budget.spent = self.budget.unsure = self.budget.reserved = 0
        for probe in self.journal.probes:
            self.budget.spent += self.budget.price.of(*probe["tokens"])
        for request in self.requests():
            if request is not None:
                lost = self.journal.possibly_billed(request.key)
                self.budget.unsure += lost * self.budget.bound(request.messages)
                if (answer := self.journal.get(request.key)) is not None:
                    self.budget.spent += self.budget.cost(request.messages, answer)

    def _unanswered(self) -> Iterator[Request | None]:
        for request in self.requests():
            if request is None or request.key in self.journal or request.key in self._under_way:
                yield None
            else:
                self._under_way.add(request.key)
                yield request

    async def _ask(self, skipped: int, requests: Iterable[Request | None]) -> None:
        limits = self._limits
        pace = Pace(limits.concurrency, limits.requests_per_minute, limits.tokens_per_minute)
        async with open_session(limits.timeout_seconds) as session, self.journal.writing():
            client = TeacherClient(session, self.endpoint, os.environ.get("SODA_TEACHER_API_KEY"))
            asker = Asker(client, self.journal, pace, self.budget, limits.hedge_after_seconds)
            if self._probes:
                await self._probe(asker)
            if self._batch is not None:
                await self._ask_by_batches(client, self._batch)
                return
            bar = progress("teacher-gen", total=self._total, unit="prompts", done=skipped)
            try:
                await asker.run(_counted(requests, bar), functools.partial(self._end, bar, pace))
            finally:
                bar.close()
                self.problems = dict(asker.problems.most_common())

    async def _ask_by_batches(self, client: TeacherClient, tag: str) -> None:
        def requests() -> Iterator[Request]:
            self._under_way.clear()
            return (request for request in self._unanswered() if request is not None)

        batches = Batches(client, self.journal, self.budget, tag, requests, self.recount)
        try:
            await batches.run()
        finally:
            self.answered = batches.answered
        for key, problem in batches.failures.items():
            self._fail(key, problem)

    def _end(
        self, bar: Any, pace: Pace, request: Request, end: dict[str, Any] | Unanswered
    ) -> None:
        self._under_way.discard(request.key)
        if isinstance(end, Unanswered):
            self._fail(request.key, str(end))
        else:
            self.answered += 1
        bar.set_postfix_str(self._state(bar.n, pace), refresh=False)
        bar.update()

    async def _probe(self, asker: Asker) -> None:
        earlier = self.journal.probes[-1] if self.journal.probes else None
        ask = functools.partial(asker.ask, attempts=1)
        found = await take_fingerprint(ask, self.endpoint, self._body)
        if found["answers"].count(None) < len(found["answers"]):
            await self.journal.probed(found)
        if earlier is not None and (difference := compare(earlier, found)) is not None:
            say(
                f"teacher-gen: the teacher has changed since its earlier answers: {difference}; "
                "they are kept: set teacher-gen.identity to ask all anew"
            )

    def _fail(self, key: str, problem: str) -> None:
        self.failures[key] = problem
        if len(self.failures) > self._allowed_failures:
            raise TeacherError(
                f"{self.endpoint}: no answer to {len(self.failures)} of {self._total} prompts, the "
                f"last time: {problem}; {self.answered} new answers are kept, run again"
            )

    def _state(self, done: int, pace: Pace) -> str:
        """Say what a run has cost, and what it will: for the progress line."""
        parts = [f"{pace.under_way} under way"]
        if self.failures:
            parts.append(f"{len(self.failures)} unanswered")
        paid = self.budget.spent + self.budget.unsure
        if self.budget.price.input or self.budget.price.output:
            forecast = paid / max(done, 1) * self._total
            parts.append(f"${paid / USD:.2f} of about ${forecast / USD:.2f}")
        return ", " + ", ".join(parts)


def _counted(requests: Iterable[Request | None], bar: Any) -> Iterator[Request | None]:
    """Show rows that need no request as done, without counting them for the rate."""
    for request in requests:
        if request is None:
            bar.initial += 1
            bar.update()
        yield request
