"""A hub's dataset: the files of one of its splits, read as files of one's own are."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from soda.dataset.files import file_rows
from soda.dataset.reading import FORMATS, Row
from soda.errors import ConfigError, DataError

__all__ = ["hub_rows", "split_rows"]


def hub_rows(name: str, revision: str, split: str, columns: Sequence[str]) -> Iterator[Row]:
    """Return the rows of a split, file by file; the library `datasets` only says which files.

    Raises:
        DataError: there is no such dataset or split, or its files are of another form.
        ConfigError: the revision is no commit.
    """
    is_folder = not revision and Path(name).is_dir()
    is_file = not {*FORMATS}.isdisjoint(Path(name).suffixes)
    if is_folder or is_file or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        found = "a folder" if Path(name).is_dir() else "no such file"
        raise DataError(f"{name}: expected a dataset file or a hub id, found {found}")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ConfigError(
            f"prepare-prompts.revision: expected the commit of the hub dataset '{name}', 40 hex "
            f"digits, found '{revision}'"
        )
    return split_rows(name, split, columns, revision=revision)


def split_rows(name: str, split: str, columns: Sequence[str], **options: Any) -> Iterator[Row]:
    """Yield the rows of a split.

    Args:
        name: of a dataset on the hub, or a folder of files.
        options: go to `datasets.load_dataset_builder`.

    Raises:
        DataError: as `hub_rows`.
    """
    import fsspec

    for url in _files_of(name, split, **options):
        file_name = url.rpartition("/")[2]
        try:
            with fsspec.open(url, "rb") as file:
                for row in file_rows(file, file_name, columns):
                    yield dataclasses.replace(row, place=f"{file_name}: {row.place}")
        except DataError as error:
            raise DataError(f"{name}: {file_name}: {error}") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: expected a hub dataset, found: {error}") from error


def _files_of(name: str, split: str, **options: Any) -> list[str]:
    """Return the addresses of a split's files."""
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetsError

    try:
        found = load_dataset_builder(name, **options).config.data_files or {}
    except (DatasetsError, ConnectionError, OSError, ValueError) as error:
        raise DataError(f"{name}: expected a hub dataset, found: {error}") from error
    if split not in found:
        names = ", ".join(map(str, found)) or "none"
        raise DataError(f"{name}: expected the split '{split}', found {names}")
    return [str(each) for each in found[split]]
