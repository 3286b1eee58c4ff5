"""Ask the teacher every prompt once."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx
from pydantic import Field, field_validator

from soda import storage
from soda.artifact import Writer, store_of
from soda.config import Config
from soda.errors import ConfigError, TeacherError
from soda.kinds import Prompts, Responses
from soda.progress import progress
from soda.rows import Prompt, Response, digest
from soda.teacher.answers import read_answers
from soda.teacher.client import TIMEOUT, TeacherClient, TeacherUnanswered
from soda.teacher.journal import Journal

__all__ = ["TeacherGenConfig", "teacher_gen"]

Answers = dict[str, dict[str, Any]]


class TeacherGenConfig(Config):
    """Which teacher, and what it is asked with."""

    locations: ClassVar[tuple[str, ...]] = ("answers",)

    base_url: str = Field("", description="OpenAI-style endpoint; SODA_TEACHER_BASE_URL wins")
    model: str = Field("", description="the teacher's name there; SODA_TEACHER_MODEL wins")
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

    @field_validator("base_url")
    @classmethod
    def _no_secret_in_the_url(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("expected no user or password in the URL, found one")
        if url and not url.startswith(("http://", "https://")):
            raise ValueError(f"expected http:// or https://, found '{url}'")
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
            path = storage.local_path(self.answers)
            values["answers_digest"] = storage.file_digest(path) if path.is_file() else ""
        return type(self).model_validate(values)


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


def teacher_gen(*, prompts: Prompts, config: TeacherGenConfig, out: Path) -> Responses:
    """Ask the teacher every prompt: the chosen side of the pairs.

    Each prompt ends as one row: answered, truncated, refused, empty or failed. Answers are kept in
    a journal as they come; a run that was killed asks for none of them again. The key is read from
    SODA_TEACHER_API_KEY; SODA_TEACHER_CONCURRENCY (8) says how many requests are under way at once.
    """
    given = _given_answers(config)
    if not given and not (config.base_url and config.model):
        raise ConfigError(
            "teacher-gen: expected a teacher, found none: set SODA_TEACHER_BASE_URL and "
            "SODA_TEACHER_MODEL, or teacher-gen.answers in the recipe"
        )
    rows = list(prompts.rows())
    journal_path = store_of(out) / "journal" / "teacher.jsonl"
    with Responses.create(out, config=config, inputs={"prompts": prompts}) as writer:
        answers = {row.id: found for row in rows if (found := _find_given(given, row))}
        unasked = [row for row in rows if row.id not in answers]
        if config.base_url and config.model:
            with storage.lock(journal_path.with_suffix(".lock")), Journal(journal_path) as journal:
                answers |= asyncio.run(_ask(unasked, config, journal))
        _write(writer, rows, answers, config)
    return Responses.open(out)


def _given_answers(config: TeacherGenConfig) -> Answers:
    if not config.answers:
        return {}
    path = storage.local_path(config.answers)
    answers = read_answers(path)
    found = storage.file_digest(path)
    if found != config.answers_digest:
        raise ConfigError(
            f"{path}: expected sha256 {config.answers_digest[:12]}..., found {found[:12]}..."
        )
    return answers


def _find_given(given: Answers, prompt: Prompt) -> dict[str, Any] | None:
    return given.get(prompt.id) or given.get(digest(prompt.messages))


async def _ask(rows: list[Prompt], config: TeacherGenConfig, journal: Journal) -> Answers:
    """Return the teacher's answer by prompt id: from the journal, or by asking."""
    bodies = {
        row.id: {"model": config.model, "messages": row.messages, **config.sampling} for row in rows
    }
    keys = {row: digest({"endpoint": config.base_url, **body}) for row, body in bodies.items()}
    known = journal.read(set(keys.values()))
    answers = {row: known[key] for row, key in keys.items() if key in known}
    waiting = iter([row for row in bodies if row not in answers])  # shared by all workers
    concurrency = _concurrency()
    limits = httpx.Limits(max_connections=concurrency)
    api_key = os.environ.get("SODA_TEACHER_API_KEY")
    bar = progress("teacher-gen", total=len(rows), unit="prompts", done=len(answers))
    failures: list[str] = []
    fatal: list[TeacherError] = []

    async def worker(client: TeacherClient) -> None:
        try:
            await ask_the_next(client)
        except TeacherError as error:  # the others end the requests they have under way
            fatal.append(error)
            client.stop()

    async def ask_the_next(client: TeacherClient) -> None:
        for row in waiting:
            if fatal:
                return
            try:
                answer = await client.complete(bodies[row])
            except TeacherUnanswered as error:
                if fatal:
                    return
                failures.append(str(error))
                if len(failures) > config.max_failed_share * len(rows):
                    kept = len(answers) - len(failures) + 1
                    raise TeacherError(
                        f"{config.base_url}: no answer to {len(failures)} of {len(rows)} prompts, "
                        f"the last time: {error}; {kept} answers are kept, run again"
                    ) from error
                answers[row] = _failed(str(error))
            else:
                journal.append(keys[row], answer)
                answers[row] = answer
            bar.update()

    with contextlib.closing(bar):
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits) as http:
            client = TeacherClient(http, config.base_url, api_key)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(concurrency):
                        group.create_task(worker(client))
            except* OSError as errors:  # the journal's disk is full
                raise errors.exceptions[0] from None
    if fatal:
        raise fatal[0]
    return answers


def _concurrency() -> int:
    text = os.environ.get("SODA_TEACHER_CONCURRENCY") or "8"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"SODA_TEACHER_CONCURRENCY: expected 1 or more, found '{text}'")
    return int(text)


def _failed(detail: str) -> dict[str, Any]:
    return {
        "text": "",
        "outcome": "failed",
        "tokens": None,
        "detail": detail,
        "model": None,
        "fingerprint": None,
    }


def _whole(value: Any) -> Any:
    """Put U+FFFD for half a surrogate pair: JSON can hold one, UTF-8 and tokenizers cannot."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _write(writer: Writer, rows: list[Prompt], answers: Answers, config: TeacherGenConfig) -> None:
    nothing = _failed("not among the given answers")
    served: set[str] = set()
    fingerprints: set[str] = set()
    for row in rows:
        answer = answers.get(row.id, nothing)
        served |= {answer["model"]} - {None}
        fingerprints |= {answer["fingerprint"]} - {None}
        parts = {key: _whole(answer[key]) for key in ("text", "outcome", "tokens", "detail")}
        Responses.write(writer, Response(prompt=row, **parts))
    writer.facts["teacher"] = {
        "endpoint": config.base_url,
        "model": config.model or ", ".join(sorted(served)) or "given answers",
        "served": sorted(served),
        "fingerprints": sorted(fingerprints),
        "answers_digest": config.answers_digest,
    }
