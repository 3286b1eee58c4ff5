"""The judge that a recipe names: a chat model at an endpoint, or a reward model in a folder."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from soda import storage
from soda.config import Group
from soda.endpoint.address import Address
from soda.endpoint.budget import Price
from soda.endpoint.caller import Caller
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Job, Rules, Work
from soda.endpoint.journal import Journal
from soda.endpoint.limits import Limits
from soda.endpoint.request import Request
from soda.endpoint.stopping import Stopped
from soda.endpoint.upload import open_journal
from soda.endpoint.waits import Waits
from soda.errors import ModelError
from soda.judging.judges import ChatJudge, Judge
from soda.judging.protocols import PROTOCOLS
from soda.progress import say
from soda.rows import Message, digest
from soda.storage import Place

__all__ = ["Bill", "JudgeModel", "open_judge"]

_KEY = "SODA_JUDGE_API_KEY"
_READ = ("answered", "truncated")  # replies with something in them


class JudgeModel(Group):
    """Which model judges, and what it is asked with; without one, only verifiers judge."""

    base_url: str = Field(default="", description="OpenAI-style endpoint; SODA_JUDGE_BASE_URL wins")
    model: str = Field(default="", description="the judge's name there; SODA_JUDGE_MODEL wins")
    sampling: dict[str, Any] = Field(
        default={"max_tokens": 1024, "temperature": 0},
        description="sent as it is with every request",
    )
    protocol: Literal["pairwise", "scores"] = Field(
        default="pairwise", description="'scores': 1 to 10 for each answer, as in SODA's evaluation"
    )
    calibration: int = Field(
        default=50, ge=0, description="planted pairs of each kind, which measure the judge's biases"
    )
    reward_model: str = Field(
        default="", description="in a chat model's place: the folder of a reward model, safetensors"
    )
    reward_model_digest: str = Field(
        default="", description="of its weights; filled in if left out"
    )

    @field_validator("base_url")
    @classmethod
    def _one_form_of_the_url(cls, url: str) -> str:
        return str(Address.parse(url)) if url else url

    @property
    def name(self) -> str:
        """What verdicts call it; "" if there is none."""
        return self.reward_model.rstrip("/").rpartition("/")[2] or (
            self.model if self.base_url else ""
        )

    def pinned(self) -> Self:
        """Return it with what the environment says, and the digest of the reward model."""
        values = self.model_dump()
        values["base_url"] = os.environ.get("SODA_JUDGE_BASE_URL") or self.base_url
        values["model"] = os.environ.get("SODA_JUDGE_MODEL") or self.model
        if self.reward_model and not self.reward_model_digest:
            files = sorted(Place.of(self.reward_model).fetch().glob("*.safetensors"))
            if not files:
                raise ModelError(
                    f"{self.reward_model}: expected a reward model, found no safetensors"
                )
            values["reward_model_digest"] = digest([storage.file_digest(each) for each in files])
        return type(self).model_validate(values)

    def deciding(self) -> dict[str, Any]:
        """Return what decides its verdicts."""
        where = Address.parse(self.base_url).identity if self.base_url else ""
        return {**self.model_dump(mode="json", exclude={"reward_model"}), "base_url": where}


class Bill:
    """What a judge's requests came to."""

    def __init__(self) -> None:
        self.answered = 0
        self.usd = 0.0
        self.usd_possibly_billed = 0.0

    @property
    def total(self) -> float:
        """What may have been paid."""
        return self.usd + self.usd_possibly_billed

    def add(self, job: Job) -> None:
        """Add one job's."""
        account = job.account()
        self.answered += account["answered"]
        self.usd += account["usd"]
        self.usd_possibly_billed += account["usd_possibly_billed"]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return dict(vars(self))


class _Asking:
    """Asks many requests at once; replies and money are kept in a journal."""

    def __init__(
        self, journal: Journal, stage: str, judge: JudgeModel, rules: Rules, bill: Bill
    ) -> None:
        self._journal = journal
        self._endpoint = Endpoint(Caller(stage, "judge", _KEY), Address.parse(judge.base_url))
        self._where = judge.deciding()["base_url"]
        self._body = {"model": judge.model, **judge.sampling}
        self._rules = rules
        self._bill = bill

    def __call__(self, many: Iterable[list[Message]]) -> Iterator[str | None]:
        bodies = ({**self._body, "messages": messages} for messages in many)
        requests = [Request.of(self._where, body) for body in bodies]
        job = Job(
            self._journal,
            self._endpoint,
            Work(self._body, lambda: requests, len(requests)),
            self._rules_for(len(requests)),
        )
        try:
            job.run()
        finally:
            self._bill.add(job)
        for request in requests:
            answer = job.end_of(request)
            yield answer.text if answer.outcome in _READ else None

    def _rules_for(self, count: int) -> Rules:
        """Return the rules of one more job: the cap is over all of them, a refusal is no end."""
        limits = self._rules.limits
        if limits.usd is not None:
            limits = limits.model_copy(update={"usd": limits.usd - self._bill.total})
        return Rules(self._rules.price, limits, most_failed=count, waits=self._rules.waits)


@contextlib.contextmanager
def open_judge(
    judge: JudgeModel,
    store: Place,
    *,
    stage: str,
    share: str,
    price: Price,
    limits: Limits,
    waits: Waits | None = None,
) -> Iterator[tuple[Judge | None, Bill]]:
    """Give the judge that a recipe names, or None, and the bill that its verdicts add to.

    Args:
        store: where the journal lies: a verdict is paid for once.
        stage: who asks, for messages.
        share: a name for what is judged; one process at a time judges it.

    Raises:
        EndpointError, BudgetError: as of the teacher.
        SystemExit: a signal came; what was said is kept.
    """
    bill = Bill()
    if judge.reward_model:
        from soda.judging.reward_model import RewardModel

        yield RewardModel(Place.of(judge.reward_model).fetch(), judge.name), bill
        return
    if not judge.name:
        yield None, bill
        return
    rules = Rules(price, limits, waits=waits or Waits())
    asked = {"endpoint": judge.deciding()["base_url"], "model": judge.model, **judge.sampling}
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", judge.model)[:40].strip("-")
    with open_journal(store, f"judge/{plain}-{digest(asked)[:8]}", share[:16]) as journal:
        asking = _Asking(journal, stage, judge, rules, bill)
        try:
            yield ChatJudge(judge.name, PROTOCOLS[judge.protocol], asking), bill
        except Stopped as stopped:
            say(f"{stage}: {stopped}; what was said is kept: run again to go on")
            raise SystemExit(128 + stopped.number) from None
