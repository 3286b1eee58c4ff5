"""Ask the teacher every prompt once."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from soda import storage
from soda.artifacts.kinds import Prompts, Responses
from soda.artifacts.writer import Writer
from soda.config import Config
from soda.endpoint.address import Address, BaseUrl
from soda.endpoint.answer import Answer
from soda.endpoint.asker import Asker
from soda.endpoint.budget import Price
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Job, Rules, Work
from soda.endpoint.journal import Journal
from soda.endpoint.limits import Limits
from soda.endpoint.request import Request
from soda.endpoint.stopping import Stopped
from soda.endpoint.upload import open_journal
from soda.errors import ConfigError
from soda.progress import say
from soda.rows import Prompt, Response, Shard, digest, part_of, told
from soda.storage import Place
from soda.storage.packaged import local_file
from soda.teacher.caller import TEACHER
from soda.teacher.fingerprint import Fingerprint, take_fingerprint, verdict
from soda.teacher.served import as_asked
from soda.teacher.supplied import Supplied

__all__ = ["TeacherGenConfig", "generate", "open_job", "supplied_file", "teacher_gen"]

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class TeacherGenConfig(Config):
    """Which teacher, and what it is asked with."""

    aside: ClassVar[tuple[str, ...]] = (
        "answers",
        "headers",
        "price",
        "limits",
        "probe",
        "batch",
    )

    base_url: BaseUrl = Field("", description="OpenAI-style endpoint; SODA_TEACHER_BASE_URL wins")
    model: str = Field("", description="the teacher's name there; SODA_TEACHER_MODEL wins")
    identity: str = Field(
        "", description="which teacher is behind the name: a new one is asked everything again"
    )
    sampling: dict[str, Any] = Field(
        {"max_tokens": 1536},
        description="sent as it is with every request: temperature, max_tokens, seed, ...",
    )
    headers: dict[str, str] = Field(
        {}, description="further headers, by the variable that holds each: {api-key: AZURE_KEY}"
    )
    thoughts: Literal["drop", "keep"] = Field(
        "drop", description="what a thinking teacher says before its answer: kept beside it, or not"
    )
    served: Literal["as_asked", "any"] = Field(
        "any", description="'as_asked' takes no answer of a model that a gateway put in its place"
    )
    system: str = Field(
        "", description="system prompt before every prompt, for answers that are meant to be bad"
    )
    source: str = Field("", description="what the model is called in pairs; else its name")
    answers: str = Field(
        "",
        description="answers you already have, also as package:NAME/FILE: JSONL, or an OpenAI "
        "batch output; nothing is asked",
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
        "patience_seconds; usd stops before these prompts can cost more",
    )
    probe: bool = Field(
        True, description="ask six fixed prompts first, to see whether the teacher has changed"
    )
    batch: bool = Field(
        False, description="ask through the OpenAI Batch API: half the price, within a day"
    )

    @field_validator("headers")
    @classmethod
    def _no_secret_in_the_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, variable in headers.items():
            if not _VARIABLE.fullmatch(variable):  # it may be a secret: it is not shown
                raise ValueError(
                    f"expected the name of an environment variable for '{name}', such as "
                    "AZURE_KEY, found something else"
                )
        return headers

    @field_validator("sampling")
    @classmethod
    def _one_form_of_a_number(cls, sampling: dict[str, Any]) -> dict[str, Any]:
        taken = sorted({"model", "messages", "stream", "n"} & sampling.keys())
        if taken:
            raise ValueError(
                f"expected sampling values, found '{taken[0]}', which soda sets itself"
            )
        try:
            json.dumps(sampling, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(f"expected values that JSON has, found {sampling}") from None
        return {key: _integral(value) for key, value in sampling.items()}

    def pin(self) -> Self:
        """Write the teacher from the environment, and the digest of given answers, into it."""
        values = self.model_dump()
        values["base_url"] = os.environ.get("SODA_TEACHER_BASE_URL") or self.base_url
        values["model"] = os.environ.get("SODA_TEACHER_MODEL") or self.model
        if self.answers and not self.answers_digest:
            path = local_file(self.answers)
            values["answers_digest"] = storage.file_digest(path) if path.is_file() else ""
        return type(self).model_validate(values)

    def deciding(self) -> dict[str, Any]:
        """Return the values that decide the result; the names of this machine are one name."""
        return {**super().deciding(), "base_url": self.where()}

    def where(self) -> str:
        """Return the teacher's address as it counts in keys."""
        return Address.parse(self.base_url).identity if self.base_url else ""

    def endpoint(self) -> Endpoint:
        """Return the teacher, to be asked."""
        return Endpoint(TEACHER, Address.parse(self.base_url), self.headers)

    def body(self) -> dict[str, Any]:
        """Return what every request has but its messages."""
        return {"model": self.model, **self.sampling}

    def teacher(self) -> str:
        """Return a file name for all that this teacher is asked with."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", self.model)[:40].strip("-")
        asked = {"endpoint": self.where(), **self.body()}
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
    return generate(prompts, config, out)


def generate(
    prompts: Prompts, config: TeacherGenConfig, out: Place, rules: Rules | None = None
) -> Responses:
    """Do what `teacher_gen` does, by rules that a test may bring: its waits, its batches' size."""
    asks = bool(config.base_url and config.model)
    if not config.answers and not asks:
        raise ConfigError(
            "teacher-gen: expected a teacher, found none: set SODA_TEACHER_BASE_URL and "
            "SODA_TEACHER_MODEL, or teacher-gen.answers in the recipe"
        )
    with (
        contextlib.closing(Supplied(supplied_file(config))) as supplied,
        Responses.create(out, config=config, inputs={"prompts": prompts}) as writer,
    ):
        _check_use(prompts, config, supplied, asks)
        if not asks:
            _write(writer, config, ((row, supplied.get(row)) for row in _rows(prompts, config)))
        else:
            with open_job(prompts, config, supplied, out, rules) as job:
                try:
                    job.run()
                except Stopped as stopped:
                    say(f"teacher-gen: {stopped}; what was answered is kept: run again to go on")
                    raise SystemExit(128 + stopped.number) from None
                _write(writer, config, _answers(prompts, config, supplied, job))
                writer.account.update(job.account())
    return Responses.open(out)


