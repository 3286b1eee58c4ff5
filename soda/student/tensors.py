"""Safetensors files by their headers: what tensors they hold, and the same files by other names."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soda.errors import ModelError

__all__ = ["Headers", "Stored", "parse_header", "read_headers", "rewrite"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as a file has it."""

    file: str
    kind: str  # such as BF16
    shape: tuple[int, ...]


Headers = Mapping[str, Mapping[str, Stored]]  # of each file, by its name


def read_headers(files: Iterable[Path], source: str) -> Headers:
    """Return what tensors each file holds, by the file's name.

    Raises:
        ModelError: a file was cut short, or is no safetensors file; it is called by `source`.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for path in files:
        try:
            with safe_open(path, framework="np"):  # checks sizes and offsets
                pass
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                found[path.name] = parse_header(file.read(size), path.name, source)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{source}: expected weights in {path.name}, found: {error}"
            ) from error
    return found


def parse_header(text: bytes, file: str, source: str) -> dict[str, Stored]:
    """Return the tensors that a header lists.

    Raises:
        ModelError: it is no header.
    """
    try:
        entries = json.loads(text)
        return {
            name: Stored(file, str(entry["dtype"]), tuple(map(int, entry["shape"])))
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelError(f"{source}: expected weights in {file}, found: {error}") from error


def rewrite(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Copy a file's tensors under other names; a tensor without one is left out.

    Bytes are copied as they are, whatever their type, a part at a time.
    """
    with source.open("rb") as old, target.open("wb") as new:
        size = int.from_bytes(old.read(8), "little")
        listed: dict[str, Any] = json.loads(old.read(size))
        kept = sorted(
            (name for name in listed if name in names),
            key=lambda name: listed[name]["data_offsets"],
        )
        place = 0
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        for name in kept:
            start, end = listed[name]["data_offsets"]
            offsets = [place, place + end - start]
            header[names[name]] = {**listed[name], "data_offsets": offsets}
            place += end - start
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        new.write(len(text).to_bytes(8, "little") + text)
        for name in kept:
            start, end = listed[name]["data_offsets"]
            old.seek(8 + size + start)
            _copy(old, new, end - start)


def _copy(old: Any, new: Any, count: int) -> None:
    while count:
        part = old.read(min(count, 2**24))
        new.write(part)
        count -= len(part)
