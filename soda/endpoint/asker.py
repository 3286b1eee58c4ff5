"""Ask many requests at once, each until it has an answer, and lose none of them."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from soda.endpoint.budget import Budget, output_bound, prompt_bound
from soda.endpoint.client import Busy, TeacherClient, Unanswered
from soda.endpoint.journal import Journal
from soda.endpoint.pace import Pace
from soda.endpoint.retry import ATTEMPTS, backoff_seconds
from soda.errors import TeacherError
from soda.rows import Message, digest

__all__ = ["Asker", "Request", "Stopped"]

_DRAIN_SECONDS = 25.0  # Kubernetes kills a pod 30 seconds after it asks it to stop
_ANSWER_TOKENS = 1024  # what a tokens-a-minute limit reserves where the request names no bound


class Stopped(BaseException):
    """A signal asked the process to stop; all that was answered is kept."""

    def __init__(self, number: int):
        super().__init__(signal.strsignal(number))
        self.number = number


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the journal's key, and the body to send."""

    key: str
    body: dict[str, Any]

    @classmethod
    def of(cls, endpoint: str, body: dict[str, Any], **more: str) -> "Request":
        """Return a request under the digest of everything in it."""
        return cls(digest({"endpoint": endpoint, **body, **more}), body)

    @property
    def messages(self) -> list[Message]:
        """The conversation to answer."""
        messages: list[Message] = self.body["messages"]
        return messages

    @property
    def token_bound(self) -> int:
        """How many tokens prompt and answer have at most, as far as the request says."""
        return prompt_bound(self.messages) + (output_bound(self.body) or _ANSWER_TOKENS)


class Asker:
    """Sends requests through one client, journal, pace and budget.

    Args:
        hedge_after_seconds: send a second copy of a request that has waited so long, and take the
            answer that comes first; both may be billed. 0 never does.
    """

    def __init__(
        self,
        client: TeacherClient,
        journal: Journal,
        pace: Pace,
        budget: Budget,
        hedge_after_seconds: float = 0,
    ):
        self.client = client
        self.journal = journal
        self.pace = pace
        self.budget = budget
        self.problems: Counter[str] = Counter()  # failed attempts, by their first word
        self._hedge_after = hedge_after_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[Any] | None] = set()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    async def ask(self, request: Request, attempts: int = ATTEMPTS) -> dict[str, Any]:
        """Send one request until it is answered; the answer is in the journal then.

        Raises:
            Unanswered: all attempts failed.
            TeacherError: no request of this kind will be answered.
            BudgetError: it may pass the cap, and nothing under way can be cheaper than it may be.
        """
        attempt = 0
        while True:
            if self._error is not None:
                raise Unanswered("stopped", billed=False)
            await self._reserve(self.budget.bound(request.messages))
            wait = None
            sent_at = 0.0
            try:
                async with self.pace.turn(request.token_bound) as sent_at:
                    return await self._send(request)
            except Busy as error:
                self._count(error)
                self.pace.pause(error.wait, str(error), sent_at)
                continue  # the server asked for patience: no attempt is used up
            except Unanswered as error:
                self._count(error)
                attempt += 1
                if attempt >= attempts:
                    raise
                wait = error.wait
            await asyncio.sleep(backoff_seconds(attempt) if wait is None else wait)

    async def run(
        self,
        requests: Iterable[Request | None],
        on_end: Callable[[Request, dict[str, Any] | Unanswered], None],
    ) -> None:
        """Ask all requests; a None is a row that needs none.

        After an error or a signal no new request leaves, those under way end, and it is raised.

        Raises:
            Stopped: SIGTERM or SIGINT came.
            SodaError: what `ask` or `on_end` raised first.
        """
        with self._signals():
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

    async def _ask(
        self, request: Request, on_end: Callable[[Request, dict[str, Any] | Unanswered], None]
    ) -> None:
        try:
            end: dict[str, Any] | Unanswered = await self.ask(request)
        except Unanswered as error:
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

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """On SIGTERM or SIGINT let requests under way end, until a second one or 25 seconds."""
        loop = asyncio.get_running_loop()

        def give_up() -> None:
            for task in self._tasks:
                task.cancel()

        def stop(number: int) -> None:
            if self._error is not None:
                give_up()
            self.stop(Stopped(number))
            loop.call_later(_DRAIN_SECONDS, give_up)

        numbers = [signal.SIGTERM, signal.SIGINT]
        try:
            for number in numbers:
                loop.add_signal_handler(number, stop, number)
        except (RuntimeError, ValueError):  # another thread than the main one gets no signals
            numbers = []
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def _reserve(self, amount: int) -> None:
        """Hold back what a request may cost; wait while others may still turn out cheaper."""
        while not self.budget.allows(amount):
            if not self.budget.reserved:
                raise self.budget.refusal(amount)
            self._changed.clear()
            await self._changed.wait()
        self.budget.reserved += amount

    async def _send(self, request: Request) -> dict[str, Any]:
        """Send once; afterwards the reservation is spent, possibly billed, or free again."""
        amount = self.budget.bound(request.messages)
        task = asyncio.current_task()
        self._sending.add(task)
        billed = False
        try:
            await self.journal.sent(request.key)
            billed = True  # until we know more
            begin = time.monotonic()
            try:
                answer = await self._first_of(request)
                answer["seconds"] = round(time.monotonic() - begin, 3)
            except (Busy, Unanswered, TeacherError) as error:
                billed = isinstance(error, Unanswered) and error.billed
                if isinstance(error, TeacherError) and task in self._tasks:
                    self.stop(error)  # before another request has its turn
                if not billed:
                    await self.journal.freed(request.key)
                raise
            await self.journal.answered(request.key, answer)
            billed = False
        finally:
            self.budget.reserved -= amount
            self.budget.unsure += amount if billed else 0
            self._sending.discard(task)
            self._changed.set()
            if self._error is not None and task in self._tasks:
                task.cancel()  # nothing more is to be sent
        self.budget.spent += self.budget.cost(request.messages, answer)
        used = (answer["prompt_tokens"] or 0) + (answer["tokens"] or 0)
        self.pace.answered(max(0, request.token_bound - used) if used else 0)
        return answer

    async def _first_of(self, request: Request) -> dict[str, Any]:
        """Return the answer, of two copies if the first is late and hedging is on."""
        if not self._hedge_after:
            return await self.client.complete(request.body)
        first = asyncio.create_task(self.client.complete(request.body))
        done, _ = await asyncio.wait([first], timeout=self._hedge_after)
        amount = self.budget.bound(request.messages)
        if done or self._error is not None or not self.budget.allows(amount):
            return await first
        self.budget.unsure += amount  # one of the two will have been for nothing
        await self.journal.sent(request.key)
        copies = {first, asyncio.create_task(self.client.complete(request.body))}
        try:
            for copy in asyncio.as_completed(copies):
                with contextlib.suppress(Busy, Unanswered):
                    return await copy
            return await first  # neither was answered: raise what the first met
        finally:
            for task in copies:
                task.cancel()

    def _count(self, error: Exception) -> None:
        self.problems[str(error).split(maxsplit=1)[0].rstrip(":") if str(error) else "?"] += 1