def _check_use(prompts: Prompts, config: TeacherGenConfig, supplied: Supplied, asks: bool) -> None:
    """Say how many of the supplied answers are used, and refuse a file that fits badly.

    Raises:
        ConfigError: few are, and others would be paid for.
    """
    if not config.answers:
        return
    use = supplied.use(prompts.rows())
    say(f"teacher-gen: {use}")
    missing = any(supplied.get(row) is None for row in _rows(prompts, config))
    if missing and (asks or not use.used) and not use.enough:
        raise ConfigError(
            f"{config.answers}: {use}; expected nearly all. An answer is found by its prompt's id "
            "or its whole messages, system prompt too; a batch's input lines may stand before its "
            "output"
        )


@contextlib.contextmanager
def open_job(
    prompts: Prompts,
    config: TeacherGenConfig,
    supplied: Supplied,
    out: Place,
    rules: Rules | None = None,
) -> Iterator[Job]:
    """Open the journal for these prompts, and give the job of asking what is not in it."""
    share = digest([prompts.digest, config.shard])[:16]
    name = f"{TEACHER.name}/{config.teacher()}"
    asking = _Asking(config, supplied)
    with open_journal(out.store(), name, share) as journal:
        work = Work(
            config.body(),
            lambda: map(asking.request, _rows(prompts, config)),
            total=len(range(*part_of(config.shard).indices(len(prompts)))),
            name_of=_beginning,
        )
        served = _Served(config)
        rules = dataclasses.replace(
            rules or Rules(),
            price=config.price,
            limits=config.limits,
            most_failed=config.max_failed_share * len(prompts),
            batch=f"{config.teacher()}/{share}" if config.batch else None,
            check=served.check,
            strict=config.served == "as_asked",
            before=functools.partial(_probe, journal, config, served) if config.probe else None,
        )
        yield Job(journal, config.endpoint(), work, rules)


def _beginning(request: Request) -> str:
    """Name a request in a message, by the first words of its prompt."""
    text = " ".join(request.body["messages"][-1]["content"].split())
    return f"'{text[:60]}'" if len(text) <= 60 else f"'{text[:60]}...'"


