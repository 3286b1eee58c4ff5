"""Sets of prompts that papers report on, as data: which file, which columns, how many.

One is named by its definition, with the commit of its hub dataset or a file of one's own:
`vicuna-80@<40 hex digits>` or `vicuna-80=sets/vicuna.jsonl`. A file alone is a set too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from soda import storage
from soda.config import suggest
from soda.dataset.hub import hub_rows
from soda.dataset.prompts import conversation
from soda.dataset.reading import FORMATS, Row, read_rows
from soda.errors import ConfigError, DataError
from soda.progress import say
from soda.rows import Message
from soda.storage import Place

__all__ = ["TASK_SETS", "Task", "TaskSet", "open_task_set"]

_FOLDER = Path(__file__).parent / "task_sets"
TASK_SETS = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


class _Definition(BaseModel):
    """What a file in task_sets/ says; of several column names the first that a row has counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = ""  # a hub dataset
    split: str = ""
    prompt: list[str] = ["prompt", "instruction", "question", "messages", "text"]
    context: list[str] = []  # goes below the prompt, where a row has one
    reference: list[str] = ["reference", "response", "output", "answer"]
    count: int | None = None  # rows that the papers report on


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt of a set; its reference is an answer that is known, if one is."""

    id: str
    messages: list[Message]
    reference: str | None = None

    @property
    def text(self) -> str:
        """The last turn, as contamination is looked for."""
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True)
class TaskSet:
    """A set that can be read; `digest` says what is in it."""

    name: str
    digest: str
    _definition: _Definition
    _path: Path | None
    _revision: str

    def tasks(self) -> Iterator[Task]:
        """Read the prompts; rows without one are left out.

        Raises:
            DataError: there are none, or they cannot be read.
        """
        found = 0
        for number, row in enumerate(self._rows(), start=1):
            task = _task(self.name, number, row, self._definition)
            if task is not None:
                found += 1
                yield task
        if not found:
            raise DataError(f"{self.name}: expected prompts, found none")
        if self._definition.count not in (None, found):
            say(f"{self.name}: {found} prompts; papers report on {self._definition.count}")

    def _rows(self) -> Iterator[Row]:
        defined = self._definition
        columns = [*defined.prompt, *defined.context, *defined.reference]
        if self._path is None:
            yield from hub_rows(defined.source, self._revision, defined.split, columns)
            return
        with self._path.open("rb") as file:
            yield from read_rows(file, self._path.suffix, columns)


def open_task_set(text: str) -> TaskSet:
    """Return the set that a recipe names.

    Raises:
        ConfigError: there is no such definition or file, or a hub dataset's commit is missing.
    """
    name, equals, location = text.partition("=")
    known, at, revision = text.partition("@")
    if equals or (name not in TASK_SETS and known not in TASK_SETS):
        location = location or text
        path = Place.of(location).fetch()
        if not path.is_file() or path.suffix not in FORMATS:
            forms = ", ".join(FORMATS)
            raise ConfigError(
                f"{text}: expected a task set or a file ({forms}); {suggest(text, TASK_SETS)}"
            )
        defined = _definition(name) if equals else _Definition()
        return TaskSet(name if equals else path.stem, storage.file_digest(path), defined, path, "")
    if not at:
        raise ConfigError(
            f"{text}: expected the commit of its hub dataset, {text}@<40 hex digits>, or a file, "
            f"{text}=FILE, found neither"
        )
    return TaskSet(known, revision, _definition(known), None, revision)


def _definition(name: str) -> _Definition:
    if name not in TASK_SETS:
        raise ConfigError(f"expected a task set, found '{name}'; {suggest(name, TASK_SETS)}")
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return _Definition.model_validate(yaml.safe_load(text))


def _task(name: str, number: int, row: Row, defined: _Definition) -> Task | None:
    prompt = _first(row.values, defined.prompt)
    if row.problem or not prompt:
        return None
    try:
        messages = conversation(prompt)
    except ValueError:
        return None
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    context = _first(row.values, defined.context)
    if not messages:
        return None
    if isinstance(context, str):
        messages[-1] = {**messages[-1], "content": f"{messages[-1]['content']}\n\n{context}"}
    reference = _first(row.values, defined.reference)
    if isinstance(reference, list):
        reference = reference[0] if reference else None
    return Task(f"{name}:{number}", messages, None if reference is None else str(reference))


def _first(values: dict[str, Any], columns: Iterable[str]) -> Any:
    """Return the first column that has something in it."""
    for column in columns:
        value = values.get(column)
        if value is not None and value != [] and str(value).strip():
            return value
    return None
