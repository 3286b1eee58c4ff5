"""Make prompts of a dataset."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from soda import storage
from soda.artifacts.kinds import Prompts
from soda.artifacts.writer import Writer
from soda.config import Config
from soda.dataset.files import file_rows
from soda.dataset.hub import hub_rows
from soda.dataset.prompts import conversation, expected, identifier
from soda.dataset.reading import Row, shown
from soda.errors import ConfigError, DataError
from soda.progress import say
from soda.rows import Message, Prompt, Split, digest
from soda.storage import Place
from soda.storage.packaged import local_file

__all__ = ["PreparePromptsConfig", "look_at_dataset", "prepare_prompts"]

_NAMED = 3  # rows that could not be read


class PreparePromptsConfig(Config):
    """Where the prompts come from, and how they are split."""

    aside: ClassVar[tuple[str, ...]] = ("dataset",)

    dataset: str = Field(
        description="a .jsonl, .json, .parquet, .csv or .tsv file, also as package:NAME/FILE, or a "
        "hub id of such files"
    )
    dataset_digest: str = Field("", description="sha256 of the file; filled in if left out")
    revision: str = Field("", description="hub only: the commit, 40 hex digits")
    dataset_split: str = Field("train", description="hub only: which of its splits")
    prompt_column: str = Field(
        "", description="text or chat messages; if left out: messages, else prompt"
    )
    max_failed_share: float = Field(
        0.01, ge=0, le=1, description="stop if more of the rows than this cannot be read"
    )
    system_prompt: str = Field("", description="put before every prompt that has no system message")
    validation_share: float = Field(0.1, ge=0, lt=1, description="for choices made in training")
    test_share: float = Field(0.1, ge=0, lt=1, description="held out: only `eval` looks at it")
    split_salt: str = Field("", description="another text gives another split")
    limit: int | None = Field(None, ge=1, description="take only the first rows")

    def pin(self) -> Self:
        """Write the digest of a local file into it.

        Raises:
            ConfigError: a value that only a hub dataset has stands beside a file.
        """
        fields = type(self).model_fields
        given = {key: getattr(self, key) for key in ("revision", "dataset_split")}
        given = {key: value for key, value in given.items() if value != fields[key].default}
        if self.dataset_digest and not given:  # a dataset in a bucket is not fetched for it
            return self
        path = _local_file(self.dataset)
        for key, value in given.items() if path is not None else ():
            raise ConfigError(
                f"prepare-prompts.{key}: expected no value, as {self.dataset} is a file on "
                f"this machine or in a bucket, found '{value}'"
            )
        if path is None or self.dataset_digest:
            return self
        return self.model_copy(update={"dataset_digest": storage.file_digest(path)})


def _local_file(dataset: str) -> Path | None:
    path = local_file(dataset)
    return path if path.is_file() else None


def prepare_prompts(*, config: PreparePromptsConfig, out: Place) -> Prompts:
    """Make prompts of a dataset: stable ids, exact duplicates out, a split that never moves.

    A prompt is plain text or chat messages (system, several turns), also where they were kept as
    JSON text; answers after the last user turn are cut off. Columns `id` and `expected` (what a
    right answer holds: text, a number, or a list of alternatives) are kept. A row that cannot be
    read is dropped with its line and the reason, as long as they are few. The split follows from
    the digest of the messages alone, so added rows move no other row.
    """
    if config.validation_share + config.test_share >= 1:
        raise ConfigError("prepare-prompts: expected validation_share + test_share below 1")
    with Prompts.create(out, config=config, inputs={}) as writer:
        made = _Made(config, writer)
        for number, row in enumerate(_rows(config), start=1):
            if config.limit is not None and number > config.limit:
                break
            made.take(row)
        made.check()
    return Prompts.open(out)


def look_at_dataset(config: PreparePromptsConfig) -> str:
    """Say what the dataset is, from the first row of a file; a bucket or the hub is not asked.

    Raises:
        SodaError: it is not there, is of no form that is known, or has no rows.
    """
    if Place.of(config.dataset).remote:
        return f"{config.dataset}: in a bucket, not looked at"
    path, columns = _local_file(config.dataset), [*_prompt_columns(config), "id", "expected"]
    if path is None:
        hub_rows(config.dataset, config.revision, config.dataset_split, columns)
        return f"{config.dataset}: on the hub at {config.revision[:8]}, not looked at"
    with path.open("rb") as file:
        try:
            first = next(iter(file_rows(file, path.name, columns)), None)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if first is None:
        raise DataError(f"{path}: expected prompts, found no rows")
    if not first.problem:
        try:
            _messages(first.values, config)
        except ValueError as error:
            raise DataError(f"{path}: {first.place}: {error}") from error
    return f"{config.dataset}: a file that can be read"


class _Made:
    """The prompts so far, and what must not come twice."""

    def __init__(self, config: PreparePromptsConfig, writer: Writer):
        self._config = config
        self._writer = writer
        self._ids: set[str] = set()
        self._contents: set[str] = set()
        self._rows = 0
        self._checkable = 0
        self._failures = 0
        self._reasons: dict[str, str] = {}  # the first row of each, of a few

    def take(self, row: Row) -> None:
        """Write a row as a prompt, or drop it."""
        self._rows += 1
        try:
            if row.problem:
                raise ValueError(row.problem)
            given, wanted = identifier(row.values.get("id")), expected(row.values.get("expected"))
            messages = _messages(row.values, self._config)
        except ValueError as error:
            self._fail(row, row.place, "bad_row", str(error))
            return
        content = digest(messages)
        row_id = given or content[:16]
        if not messages or not messages[-1]["content"].strip():
            self._writer.drop(row_id, "empty_prompt", row.place)
        elif content in self._contents:
            self._writer.drop(row_id, "duplicate", row.place)
        elif row_id in self._ids:
            problem = f"expected ids that differ, found {shown(row_id)} twice"
            self._fail(row, row_id, "duplicate_id", problem)
        else:
            split = _split(content, self._config)
            prompt = Prompt(row_id, messages, split, wanted)
            self._writer.write(Prompts.FILE, prompt.to_json())
            splits = self._writer.facts.setdefault("splits", {})
            splits[split] = splits.get(split, 0) + 1
            self._ids.add(row_id)
            self._checkable += wanted is not None
        self._contents.add(content)

    def _fail(self, row: Row, row_id: str, reason: str, problem: str) -> None:
        self._writer.drop(row_id, reason, f"{row.place}: {problem}")
        self._failures += 1
        if len(self._reasons) < _NAMED:
            self._reasons.setdefault(problem, row.place)

    def check(self) -> None:
        """Refuse a dataset of which too little could be read, or nothing used.

        Raises:
            DataError: it names the first rows that could not be read.
        """
        name = self._config.dataset
        if not self._rows:
            raise DataError(f"{name}: expected prompts, found no rows")
        reasons = "; ".join(f"{place}: {problem}" for problem, place in self._reasons.items())
        if self._failures > self._config.max_failed_share * self._rows:
            raise DataError(
                f"{name}: expected at most {self._config.max_failed_share:.3g} of the rows to be "
                f"unreadable (max_failed_share), found {self._failures} of {self._rows}: {reasons}"
            )
        made = self._writer.rows[Prompts.FILE]
        if not made:
            dropped = ", ".join(f"{count} {why}" for why, count in self._writer.drops.items())
            raise DataError(
                f"{name}: expected prompts, found none that can be used; "
                f"dropped: {dropped}" + (f": {reasons}" if reasons else "")
            )
        say(
            f"prepare-prompts: {made} prompts of {self._rows} rows, {self._checkable} of them with "
            "an expected answer"
        )


def _messages(values: dict[str, Any], config: PreparePromptsConfig) -> list[Message]:
    """Return a row's conversation up to its last user turn; empty if there is none."""
    columns = _prompt_columns(config)
    if not any(column in values for column in columns):
        wanted = " or ".join(f"'{column}'" for column in columns)
        raise ValueError(
            f"expected a column {wanted}, found {shown(list(values))}; name another in "
            "prepare-prompts.prompt_column"
        )
    value = next((values[column] for column in columns if values.get(column) is not None), "")
    messages = conversation(value)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if messages and messages[-1]["role"] != "user":
        return []
    if config.system_prompt and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": config.system_prompt})
    return messages


def _prompt_columns(config: PreparePromptsConfig) -> list[str]:
    return [config.prompt_column] if config.prompt_column else ["messages", "prompt"]


def _split(content: str, config: PreparePromptsConfig) -> Split:
    """Choose a prompt's split by a hash of what it says, never by its place or its neighbours."""
    hashed = hashlib.sha256(f"{config.split_salt}:{content}".encode()).digest()
    place = int.from_bytes(hashed[:8]) / 2**64
    if place < config.test_share:
        return "test"
    return "validation" if place < config.test_share + config.validation_share else "train"


def _rows(config: PreparePromptsConfig) -> Iterator[Row]:
    columns = [*_prompt_columns(config), "id", "expected"]
    path = _local_file(config.dataset)
    if path is None:
        yield from hub_rows(config.dataset, config.revision, config.dataset_split, columns)
        return
    found = storage.file_digest(path)
    if found != config.dataset_digest:
        raise DataError(
            f"{path}: expected sha256 {config.dataset_digest[:12]}..., found {found[:12]}..."
        )
    with path.open("rb") as file:
        try:
            yield from file_rows(file, path.name, columns)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
