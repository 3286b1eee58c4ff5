"""Ask the teacher every prompt once."""

import contextlib
import itertools
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from soda import storage
from soda.artifacts.kinds import Prompts, Responses
from soda.artifacts.writer import Writer
from soda.config import Config
from soda.endpoint.asking import Request, Stopped
from soda.endpoint.budget import Price
from soda.endpoint.client import unanswered
from soda.endpoint.shipping import open_journal
from soda.errors import ConfigError
from soda.progress import say
from soda.rows import Prompt, Response, Shard, digest, part_of
from soda.storage import Place
from soda.teacher.given import Given
from soda.teacher.job import Job, Limits

__all__ = ["TeacherGenConfig", "given_file", "open_job", "teacher_gen"]

Answer = dict[str, Any]


class TeacherGenConfig(Config):
    """Which teacher, and what it is asked with."""

    aside: ClassVar[tuple[str, ...]] = ("answers", "price", "limits", "probe", "batch")

    base_url: str = Field("", description="OpenAI-style endpoint; SODA_TEACHER_BASE_URL wins")
    model: str = Field("", description="the teacher's name there; SODA_TEACHER_MODEL wins")
    identity: str = Field(
        "", description="which teacher is behind the name: another one is asked everything anew"
    )
    sampling: dict[str, Any] = Field(
        {"max_tokens": 1536},
        description="sent as it is with every request: temperature, max_tokens, seed, ...",
    )
    answers: str = Field(
        "", description="answers you already have: JSONL, or an OpenAI batch output; asked never"
    )
    answers_digest: str = Field("", description="sha256 of that file; filled in if left out")
    max_failed_share: float = Field(
        0.01, ge=0, le=1, description="stop if more of the prompts than this stay unanswered"
    )
    shard: Shard = Field("1/1", description="'2/8': every eighth prompt, from the second")
    price: Price = Field(Price(), description="USD per million tokens: {input: 2.5, output: 10}")
    limits: Limits = Field(
        Limits(),
        description="concurrency, requests_per_minute, tokens_per_minute, usd, timeout_seconds, "
        "hedge_after_seconds; usd stops before these prompts can cost more",
    )
    probe: bool = Field(
        True, description="ask six fixed prompts first, to see whether the teacher has changed"
    )

    batch: bool = Field(
        False, description="ask through the OpenAI Batch API: half the price, within a day"
    )

    @field_validator("base_url")
    @classmethod
    def _no_secret_in_the_url(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("expected no user or password in the URL, found one")
        if url and not url.startswith(("http://", "https://")):
            raise ValueError(f"expected http:// or https://, found '{url}'")
        try:
            urllib.parse.urlsplit(url)
        except ValueError as error:
            raise ValueError(f"expected a URL, found '{url}': {error}") from error
        return url

    @field_validator("sampling")
    @classmethod
    def _one_form_of_a_number(cls, sampling: dict[str, Any]) -> dict[str, Any]:
        taken = sorted({"model", "messages", "stream", "n"} & sampling.keys())
        if taken:
            raise ValueError(
                f"expected sampling values, found '{taken[0]}', which soda sets itself"
            )
        return {key: _integral(value) for key, value in sampling.items()}

    def pin(self) -> Self:
        """Write the teacher from the environment, and the digest of given answers, into it."""
        values = self.model_dump()
        values["base_url"] = os.environ.get("SODA_TEACHER_BASE_URL") or self.base_url
        values["model"] = os.environ.get("SODA_TEACHER_MODEL") or self.model
        if self.answers and not self.answers_digest:
            path = Place.of(self.answers).fetch()
            values["answers_digest"] = storage.file_digest(path) if path.is_file() else ""
        return type(self).model_validate(values)

    def body(self) -> dict[str, Any]:
        """Return what every request has but its messages."""
        return {"model": self.model, **self.sampling}

    def teacher(self) -> str:
        """Return a file name for all that this teacher is asked with."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", self.model)[:40].strip("-")
        asked = {"endpoint": self.base_url, **self.body()}
        if self.identity:
            asked["identity"] = self.identity
        return f"{name}-{digest(asked)[:8]}"


def _integral(value: Any) -> Any:
    """Write `3.0` as `3`, also inside: Kubeflow makes floats of all numbers, a request must not."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _integral(inner) for key, inner in value.items()}
        case list():
            return [_integral(inner) for inner in value]
    return value


def teacher_gen(*, prompts: Prompts, config: TeacherGenConfig, out: Place) -> Responses:
    """Ask the teacher every prompt: the chosen side of the pairs.

    Each prompt ends as one row: answered, truncated, refused, empty or failed. Answers are kept in
    a journal as they come: a run that was killed asks for none of them again, nor does another run
    with other prompts, or the whole after its shards. The key is read from SODA_TEACHER_API_KEY.
    """
    asks = bool(config.base_url and config.model)
    if not config.answers and not asks:
        raise ConfigError(
            "teacher-gen: expected a teacher, found none: set SODA_TEACHER_BASE_URL and "
            "SODA_TEACHER_MODEL, or teacher-gen.answers in the recipe"
        )
    with (
        contextlib.closing(Given(given_file(config))) as given,
        Responses.create(out, config=config, inputs={"prompts": prompts}) as writer,
    ):
        if not asks:
            _write(writer, config, ((row, given.get(row)) for row in _rows(prompts, config)))
        else:
            with open_job(prompts, config, given, out) as job:
                try:
                    job.run()
                except Stopped as stopped:
                    say(f"teacher-gen: {stopped}; what was answered is kept: run again to go on")
                    raise SystemExit(128 + stopped.number) from None
                _write(writer, config, _answers(prompts, config, given, job))
                writer.account.update(job.account())
    return Responses.open(out)


@contextlib.contextmanager
def open_job(prompts: Prompts, config: TeacherGenConfig, given: Given, out: Place) -> Iterator[Job]:
    """Open the journal for these prompts, and give the job of asking what is not in it."""
    share = digest([prompts.digest, config.shard])[:16]
    with open_journal(out.store(), config.teacher(), share) as journal:
        yield Job(
            journal,
            config.base_url,
            config.body(),
            lambda: (_request(row, config, given) for row in _rows(prompts, config)),
            total=len(range(*part_of(config.shard).indices(len(prompts)))),
            price=config.price,
            limits=config.limits,
            allowed_failures=config.max_failed_share * len(prompts),
            probe=config.probe,
            batch=f"{config.teacher()}/{share}" if config.batch else None,
        )


def given_file(config: TeacherGenConfig) -> Path | None:
    """Return the file of answers that a team already has, if there is one.

    Raises:
        ConfigError: it is not the one that the config was pinned to.
    """
    if not config.answers:
        return None
    path = Place.of(config.answers).fetch()
    found = storage.file_digest(path) if path.is_file() else config.answers_digest
    if found != config.answers_digest:
        raise ConfigError(
            f"{path}: expected sha256 {config.answers_digest[:12]}..., found {found[:12]}..."
        )
    return path


def _rows(prompts: Prompts, config: TeacherGenConfig) -> Iterator[Prompt]:
    """Read the prompts of this shard."""
    part = part_of(config.shard)
    return itertools.islice(prompts.rows(), part.start, None, part.step)


def _request(row: Prompt, config: TeacherGenConfig, given: Given) -> Request | None:
    if given.get(row) is not None:
        return None
    return Request.of(config.base_url, {**config.body(), "messages": row.messages})


def _answers(
    prompts: Prompts, config: TeacherGenConfig, given: Given, job: Job
) -> Iterator[tuple[Prompt, Answer | None]]:
    for row in _rows(prompts, config):
        request = _request(row, config, given)
        yield row, given.get(row) if request is None else job.end_of(request)


def _whole(value: Any) -> Any:
    """Put U+FFFD for half a surrogate pair: JSON can hold one, UTF-8 and tokenizers cannot."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _write(
    writer: Writer, config: TeacherGenConfig, answers: Iterable[tuple[Prompt, Answer | None]]
) -> None:
    served: set[str] = set()
    fingerprints: set[str] = set()
    for row, found in answers:
        answer = found or unanswered("not among the given answers")
        served |= {answer["model"]} - {None}
        fingerprints |= {answer["fingerprint"]} - {None}
        parts = {key: _whole(answer[key]) for key in ("text", "outcome", "tokens", "detail")}
        Responses.write(writer, Response(prompt=row, **parts))
    writer.facts["teacher"] = {
        "endpoint": config.base_url,
        "identity": config.identity,
        "model": config.model or ", ".join(sorted(served)) or "given answers",
        "served": sorted(served),
        "fingerprints": sorted(fingerprints),
        "answers_digest": config.answers_digest,
    }
