"""A model's folder: its own regular files and nothing else, and no code.

Everything that reads configs, tokenizers or weights asks here first, for sources and artifacts.
"""

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soda.errors import ModelError, found_instead
from soda.limits import MODEL_JSON_BYTES

__all__ = ["check_folder", "parse_json", "read_json", "regular_files"]

_CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json", "adapter_config.json")
_CODE = ("auto_map", "auto_mapping", "custom_pipelines", "custom_generate", "kernel_config")
_PLAIN = re.compile(r"\w*")  # `sdpa`; a hub's kernel is `someone/kernel`, with a tag at times


def regular_files(folder: Path, name: str, patterns: tuple[str, ...] = ("*",)) -> list[Path]:
    """Return a folder's own files by patterns, sorted.

    A link is refused, but for those of a hub's cache, which lead to its `blobs` and no further.

    Raises:
        ModelError: one of them is a link, or no file.
    """
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    files = []
    for path in found:
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            if not _is_blob(path):
                raise ModelError(
                    f"{name}: expected files, found a link: {path.name}; copy it with cp -rL"
                )
        elif not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise ModelError(f"{name}: expected a file, found a device or pipe: {path.name}")
        if path.is_file():
            files.append(path)
    return files


def _is_blob(path: Path) -> bool:
    """Tell whether a link is one of huggingface_hub's: snapshots/COMMIT/FILE -> blobs/HASH."""
    snapshots = path.absolute().parent.resolve().parent
    target = path.resolve()
    return (
        snapshots.name == "snapshots"
        and target.parent == snapshots.parent / "blobs"
        and stat.S_ISREG(target.lstat().st_mode)
    )


def read_json(path: Path, source: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ModelError: there is none; refusals call the model by `source`.
    """
    try:
        if path.stat().st_size > MODEL_JSON_BYTES:
            raise ModelError(f"{source}: expected {path.name} of at most 256 MiB, found more")
        return parse_json(path.read_bytes(), path.name, source)
    except OSError as error:
        found = found_instead(error)
        raise ModelError(f"{source}: expected {path.name}, found {found}") from error


def parse_json(text: bytes, name: str, source: str) -> dict[str, Any]:
    """Return the object in a text.

    Raises:
        ModelError: there is none.
    """
    try:
        values: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source}: expected {name} in JSON, found: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: expected an object in {name}, found {str(values)[:60]}")
    return values


def check_folder(folder: Path, source: str, *, only: str | None = None) -> None:
    """Refuse a folder from which loading would run code, follow a link or read other files.

    Args:
        only: a file that is read alone, with the configs that lie beside it.

    Raises:
        ModelError: a link, a name of code, of a hub's kernel or of a file elsewhere.
    """
    for path in regular_files(folder, source, ("*",) if only is None else (only, *_CONFIGS)):
        if path.name in _CONFIGS:
            _check_config(read_json(path, source), path.name, source)
        if path.name.endswith(".safetensors.index.json"):
            shards = read_json(path, source).get("weight_map")
            for shard in set(shards.values()) if isinstance(shards, dict) else ():
                if not isinstance(shard, str) or Path(shard).name != shard:
                    raise ModelError(
                        f"{source}: expected files of the folder in {path.name}, found {shard!r}"
                    )
    for name in (".metadata", "custom_generate"):  # pickled, and code
        if (folder / name).exists():
            raise ModelError(f"{source}: expected a model folder, found {name} in it")


def _check_config(values: dict[str, Any], name: str, source: str) -> None:
    for key, value in _items(values):
        if key in _CODE and value is not None:
            raise ModelError(
                f"{source}: expected a model of transformers, found one with its own code: "
                f"{key} in {name}"
            )
        kernels = value if isinstance(value, dict) else {"": value}
        if key.endswith("_implementation") or key.startswith("_attn_implementation"):
            for each in kernels.values():
                if each is not None and not _PLAIN.fullmatch(str(each)):
                    raise ModelError(
                        f"{source}: expected an implementation of transformers in {name}, found "
                        f"{key} {str(each)[:80]!r}"
                    )


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _items(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _items(inner)
