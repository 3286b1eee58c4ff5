"""Answers that a team already has: a JSONL of prompt and response, or an OpenAI batch output."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soda.errors import DataError
from soda.rows import Message, digest

__all__ = ["read_answers"]


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Read answers by prompt id (`custom_id` or `id`) and by the digest of the prompt's messages.

    A line is `{"prompt" or "messages": ..., "response": ...}`, with `id` and `finish_reason` if
    known; or a line of an OpenAI Batch API output file, whose `custom_id` is the prompt's id.

    Raises:
        DataError: the file is missing, or a line is neither.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            for key, answer in _batch_row(row) if "custom_id" in row else _plain_row(row):
                found.setdefault(key, answer)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(
                f"{path}:{number}: expected prompt and response, or a line of an OpenAI batch "
                f"output, found {line[:80].strip()!r}"
            ) from error
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise DataError(f"{path}: expected a file of answers, found {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, found {error}") from error


def _plain_row(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    answer = _answer(row["response"], row.get("finish_reason"), row.get("model"))
    if row.get("id") is not None:
        yield str(row["id"]), answer
    prompt = row.get("messages") or row.get("prompt")
    if prompt is not None:
        messages: list[Message] = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        )
        yield digest(messages), answer
    elif row.get("id") is None:
        raise KeyError("prompt")


def _batch_row(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    response = row.get("response")
    if row.get("error") or response is None or response["status_code"] != 200:
        return  # the prompt stays unanswered, and is asked again or recorded as failed
    body = response["body"]
    choice = body["choices"][0]
    message = choice["message"]
    finish = "content_filter" if message.get("refusal") else choice.get("finish_reason")
    yield str(row["custom_id"]), _answer(message.get("content"), finish, body.get("model"))


def _answer(text: str | None, finish: str | None, model: str | None) -> dict[str, Any]:
    text = text or ""
    outcome = {"length": "truncated", "content_filter": "refused"}.get(finish or "stop")
    return {
        "text": text,
        "outcome": outcome or ("answered" if text.strip() else "empty"),
        "tokens": None,
        "detail": None,
        "model": model,
        "fingerprint": None,
    }
