"""Answers that a team already has: a JSONL of prompt and response, or an OpenAI batch output."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soda.endpoint.batch import read_batch_line
from soda.endpoint.client import read_completion
from soda.endpoint.shelf import Shelf
from soda.errors import DataError
from soda.rows import Message, Prompt, digest

__all__ = ["Given", "read_answers"]


class Given:
    """A file of answers, found by a prompt's id or by its messages; memory stays constant."""

    def __init__(self, path: Path | None):
        self._shelf = Shelf()
        self.count = 0
        for key, answer in read_answers(path) if path else ():
            self.count += self._shelf.add(key.encode(), json.dumps(answer).encode())

    def close(self) -> None:
        """Give the disk space back."""
        self._shelf.close()

    def get(self, prompt: Prompt) -> dict[str, Any] | None:
        """Return the answer to a prompt."""
        if not self.count:
            return None
        found = self._shelf.get(prompt.id.encode()) or self._shelf.get(
            digest(prompt.messages).encode()
        )
        return None if found is None else dict(json.loads(found))


def read_answers(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read answers with what finds them: the prompt's id, and the digest of its messages.

    A line is `{"prompt" or "messages": ..., "response": ...}`, with `id` and `finish_reason` if
    known; or a line of an OpenAI Batch API output file, whose `custom_id` is the prompt's id.

    Raises:
        DataError: the file is missing, or a line is neither.
    """
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            found = list(_batch_row(row) if "custom_id" in row else _plain_row(row))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(
                f"{path}:{number}: expected prompt and response, or a line of an OpenAI batch "
                f"output, found {line[:80].strip()!r}"
            ) from error
        yield from found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise DataError(f"{path}: expected a file of answers, found {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, found {error}") from error


def _plain_row(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    message = {"content": row["response"]}
    choice = {"message": message, "finish_reason": row.get("finish_reason")}
    answer = read_completion({"choices": [choice], "model": row.get("model")})
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
    with contextlib.suppress(LookupError):
        yield read_batch_line(row)
