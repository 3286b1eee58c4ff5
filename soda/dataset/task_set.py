"""Sets of prompts that papers report on, as data: which file, which columns, how many.

One is named by its definition, with the commit of its hub dataset or a file of one's own:
`vicuna-80@<40 hex digits>` or `vicuna-80=sets/vicuna.jsonl`. A file alone is a set too.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from soda import storage
from soda.config import suggest
from soda.dataset.hub import hub_rows
from soda.dataset.prompts import conversation, expected
from soda.dataset.reading import FORMATS, Row, read_rows
from soda.errors import ConfigError, DataError
from soda.progress import say
from soda.rows import Expected, Message, digest
from soda.storage import Place

__all__ = ["TASK_SETS", "Drop", "Task", "TaskSet", "open_task_set", "task_set_digests"]

Drop = Callable[[str, str, str], object]  # takes a row's id, the reason and what was found

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
    expected: list[str] = ["expected"]  # what a right answer holds, as in a dataset of prompts
    count: int | None = None  # rows that the papers report on


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt of a set; its reference is an answer that is known, if one is."""

    id: str
    messages: list[Message]
    reference: str | None = None
    expected: Expected | None = None

    @property
    def text(self) -> str:
        """The last turn, as contamination is looked for."""
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True)
class TaskSet:
    """A set that is named by a recipe; nothing of it has been read yet."""

    name: str
    _definition: _Definition
    _file: Place | None
    _revision: str

    @property
    def digest(self) -> str:
        """The digest of all that decides what is read; "" where its file is not to be seen here.

        A recipe may be compiled where the file is not, and run where it is.
        """
        if self._file is None:
            content = self._revision
        elif (path := self._file.fetch()).is_file():
            content = f"{storage.file_digest(path)}{path.suffix}"
        else:
            return ""
        return digest([self.name, content, self._definition.model_dump()])

    def tasks(self, drop: Drop = lambda *_: None) -> Iterator[Task]:
        """Read the prompts.

        Args:
            drop: is told of rows that hold none.

        Raises:
            ConfigError: its file is not there.
            DataError: there are no prompts, or they cannot be read.
        """
        found = 0
        for number, row in enumerate(self._rows(), start=1):
            key = f"{self.name}:{number}"
            try:
                task = _task(key, row, self._definition)
            except ValueError as error:
                drop(key, "bad_row", f"{row.place}: {error}")
                continue
            if task is None:
                drop(key, "empty_prompt", row.place)
                continue
            found += 1
            yield task
        if not found:
            raise DataError(f"{self.name}: expected prompts, found none")
        if self._definition.count not in (None, found):
            say(f"{self.name}: {found} prompts; papers report on {self._definition.count}")

    def _rows(self) -> Iterator[Row]:
        defined = self._definition
        columns = [*defined.prompt, *defined.context, *defined.reference, *defined.expected]
        if self._file is None:
            yield from hub_rows(defined.source, self._revision, defined.split, columns)
            return
        path = self._file.fetch()
        if not path.is_file():
            raise ConfigError(f"{self.name}: expected a file, found none at {self._file}")
        with path.open("rb") as file:
            yield from read_rows(file, path.suffix, columns)


def open_task_set(text: str) -> TaskSet:
    """Return the set that a recipe names.

    Raises:
        ConfigError: there is no such definition or file, or a hub dataset's commit is missing.
    """
    name, equals, location = text.partition("=")
    known, at, revision = text.partition("@")
    if equals or (name not in TASK_SETS and known not in TASK_SETS):
        location = location or text
        suffix = Path(location).suffix
        if suffix not in FORMATS:
            forms = ", ".join(FORMATS)
            raise ConfigError(
                f"{text}: expected a task set or a file ({forms}); {suggest(text, TASK_SETS)}"
            )
        defined = _definition(name) if equals else _Definition()
        return TaskSet(name if equals else Path(location).stem, defined, Place.of(location), "")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        found = f"'{revision}'" if at else "neither"
        raise ConfigError(
            f"{text}: expected the commit of its hub dataset, {known}@<40 hex digits>, or a file, "
            f"{known}=FILE, found {found}"
        )
    return TaskSet(known, _definition(known), None, revision)


def task_set_digests(texts: Iterable[str]) -> dict[str, str]:
    """Return the digest of each set that a recipe names, by its name.

    Raises:
        ConfigError: as of `open_task_set`, or two sets have one name.
    """
    found: dict[str, str] = {}
    for task_set in map(open_task_set, texts):
        if task_set.name in found:
            raise ConfigError(f"{task_set.name}: expected each task set once, found it twice")
        found[task_set.name] = task_set.digest
    return found


def _definition(name: str) -> _Definition:
    if name not in TASK_SETS:
        raise ConfigError(f"expected a task set, found '{name}'; {suggest(name, TASK_SETS)}")
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return _Definition.model_validate(yaml.safe_load(text))


def _task(key: str, row: Row, defined: _Definition) -> Task | None:
    """Return a row's prompt; None: it has none.

    Raises:
        ValueError: the row cannot be read.
    """
    if row.problem:
        raise ValueError(row.problem)
    prompt = _first(row.values, defined.prompt)
    messages = conversation(prompt) if prompt else []
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    if not messages:
        return None
    context = _first(row.values, defined.context)
    if isinstance(context, str):
        messages[-1] = {**messages[-1], "content": f"{messages[-1]['content']}\n\n{context}"}
    reference = _first(row.values, defined.reference)
    if isinstance(reference, list):
        reference = reference[0] if reference else None
    reference = None if reference is None else str(reference)
    return Task(key, messages, reference, expected(_first(row.values, defined.expected)))


def _first(values: dict[str, Any], columns: Iterable[str]) -> Any:
    """Return the first column that has something in it."""
    for column in columns:
        value = values.get(column)
        if value is not None and value != [] and str(value).strip():
            return value
    return None