class _Served:
    """Looks at who answered: says once that it is another, or takes no such answer."""

    def __init__(self, config: TeacherGenConfig):
        self.probing = False  # nothing is paid for that anybody will use
        self._config = config
        self._said: set[str] = set()

    def check(self, answer: Answer) -> str | None:
        """Return why an answer is not taken."""
        asked, served = self._config.model, answer.model
        if served is None or served in self._said or as_asked(asked, served):
            return None
        if self._config.served == "as_asked":
            return f"served by '{served}', asked for '{asked}'"
        if self.probing:
            return None
        self._said.add(served)
        say(
            f"teacher-gen: asked for '{asked}', and '{served}' answers; "
            "set teacher-gen.served to as_asked to take no such answer"
        )
        return None


async def _probe(journal: Journal, config: TeacherGenConfig, served: _Served, asker: Asker) -> None:
    """Take the teacher's fingerprint, and say if it has changed."""
    served.probing = True
    ask = functools.partial(asker.ask, attempts=1)
    found = await take_fingerprint(ask, config.where(), config.body())
    served.probing = False
    if found is None:  # out of reach: the first prompt will say so
        return
    earlier = Fingerprint.from_json(journal.probes[-1]) if journal.probes else None
    await journal.probed(found.to_json())
    if earlier is None:
        return
    seen = verdict(earlier, found)
    if seen.kind == "changed":
        say(
            f"teacher-gen: the teacher has changed since its earlier answers: {seen.why}; "
            "they are kept: set teacher-gen.identity to ask for all again"
        )
    elif seen.kind == "unclear":
        say(f"teacher-gen: unclear whether the teacher is the one of earlier answers: {seen.why}")


def supplied_file(config: TeacherGenConfig) -> Path | None:
    """Return the file of answers that a team already has, if there is one.

    Raises:
        ConfigError: it is not the one that the config was pinned to.
    """
    if not config.answers:
        return None
    path = local_file(config.answers)
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


class _Asking:
    """Makes the request for a prompt, if it has no answer that was supplied."""

    def __init__(self, config: TeacherGenConfig, supplied: Supplied):
        self._where = config.where()
        self._body = config.body()
        self._system = config.system
        self._cheap = config.batch
        self._supplied = supplied

    def request(self, row: Prompt) -> Request | None:
        """Return it, or None."""
        if self._supplied.get(row) is not None:
            return None
        body = {**self._body, "messages": told(row.messages, self._system)}
        return Request.of(self._where, body, cheap=self._cheap)


def _answers(
    prompts: Prompts, config: TeacherGenConfig, supplied: Supplied, job: Job
) -> Iterator[tuple[Prompt, Answer | None]]:
    asking = _Asking(config, supplied)
    for row in _rows(prompts, config):
        request = asking.request(row)
        yield row, supplied.get(row) if request is None else job.end_of(request)


def _whole(text: str | None) -> str | None:
    """Put U+FFFD for half a surrogate pair: JSON can hold one, UTF-8 and tokenizers cannot."""
    return text and text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _write(
    writer: Writer, config: TeacherGenConfig, answers: Iterable[tuple[Prompt, Answer | None]]
) -> None:
    served: set[str | None] = set()
    fingerprints: set[str | None] = set()
    for row, found in answers:
        answer = found or Answer.missing("not among the supplied answers")
        served.add(answer.model)
        fingerprints.add(answer.fingerprint)
        response = Response(
            row,
            _whole(answer.text) or "",
            answer.outcome,
            answer.tokens,
            _whole(answer.detail),
            _whole(answer.thoughts) if config.thoughts == "keep" else None,
            config.source or config.model or answer.model or "supplied answers",
        )
        Responses.write(writer, response)
    names = sorted(filter(None, served))
    writer.facts["teacher"] = {
        "endpoint": config.where(),
        "identity": config.identity,
        "model": config.model or ", ".join(names) or "supplied answers",
        "served": names,
        "fingerprints": sorted(filter(None, fingerprints)),
        "answers_digest": config.answers_digest,
    }
