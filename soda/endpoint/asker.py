"""Ask many requests at once, each until it has an answer, and lose none of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from soda.endpoint.answer import Answer, Received
from soda.endpoint.budget import Budget
from soda.endpoint.client import Client, Response
from soda.endpoint.envelope import End
from soda.endpoint.failures import Busy, Refused, Unanswered, Unusable
from soda.endpoint.notes import Notes
from soda.endpoint.pace import Pace
from soda.endpoint.request import Request
from soda.endpoint.standing import Standing
from soda.endpoint.stopping import stopping
from soda.endpoint.waits import Waits
from soda.errors import EndpointError

__all__ = ["ATTEMPTS", "Asker", "Ended"]

ATTEMPTS = 6

Ended = Answer | Unanswered | Refused | Unusable


class Asker:
    """Sends requests through one client, and notes each step.

    Args:
        check: looks at an answer that came; what it returns is why it cannot be used.
    """

    def __init__(
        self,
        client: Client,
        notes: Notes,
        pace: Pace,
        budget: Budget,
        standing: Standing,
        waits: Waits,
        *,
        check: Callable[[Answer], str | None] = lambda answer: None,
    ):
        self.pace = pace
        self.problems: Counter[str] = Counter()  # failed attempts, by their first word
        self._client = client
        self._notes = notes
        self._budget = budget
        self._standing = standing
        self._waits = waits
        self._check = check
        # Refusals with key and words, until it is known that they are of their requests alone.
        self._refused: list[tuple[str, Received, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[Any] | None] = set()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    async def ask(self, request: Request, attempts: int = ATTEMPTS) -> Answer:
        """Send one request until it is answered; the answer is noted then.

        Raises:
            Unanswered: all attempts failed.
            Refused: the server does not take this request.
            Unusable: its answer is none that can be used.
            EndpointError: no request of this kind will be answered.
            BudgetError: it may pass the cap, and nothing under way can be cheaper than it may be.
        """
        attempt, since = 0, self._waits.now()
        while True:
            if self._error is not None:
                raise Unanswered("stopped", billed=False)
            try:
                return await self._attempt(request)
            except Busy as error:
                self._count(error)
                continue  # the server asked for patience: no attempt is used up
            except Unanswered as error:
                self._count(error)
                since = since if attempt else self._waits.now()
                attempt += 1
                if attempt >= attempts and (
                    attempts == 1 or not self._standing.is_down(error, since)
                ):
                    raise
                wait = self._waits.backoff(attempt) if error.wait is None else error.wait
            await self._waits.sleep(min(wait, self._waits.longest))

    def begin(self) -> None:
        """Forget what trial requests met: the work begins."""
        self._refused.clear()
        self._standing.begin()

    async def run(
        self, requests: Iterable[Request | None], on_end: Callable[[Request, Ended], None]
    ) -> None:
        """Ask all requests; a None is a row that needs none.

        After an error or a signal no new request leaves, those under way end, and it is raised.

        Raises:
            Stopped: SIGTERM or SIGINT came.
            SodaError: what `ask` or `on_end` raised first.
        """
        with stopping(self.stop, self._give_up):
            for number, request in enumerate(requests):
                if request is None:
                    if number % 256 == 0:
                        await asyncio.sleep(0)
                    continue
                while len(self._tasks) >= 2 * self.pace.level and self._error is None:
                    self._changed.clear()
                    await self._changed.wait()
                if self._error is not None:
                    break
                self._start(self._ask(request, on_end))
            while self._tasks:
                self._changed.clear()
                await self._changed.wait()
        if self._error is not None:
            raise self._error
        if self._refused and not self._standing.proved:
            raise self._standing.no_answers(self._refused[-1][2])
        await self._keep_refused()

    async def _ask(self, request: Request, on_end: Callable[[Request, Ended], None]) -> None:
        try:
            end: Ended = await self.ask(request)
        except (Unanswered, Refused, Unusable) as error:
            if self._error is not None:
                return
            end = error
        on_end(request, end)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(error)

    def stop(self, error: BaseException) -> None:
        """Send nothing more; let what is under way end."""
        if self._error is None:
            self._error = error
            for task in self._tasks - self._sending:
                task.cancel()

    def _give_up(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _reserve(self, request: Request) -> int:
        """Hold back what a request may cost; wait while others may still turn out cheaper."""
        while (amount := self._budget.reserve(request)) is None:
            self._changed.clear()
            await self._changed.wait()
        return amount

    async def _attempt(self, request: Request) -> Answer:
        """Send once, in turn; what was held back is then spent, possibly billed, or free again."""
        amount: int | None = await self._reserve(request)
        task = asyncio.current_task()
        let_go = self._budget.free
        try:
            async with self.pace.turn(request.tokens) as sent_at:
                self._sending.add(task)
                let_go = self._budget.lose  # until we know more
                end, billed = await self._exchange(request)
                if isinstance(end, Answer):
                    assert amount is not None, "it was reserved"
                    self._budget.settle(amount, request, end)
                    amount = None
                elif not billed:
                    let_go = self._budget.free
                return await self._judged(request, end, sent_at)
        except EndpointError as error:
            if task in self._tasks:
                self.stop(error)  # before another request has its turn
            raise
        finally:
            if amount is not None:
                let_go(amount)
            self._sending.discard(task)
            self._changed.set()
            if self._error is not None and task in self._tasks and task is not None:
                task.cancel()  # nothing more is to be sent

    async def _exchange(self, request: Request) -> tuple[End, bool]:
        """Send once and note what came; return what it means, and whether it may be billed."""
        await self._notes.sent(request.key)
        try:
            response = await self._client.send(request.body)
        except (Unanswered, EndpointError) as error:
            billed = isinstance(error, Unanswered) and error.billed
            if not billed:
                await self._notes.freed(request.key)
            return error, billed
        received = response.received
        try:
            end = self._read(request, response)
        except BaseException:  # our mistake; what was paid for is kept all the same
            await self._notes.not_usable(request.key, received, "not read")
            raise
        if isinstance(end, Answer):
            await self._notes.received(request.key, received)
            return end, False
        if received.status < 300 and isinstance(end, Unanswered | Unusable):
            await self._notes.not_usable(request.key, received, str(end))
            return end, True
        if isinstance(end, Unanswered) and end.billed:
            return end, True
        if isinstance(end, Refused):
            self._refused.append((request.key, received, str(end)))
        await self._notes.freed(request.key)
        return end, False

    def _read(self, request: Request, response: Response) -> End:
        end = self._client.read(request.body, response)
        why = self._check(end) if isinstance(end, Answer) else None
        return end if why is None else Unusable(why)

    async def _judged(self, request: Request, end: End, sent_at: float) -> Answer:
        """Return an answer, or raise what there is in its place; either says how things stand."""
        match end:
            case Answer():
                used = (end.prompt_tokens or 0) + (end.tokens or 0)
                self.pace.answered(max(0, request.tokens - used) if used else 0)
                if self._standing.wants_text and not end.text.strip():
                    self._standing.bad(f"{end.outcome}, without any text: {end.detail or ''}")
                else:
                    self._standing.good()
                    await self._keep_refused()
                return end
            case Busy():
                self._standing.busy(end)
                self.pace.pause(end.wait, str(end), sent_at)
            case Refused() | Unusable():
                self._standing.bad(str(end))
            case Unanswered() if end.lasting and not self._standing.proved:
                raise EndpointError(f"{self._client.endpoint}: {end}")
        raise end

    async def _keep_refused(self) -> None:
        """Keep refusals as the end of their requests: the endpoint takes others, as it showed."""
        while self._refused:
            key, received, _ = self._refused.pop()
            await self._notes.received(key, received)

    def _count(self, error: Exception) -> None:
        self.problems[str(error).split(maxsplit=1)[0].rstrip(":") if str(error) else "?"] += 1
