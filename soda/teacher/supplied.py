"""Answers that a team already has: a JSONL of prompt and response, or an OpenAI batch output."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soda.endpoint.answer import Answer
from soda.endpoint.batch_lines import read_batch_line
from soda.endpoint.disk_map import DiskMap
from soda.endpoint.envelope import plain_answer, read
from soda.endpoint.refusals import Where
from soda.errors import DataError, found_instead
from soda.rows import Message, Prompt, digest

__all__ = ["Supplied", "Use", "name_of", "read_answers"]

_ENOUGH = 0.9  # of what was supplied: fewer that match are the wrong file, or another spelling
_WHERE = Where("the supplied answers", "", "")


@dataclass(frozen=True, slots=True)
class Use:
    """How much of what was supplied belongs to the prompts."""

    used: int
    supplied: int
    unused: int | None  # the line of one that does not

    @property
    def enough(self) -> bool:
        """Whether nearly all does."""
        return self.used >= _ENOUGH * self.supplied

    def __str__(self) -> str:
        text = f"{self.used:,} of {self.supplied:,} supplied answers belong to these prompts"
        return f"{text}; that of line {self.unused} does not" if self.unused else text


class Supplied:
    """A file of answers, found by a prompt's id or by its messages; memory stays constant."""

    def __init__(self, path: Path | None):
        self._answers = DiskMap()
        self._examples: dict[int, int] = {}  # by an answer's number its line: of a few
        self.count = 0
        for line, keys, answer in read_answers(path) if path else ():
            entry = json.dumps([self.count, answer.to_json()]).encode()
            new = [self._answers.add(key.encode(), entry) for key in keys]
            if any(new):
                if len(self._examples) < 1000:
                    self._examples[self.count] = line
                self.count += 1
        if path and not self.count:
            raise DataError(f"{path}: expected answers, found none")

    def close(self) -> None:
        """Give the disk space back."""
        self._answers.close()

    def get(self, prompt: Prompt) -> Answer | None:
        """Return the answer to a prompt."""
        found = self._find(prompt)
        return None if found is None else found[1]

    def use(self, prompts: Iterable[Prompt]) -> Use:
        """Count how many of the answers belong to prompts."""
        used = bytearray(self.count)
        for prompt in prompts if self.count else ():
            if (found := self._find(prompt)) is not None:
                used[found[0]] = 1
        unused = next((line for at, line in self._examples.items() if not used[at]), None)
        return Use(sum(used), self.count, unused)

    def _find(self, prompt: Prompt) -> tuple[int, Answer] | None:
        if not self.count:
            return None
        entry = self._answers.get(prompt.id.encode())
        entry = entry or self._answers.get(name_of(prompt.messages).encode())
        if entry is None:
            return None
        number, answer = json.loads(entry)
        return int(number), Answer.from_json(answer)


def read_answers(path: Path) -> Iterator[tuple[int, list[str], Answer]]:
    """Read answers with their line and what finds them: the prompt's id, its messages' digest.

    A line is `{"prompt" or "messages": ..., "response": ...}`, with `id` and `finish_reason` if
    known; or a line of an OpenAI Batch API output file, whose `custom_id` is the prompt's id. Lines
    of the batch's input file may stand before: they say which prompt such an id is.

    Raises:
        DataError: the file is missing, or a line is neither.
    """
    asked: dict[str, str] = {}  # custom_id -> digest of its messages
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            if "custom_id" in row and "body" in row and "response" not in row:
                asked[str(row["custom_id"])] = name_of(row["body"]["messages"])
                continue
            found = _batch_row(line, asked) if "custom_id" in row else _plain_row(row)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(
                f"{path}:{number}: expected prompt and response, or a line of an OpenAI batch "
                f"output, found {line[:80].strip()!r}"
            ) from error
        if found is not None:
            yield number, *found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        found = found_instead(error)
        raise DataError(f"{path}: expected a file of answers, found {found}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, found something else") from error


def _plain_row(row: dict[str, Any]) -> tuple[list[str], Answer]:
    answer = plain_answer(row["response"], row.get("finish_reason"), row.get("model"))
    keys = [] if row.get("id") is None else [str(row["id"])]
    prompt = row.get("messages") or row.get("prompt")
    if prompt is not None:
        messages: list[Message] = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        )
        keys.append(name_of(messages))
    if not keys:
        raise KeyError("prompt")
    return keys, answer


def _batch_row(line: str, asked: dict[str, str]) -> tuple[list[str], Answer] | None:
    """Return a batch's answer; None where its request was not answered."""
    found = read_batch_line(line)
    if found is None:
        raise ValueError("no line of a batch output")
    if found.received is None or found.received.status != 200:
        return None
    end = read(found.received, _WHERE)
    if not isinstance(end, Answer):
        raise ValueError(str(end))
    return [found.key, *filter(None, [asked.get(found.key)])], end


def name_of(messages: list[Message]) -> str:
    """Return what messages are found by; white space at their ends does not count."""
    return digest(
        [
            {"role": each["role"], "content": each["content"].replace("\r\n", "\n").strip()}
            for each in messages
        ]
    )
