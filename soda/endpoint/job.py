"""Bring a journal to the point where every request of a run is answered."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from soda.endpoint.answer import Answer
from soda.endpoint.asker import Asker, Ended
from soda.endpoint.batch_api import BatchApi
from soda.endpoint.budget import Budget, Price
from soda.endpoint.client import Client, Endpoint, open_session
from soda.endpoint.envelope import read
from soda.endpoint.failures import Refused
from soda.endpoint.journal import Journal
from soda.endpoint.limits import Limits
from soda.endpoint.pace import Pace
from soda.endpoint.refusals import Where
from soda.endpoint.request import Request
from soda.endpoint.standing import Standing
from soda.endpoint.waits import Waits
from soda.errors import EndpointError
from soda.progress import progress
from soda.rows import Outcome

__all__ = ["Job", "Rules", "Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one run asks.

    Args:
        body: what every request has but its messages: the model, the sampling.
        requests: gives the requests, the same each time; None stands for a row that needs none.
        total: how many rows there are.
        name_of: what a request is called in a message.
    """

    body: dict[str, Any]
    requests: Callable[[], Iterable[Request | None]]
    total: int
    name_of: Callable[[Request], str] = lambda request: request.key[:12]


@dataclass(frozen=True, slots=True)
class Rules:
    """How it asks.

    Args:
        most_failed: how many rows may stay without an answer.
        batch: ask through the Batch API, with batches of this name.
        check: looks at an answer; what it returns is why it cannot be used.
        strict: also answers that are kept are looked at so.
        before: done before anything is asked, if anything is: it may ask, too.
    """

    price: Price = field(default_factory=Price)
    limits: Limits = field(default_factory=Limits)
    most_failed: float = 0.0
    batch: str | None = None
    batch_size: int = 50_000
    check: Callable[[Answer], str | None] = lambda answer: None
    strict: bool = False
    before: Callable[[Asker], Awaitable[None]] | None = None
    waits: Waits = field(default_factory=Waits)


