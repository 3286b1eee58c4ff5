"""Make prompts of a dataset."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from soda import storage
from soda.artifacts.kinds import Prompts
from soda.artifacts.writer import Writer
from soda.config import Config
from soda.errors import ConfigError, DataError
from soda.rows import Message, Prompt, Split, digest
from soda.storage import Place
from soda.storage.packaged import packaged_file

__all__ = ["PreparePromptsConfig", "prepare_prompts"]

_FORMATS = (".jsonl", ".json", ".parquet", ".csv")


class PreparePromptsConfig(Config):
    """Where the prompts come from, and how they are split."""

    aside: ClassVar[tuple[str, ...]] = ("dataset",)

    dataset: str = Field(
        description="a .jsonl, .json, .parquet or .csv file, also as package:NAME/FILE, or a hub id"
    )
    dataset_digest: str = Field("", description="sha256 of the file; filled in if left out")
    revision: str = Field("", description="hub only: the commit, 40 hex digits")
    dataset_split: str = Field("train", description="hub only: which of its splits")
    prompt_column: str = Field(
        "", description="text or chat messages; if left out: messages, else prompt"
    )
    system_prompt: str = Field("", description="put before every prompt that has no system message")
    validation_share: float = Field(0.1, ge=0, lt=1, description="for choices made in training")
    test_share: float = Field(0.1, ge=0, lt=1, description="held out: only `eval` looks at it")
    split_salt: str = Field("", description="another text gives another split")
    limit: int | None = Field(None, ge=1, description="take only the first rows")

    def pin(self) -> Self:
        """Write the digest of a local file into it."""
        path = _local_file(self.dataset)
        if path is None or self.dataset_digest:
            return self
        return self.model_copy(update={"dataset_digest": storage.file_digest(path)})


def _local_file(dataset: str) -> Path | None:
    path = packaged_file(dataset) or Place.of(dataset).fetch()
    return path if path.is_file() else None


def prepare_prompts(*, config: PreparePromptsConfig, out: Place) -> Prompts:
    """Make prompts of a dataset: stable ids, exact duplicates out, a split that never moves.

    A prompt is plain text or chat messages (system, several turns); answers after the last user
    turn are cut off. Columns `id` and `expected` (a short right answer, for exact match) are kept.
    The split follows from the digest of the messages alone, so added rows move no other row.
    """
    if config.validation_share + config.test_share >= 1:
        raise ConfigError("prepare-prompts: expected validation_share + test_share below 1")
    ids: set[str] = set()
    contents: set[str] = set()
    with Prompts.create(out, config=config, inputs={}) as writer:
        for number, row in enumerate(_rows(config), start=1):
            if config.limit is not None and number > config.limit:
                break
            where = f"{config.dataset}: row {number}"
            _write_prompt(writer, row, where, config, ids, contents)
        if not writer.rows:
            raise DataError(f"{config.dataset}: expected prompts, found none that can be used")
    return Prompts.open(out)


def _write_prompt(
    writer: Writer,
    row: dict[str, Any],
    where: str,
    config: PreparePromptsConfig,
    ids: set[str],
    contents: set[str],
) -> None:
    messages = _messages(row, where, config)
    content = digest(messages)
    given = row.get("id")
    row_id = content[:16] if given is None else _text(str(given), where)
    if not messages or not messages[-1]["content"].strip():
        writer.drop(row_id, "empty_prompt")
    elif content in contents:
        writer.drop(row_id, "duplicate")
    elif row_id in ids:
        raise DataError(f"{where}: expected ids that differ, found '{row_id}' twice")
    else:
        expected = row.get("expected")
        expected = None if expected is None else _text(str(expected), where)
        split = _split(content, config)
        writer.write(Prompts.FILE, Prompt(row_id, messages, split, expected).to_json())
        splits = writer.facts.setdefault("splits", {})
        splits[split] = splits.get(split, 0) + 1
        ids.add(row_id)
    contents.add(content)


def _split(content: str, config: PreparePromptsConfig) -> Split:
    """Choose a prompt's split by a hash of what it says, never by its place or its neighbours."""
    hashed = hashlib.sha256(f"{config.split_salt}:{content}".encode()).digest()
    place = int.from_bytes(hashed[:8]) / 2**64
    if place < config.test_share:
        return "test"
    return "validation" if place < config.test_share + config.validation_share else "train"


