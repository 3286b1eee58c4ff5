"""A judge behind an endpoint: its answers are journalled, so that no verdict is paid for twice."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from soda.endpoint.answer import Answer
from soda.endpoint.caller import Caller
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Job, Rules, Work
from soda.endpoint.journal import Journal
from soda.endpoint.request import Request
from soda.endpoint.stopping import Stopped
from soda.endpoint.upload import open_journal
from soda.progress import say
from soda.rows import Message, digest
from soda.storage import Place

__all__ = ["JUDGE", "JudgeAsk", "open_judge"]

JUDGE = Caller("judge", "judge", "SODA_JUDGE_API_KEY")


class JudgeAsk:
    """Asks many requests at once; the bill is over all of them."""

    def __init__(self, journal: Journal, endpoint: Endpoint, body: dict[str, Any], rules: Rules):
        self.account: dict[str, Any] = {}  # what this run did, and what its requests have cost
        self._journal = journal
        self._endpoint = endpoint
        self._body = body
        self._rules = rules
        self._asked: list[Request] = []
        self._answered = 0

    def __call__(self, conversations: list[list[Message]]) -> list[Answer]:
        """Return an answer a conversation; one that was not had says why."""
        where, body = self._endpoint.address.identity, self._body
        new = [Request.of(where, {**body, "messages": each}) for each in conversations]
        self._asked.extend(new)
        work = Work(body, lambda: self._asked, len(self._asked))
        job = Job(self._journal, self._endpoint, work, self._rules)
        try:
            job.run()
        except Stopped as stopped:
            say(
                f"{self._endpoint.caller.name}: {stopped}; what was answered is kept: "
                "run again to go on"
            )
            raise SystemExit(128 + stopped.number) from None
        finally:
            found = job.account()
            self._answered += found["answered"]
            kept = ("usd", "usd_possibly_billed")
            self.account = {"answered": self._answered, **{key: found[key] for key in kept}}
        return [job.end_of(request) for request in new]


@contextlib.contextmanager
def open_judge(
    store: Place, endpoint: Endpoint, body: dict[str, Any], share: str, rules: Rules | None = None
) -> Iterator[JudgeAsk]:
    """Open a judge's journal in the store, and give what asks the judge for one run.

    Price, limits and failures are counted over all that this run asks, however often it does.

    Args:
        endpoint: whom to ask; its caller is usually JUDGE.
        body: what every request has but its messages: the model, the sampling.
        share: a name for the requests of this run; one run at a time may have it.
        rules: `most_failed` is how many requests may stay without an answer: each makes its verdict
            unclear, which the gap gate counts.

    Raises:
        StorageError: another run asks the same share.
        SystemExit: from what is given: a signal came; all that was answered is kept.
    """
    where = endpoint.address.identity
    model = re.sub(r"[^A-Za-z0-9_-]+", "-", str(body["model"]))[:40].strip("-")
    name = f"{endpoint.caller.name}/{model}-{digest({'endpoint': where, **body})[:8]}"
    with open_journal(store, name, share) as journal:
        yield JudgeAsk(journal, endpoint, body, rules or Rules())