class Job:
    """One run's requests to one endpoint."""

    def __init__(self, journal: Journal, endpoint: Endpoint, work: Work, rules: Rules):
        caller = endpoint.caller
        self.journal = journal
        self.work = work
        self.budget = Budget(rules.price, work.body, rules.limits.usd, caller.name)
        self._endpoint = endpoint
        self._rules = rules
        self._where = Where(
            str(endpoint.address.at("/chat/completions")),
            str(work.body.get("model", "")),
            caller.key_variable,
        )
        self._failures: dict[str, str] = {}  # a request's key -> what its last attempt met
        self._under_way: set[str] = set()  # of one question twice, one is asked
        self._answered = 0
        self._problems: dict[str, int] = {}

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

    def answer(self, request: Request) -> Answer | None:
        """Return what the journal has of a request, read by this version; None: to be asked.

        Raises:
            EndpointError: with it too many rows have no answer.
        """
        kept = self._kept(request)
        if kept is not None and (
            not (kept.worked and self._rules.strict) or self._rules.check(kept) is None
        ):
            return kept
        if (later := self._read_later(request)) is not None:
            return later
        return None if kept is None else self.answer(request.again())

    def _kept(self, request: Request) -> Answer | None:
        """Return how a request ended under its own key, whether the answer is wanted or not.

        Raises:
            EndpointError: see `answer`.
        """
        received = self.journal.get(request.key)
        if received is None:
            return None
        end = read(received, self._where)
        if not isinstance(end, Answer):
            outcome: Outcome = "refused" if isinstance(end, Refused) else "failed"
            end = Answer("", outcome, str(end), worked=False)
        if not end.worked:
            self._fail(request, str(end.detail))
        return end

    def _read_later(self, request: Request) -> Answer | None:
        """Return an answer that an earlier version could not read."""
        for received in self.journal.unusable(request.key):
            later = read(received, self._where)
            if isinstance(later, Answer) and self._rules.check(later) is None:
                return later
        return None

    def end_of(self, request: Request) -> Answer:
        """Return how a request ended."""
        answer = self.answer(request)
        if answer is not None:
            return answer
        keys = (request.key, request.again().key)
        problem = next((self._failures[key] for key in keys if key in self._failures), "not asked")
        return Answer.missing(problem)

    def account(self) -> dict[str, Any]:
        """Return what this run did and what these prompts have cost, in USD."""
        return {
            "answered": self._answered,
            "failed_attempts": self._problems,
            "possibly_billed": sum(self.journal.open_requests.values()),
            "usd": self.budget.usd,
            "usd_possibly_billed": self.budget.usd_possibly_billed,
            "fingerprint": self.journal.probes[-1] if self.journal.probes else None,
        }

    def recount(self) -> None:
        """Bring the budget to what these prompts have cost, as the journal says."""
        if not self._rules.price:
            return
        self.budget.recount()
        for probe in self.journal.probes:
            self.budget.count_tokens(*probe["tokens"])
        for request in self.work.requests():
            while request is not None:
                answer, lost = self._kept(request), self.journal.possibly_billed(request.key)
                if answer is None and (answer := self._read_later(request)) is not None:
                    lost -= 1  # it was no answer before
                self.budget.count(request, answer, max(0, lost))
                asked_again = self._rules.strict and request.key in self.journal
                request = request.again() if asked_again else None

    def _unanswered(self) -> Iterator[Request | None]:
        for request in self.work.requests():
            asked = None if request is None else self._to_ask(request)
            if asked is None or asked.key in self._under_way:
                yield None
            else:
                self._under_way.add(asked.key)
                yield asked

    def _to_ask(self, request: Request) -> Request | None:
        """Return the request to send for one that has no answer yet."""
        if request.key in self.journal and not self._rules.strict:
            return None
        if self.answer(request) is not None:
            return None
        return self._to_ask(request.again()) if request.key in self.journal else request

    async def _ask(self, skipped: int, requests: Iterable[Request | None]) -> None:
        rules, caller = self._rules, self._endpoint.caller
        limits = rules.limits
        pace = limits.pace(caller, rules.waits)
        standing = Standing(
            caller,
            str(self._endpoint),
            rules.waits,
            answered_before=self.journal.has_answers,
            patience_seconds=limits.patience_seconds,
        )
        async with open_session(limits.timeout_seconds) as session, self.journal.writing():
            client = Client(session, self._endpoint)
            asker = Asker(
                client, self.journal, pace, self.budget, standing, rules.waits, check=rules.check
            )
            try:
                if rules.before is not None:
                    await rules.before(asker)
                    asker.begin()
                if rules.batch is not None:
                    await self._ask_by_batches(client, rules.batch)
                    return
                bar = progress(caller.name, total=self.work.total, unit="prompts", done=skipped)
                with contextlib.closing(bar):
                    end = functools.partial(self._end, bar, pace)
                    await asker.run(_counted(requests, bar), end)
            finally:
                self._problems = dict(asker.problems.most_common())

    async def _ask_by_batches(self, client: Client, name: str) -> None:
        def requests() -> Iterator[Request]:
            self._under_way.clear()
            return (request for request in self._unanswered() if request is not None)

        rules = self._rules
        batches = BatchApi(
            client,
            self.journal,
            self.budget,
            requests,
            self.recount,
            name=name,
            size=rules.batch_size,
            waits=rules.waits,
            check=rules.check,
        )
        try:
            await batches.run()
        finally:
            self._answered = batches.answered
        for request in self.work.requests() if batches.failures else ():
            if request is not None and request.key in batches.failures:
                self._fail(request, batches.failures[request.key])

    def _end(self, bar: Any, pace: Pace, request: Request, end: Ended) -> None:
        self._under_way.discard(request.key)
        if isinstance(end, Answer) and end.worked:
            self._answered += 1
        else:  # refused before the model did anything is no answer either
            self._fail(request, str(end.detail if isinstance(end, Answer) else end))
        bar.set_postfix_str(self._state(bar.n, pace), refresh=False)
        bar.update()

    def _fail(self, request: Request, problem: str) -> None:
        self._failures[request.key] = problem
        if len(self._failures) > self._rules.most_failed:
            raise EndpointError(
                f"{self._endpoint}: no answer to {len(self._failures)} of {self.work.total} "
                f"prompts, the last time to {self.work.name_of(request)}: {problem}; "
                f"{self._answered} new answers are kept, run again"
            )

    def _state(self, done: int, pace: Pace) -> str:
        """Say what a run has cost, and what it will: for the progress line."""
        parts = [f"{pace.under_way} under way"]
        if self._failures:
            parts.append(f"{len(self._failures)} unanswered")
        paid = self.budget.usd + self.budget.usd_possibly_billed
        if self._rules.price:
            parts.append(f"${paid:.2f} of about ${paid / max(done, 1) * self.work.total:.2f}")
        return ", ".join(parts)


def _counted(requests: Iterable[Request | None], bar: Any) -> Iterator[Request | None]:
    """Show rows that need no request as done, without counting them for the rate."""
    for request in requests:
        if request is None:
            bar.initial += 1
            bar.update()
        yield request