def _messages(row: dict[str, Any], where: str, config: PreparePromptsConfig) -> list[Message]:
    """Return a row's conversation up to its last user turn; empty if there is none."""
    columns = [config.prompt_column] if config.prompt_column else ["messages", "prompt"]
    if not any(column in row for column in columns):
        wanted = " or ".join(f"'{column}'" for column in columns)
        raise DataError(
            f"{where}: expected a column {wanted}, found {', '.join(map(repr, row)) or 'none'}"
        )
    value = next((row[column] for column in columns if row.get(column) is not None), "")
    if isinstance(value, str):
        messages = [{"role": "user", "content": _text(value, where)}]
    elif isinstance(value, list):
        messages = [_message(turn, where) for turn in value]
    else:
        raise DataError(f"{where}: expected text or a list of messages, found {value!r}")
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if messages and messages[-1]["role"] != "user":
        return []
    if config.system_prompt and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": config.system_prompt})
    return messages


def _message(turn: Any, where: str) -> Message:
    try:
        role, content = turn["role"], turn["content"]
    except (TypeError, KeyError) as error:
        raise DataError(
            f"{where}: expected messages with role and content, found {turn!r}"
        ) from error
    if role not in ("system", "user", "assistant") or not isinstance(content, str):
        raise DataError(
            f"{where}: expected role system, user or assistant and text, found {role!r} and "
            f"{type(content).__name__}"
        )
    return {"role": role, "content": _text(content, where)}


def _text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: expected text, found half a surrogate pair") from error
    return text


def _rows(config: PreparePromptsConfig) -> Iterator[dict[str, Any]]:
    path = _local_file(config.dataset)
    if path is None:
        yield from _hub_rows(config)
        return
    found = storage.file_digest(path)
    if found != config.dataset_digest:
        raise DataError(
            f"{path}: expected sha256 {config.dataset_digest[:12]}..., found {found[:12]}..."
        )
    if path.suffix not in _FORMATS:
        raise DataError(f"{path}: expected {', '.join(_FORMATS)}, found '{path.suffix}'")
    readers = {".jsonl": _json_lines, ".csv": _csv_rows}
    yield from readers.get(path.suffix, _table_rows)(path)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: expected JSON, found {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected an object, found {str(row)[:60]!r}")
            yield row


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Read every cell as the text it is: `07` and `NA` too; an empty one is no value."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines, strict=True)
        try:
            for row in table:
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}:{table.line_num}: expected {len(table.fieldnames or [])} cells, "
                        "found another number"
                    )
                yield {column: cell or None for column, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: expected CSV, found after line {table.line_num}: {error}"
            ) from error


def _table_rows(path: Path) -> Iterator[dict[str, Any]]:
    from datasets import Dataset, load_dataset
    from datasets.exceptions import DatasetGenerationError

    if not path.stat().st_size:
        return
    try:
        table: Dataset = load_dataset(
            path.suffix[1:], data_files=str(path), split="train", streaming=True
        )
        yield from table
    except (DatasetGenerationError, ValueError, OSError) as error:
        raise DataError(f"{path}: expected {path.suffix[1:]} rows, found: {error}") from error


def _hub_rows(config: PreparePromptsConfig) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    local_looking = Path(config.dataset).suffix in _FORMATS
    if local_looking or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", config.dataset):
        raise DataError(
            f"{config.dataset}: expected a dataset file or a hub id, found no such file"
        )
    if not re.fullmatch(r"[0-9a-f]{40}", config.revision):
        raise ConfigError(
            "prepare-prompts.revision: expected the commit of a hub dataset, 40 hex digits, found "
            f"'{config.revision}'"
        )
    try:
        yield from load_dataset(
            config.dataset, revision=config.revision, split=config.dataset_split, streaming=True
        )
    except (DatasetsError, ConnectionError, OSError, ValueError) as error:
        raise DataError(f"{config.dataset}: expected a hub dataset, found: {error}") from error
