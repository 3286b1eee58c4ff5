"""Where a student comes from: a folder, a file, a file inside a Python package, or the hub."""

import fnmatch
import glob
import re
from pathlib import Path

from soda import storage
from soda.errors import ConfigError, ModelError
from soda.limits import HEADER_BYTES
from soda.rows import digest
from soda.storage import Place
from soda.storage.packaged import packaged_file
from soda.student.folder import regular_files
from soda.student.gguf import parts_of
from soda.student.tensors import Headers, Stored, parse_header

__all__ = ["KEPT", "bucket_sketch", "download", "hub_sketch", "local", "source_digest"]

# What is taken of a folder; weights that are pickled are never opened.
KEPT = (
    *("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*"),
    "additional_chat_templates/*.jinja",
)
_NESTED = ("*/*.safetensors", "*/*.json", "*/*.txt", "*/*.model")  # other forms of the same model


def local(source: str) -> Path | None:
    """Return the path a source names on this machine, or None for a hub id."""
    if (path := packaged_file(source)) is not None:
        return path
    found = {part: Place.of(part).fetch() for part in [*parts_of(source), source]}
    return found[source] if found[source].exists() else None


def source_digest(path: Path) -> str:
    """Return the digest of what is taken of a local source.

    Raises:
        ModelError: something in it is a link or no file, or a part of a split file is not there.
    """
    if path.is_dir():
        files = regular_files(path, str(path), KEPT)
        names = {
            file.relative_to(path).as_posix(): storage.known_digest(file.resolve())
            for file in files
        }
        return digest(names)
    names = {}
    for part in map(Path, parts_of(str(path))):
        if not regular_files(part.parent, str(path), (glob.escape(part.name),)):
            raise ModelError(f"{path}: expected all its parts, found no {part.name}")
        names[part.name] = storage.known_digest(part.resolve())
    return names[path.name] if len(names) == 1 else digest(names)


def download(source: str, revision: str) -> Path:
    """Bring a hub model's files here, and return the folder; the hub's cache is used.

    Raises:
        ModelError: there is no such model, or the hub does not answer.
        ConfigError: the revision is no commit.
    """
    from huggingface_hub import snapshot_download

    _check_hub_name(source, revision)
    try:
        folder = snapshot_download(
            source, revision=revision, allow_patterns=list(KEPT), ignore_patterns=list(_NESTED)
        )
    except _hub_failures() as error:
        raise ModelError(f"{source}: expected a hub model, found: {error}") from error
    return Path(folder)


def bucket_sketch(source: str, target: Path) -> tuple[Path, Headers]:
    """Return a bucket's small files in a folder, and the headers of its weights.

    Raises:
        StorageError: there is none, or it cannot be reached.
        ModelError: a file of weights has no header.
    """
    store = Place.of(source).open()
    headers: dict[str, dict[str, Stored]] = {}
    for name in [entry.name for entry in store.list()]:
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in KEPT):
            continue
        if not name.endswith(".safetensors"):
            store.download(name, target / name, lambda count: None)
        elif "/" not in name:
            size = int.from_bytes(store.read_part(name, 0, 8), "little")
            if size > HEADER_BYTES:
                raise ModelError(f"{source}: expected weights in {name}, found no header")
            headers[name] = parse_header(store.read_part(name, 8, size), name, source)
    return target, headers


def hub_sketch(source: str, revision: str) -> tuple[Path, Headers]:
    """Return a hub model's small files in a folder, and the headers of its weights.

    Raises:
        ModelError: there is no such model, or the hub does not answer.
        ConfigError: the revision is no commit.
    """
    from huggingface_hub import HfApi, snapshot_download

    _check_hub_name(source, revision)
    try:
        names = HfApi().list_repo_files(source, revision=revision)
        weights = [name for name in names if name.endswith(".safetensors") and "/" not in name]
        headers = {
            name: {
                tensor: Stored(name, info.dtype, tuple(info.shape))
                for tensor, info in HfApi()
                .parse_safetensors_file_metadata(source, name, revision=revision)
                .tensors.items()
            }
            for name in weights
        }
        folder = snapshot_download(
            source,
            revision=revision,
            allow_patterns=list(KEPT),
            ignore_patterns=[*_NESTED, "*.safetensors"],
        )
    except _hub_failures() as error:
        raise ModelError(f"{source}: expected a hub model, found: {error}") from error
    return Path(folder), headers


def _hub_failures() -> tuple[type[BaseException], ...]:
    from huggingface_hub.errors import HfHubHTTPError, SafetensorsParsingError

    # Its bases are the HTTP library's: nobody answers. ValueError: a name that no hub model has.
    return (*HfHubHTTPError.__bases__, OSError, ValueError, SafetensorsParsingError)


def _check_hub_name(source: str, revision: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise ModelError(f"{source}: expected a folder, a file or a hub id, found nothing")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ConfigError(
            f"import-student.revision: expected the commit of the hub model '{source}', 40 hex "
            f"digits, found '{revision}'"
        )
