"""The judge that a recipe names: a chat model at an endpoint, or a reward model in a folder."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol, Self

from pydantic import Field

from soda import storage
from soda.artifacts.artifact import Artifact
from soda.config import Group
from soda.endpoint.address import Address, BaseUrl
from soda.endpoint.budget import Price
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Rules
from soda.endpoint.limits import Limits
from soda.errors import ModelError
from soda.judging.endpoint import JUDGE, open_judge
from soda.judging.judges import ChatJudge, Judge
from soda.judging.protocols import PROTOCOLS
from soda.rows import digest
from soda.storage import Place

__all__ = ["Account", "JudgeModel", "judge_of"]

Account = Callable[[], dict[str, Any]]


class JudgeModel(Group):
    """Which model judges, and what it is asked with; without one, only verifiers judge."""

    base_url: BaseUrl = Field(
        default="", description="OpenAI-style endpoint; SODA_JUDGE_BASE_URL wins"
    )
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
        if self.reward_model:
            files = sorted(Place.of(self.reward_model).fetch().glob("*.safetensors"))
            found = digest([storage.file_digest(each) for each in files])
            if not files or self.reward_model_digest not in ("", found):
                expected = self.reward_model_digest[:12] or "a reward model in safetensors"
                there = found[:12] if files else "none"
                raise ModelError(f"{self.reward_model}: expected {expected}, found {there}")
            values["reward_model_digest"] = found
        return type(self).model_validate(values)

    def deciding(self) -> dict[str, Any]:
        """Return what decides its verdicts."""
        where = Address.parse(self.base_url).identity if self.base_url else ""
        return {**self.model_dump(mode="json", exclude={"reward_model"}), "base_url": where}


class _Judging(Protocol):
    """The config of a stage that asks a judge."""

    judge: JudgeModel
    price: Price
    limits: Limits

    @classmethod
    def stage(cls) -> str: ...


@contextlib.contextmanager
def judge_of(
    config: _Judging, judged: Artifact, out: Place
) -> Iterator[tuple[Judge | None, Account]]:
    """Give the judge that a recipe names, or None, and what says what its verdicts came to.

    Args:
        config: of the stage that asks.
        judged: what is judged; one process at a time judges it.
        out: what the stage makes; its store has the journal: a verdict is paid for once.

    Raises:
        EndpointError, BudgetError: as of the teacher.
        SystemExit: a signal came; what was said is kept.
    """
    judge, stage = config.judge, config.stage()
    if judge.reward_model:
        from soda.judging.reward_model import RewardModel

        yield RewardModel(Place.of(judge.reward_model).fetch(), judge.name), dict
        return
    if not judge.name:
        yield None, dict
        return
    endpoint = Endpoint(dataclasses.replace(JUDGE, name=stage), Address.parse(judge.base_url))
    body = {"model": judge.model, **judge.sampling}
    share = digest([judged.digest, stage])[:16]
    # a verdict more or less is no end
    rules = Rules(config.price, config.limits, most_failed=math.inf)
    with open_judge(out.store(), endpoint, body, share, rules) as ask:
        yield ChatJudge(judge.name, PROTOCOLS[judge.protocol], ask), lambda: ask.account
