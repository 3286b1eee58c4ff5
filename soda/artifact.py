"""Artifacts: folders with a manifest, made in one step and never changed again."""

import contextlib
import functools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TextIO

from soda import __version__, storage
from soda.config import Config
from soda.errors import ArtifactError
from soda.rows import digest

__all__ = [
    "DROPS",
    "LOGS",
    "MANIFEST",
    "WORK",
    "Artifact",
    "Writer",
    "code_version",
    "run_key",
    "store_of",
    "work_folder",
]

FORMAT = 1
MANIFEST = "manifest.json"
DROPS = "drops.jsonl"  # one line for each dropped row: id, reason, detail
WORK = "work"
LOGS = "logs"  # files about the run, not the result: clocks and speeds; no part of the digest


@functools.cache
def code_version() -> str:
    """Return soda's version and a digest of its source, so that no cache outlives the code."""
    root = Path(__file__).parent
    files = sorted(root.rglob("*.py"))
    sources = {str(path.relative_to(root)): storage.file_digest(path) for path in files}
    return f"{__version__}+{digest(sources)[:8]}"


def run_key(config: Config, inputs: Mapping[str, "Artifact"]) -> str:
    """Return the digest of all that decides a stage's result: code, config and inputs."""
    return digest(
        {
            "stage": config.stage(),
            "soda": code_version(),
            "config": config.deciding(),
            "inputs": {name: artifact.digest for name, artifact in inputs.items()},
        }
    )


def store_of(out: Path) -> Path:
    """Return the folder for journals, checkpoints and unfinished work: SODA_STORE or `.soda`."""
    if store := os.environ.get("SODA_STORE"):
        return storage.local_path(store)
    return out.absolute().parent / ".soda"


def work_folder(out: Path, config: Config, inputs: Mapping[str, "Artifact"]) -> Path:
    """Return where unfinished work on one result lies, whatever `out` it is for."""
    return store_of(out) / "work" / f"{config.stage()}-{run_key(config, inputs)[:16]}"


class Artifact:
    """A finished folder and its manifest; its kind says what the files are."""

    kind: ClassVar[str]
    reusable: ClassVar[bool] = True  # False: the stage acts on the world, so it always runs

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest

    @property
    def digest(self) -> str:
        """The sha256 over the manifest but for locations, and so over every file but the logs."""
        return digest({key: value for key, value in self.manifest.items() if key != "locations"})

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Self:
        """Open a finished artifact; `verify` also reads every file and compares its checksum.

        Raises:
            ArtifactError: it is missing, unfinished, of another kind or format, or damaged.
        """
        path = storage.local_path(path)
        if not path.is_dir():
            raise ArtifactError(f"{path}: expected a folder with {cls.kind}, found nothing")
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{path}: expected a finished artifact, found no {MANIFEST}"
            ) from error
        except ValueError as error:
            raise ArtifactError(f"{path / MANIFEST}: expected JSON, found {error}") from error
        version = manifest.get("format") if isinstance(manifest, dict) else None
        if version != FORMAT:
            raise ArtifactError(f"{path}: expected format {FORMAT}, found {version!r}")
        if manifest["kind"] != cls.kind:
            raise ArtifactError(f"{path}: expected '{cls.kind}', found '{manifest['kind']}'")
        for name, facts in manifest["files"].items():
            file = path / name
            size = file.stat().st_size if file.is_file() else None
            if size != facts["bytes"]:
                found = "no file" if size is None else f"{size}"
                raise ArtifactError(f"{file}: expected {facts['bytes']} bytes, found {found}")
            if verify and storage.file_digest(file) != facts["sha256"]:
                raise ArtifactError(f"{file}: expected the manifest's sha256, found another")
        return cls(path, manifest)

    @classmethod
    @contextlib.contextmanager
    def create(
        cls, out: Path, *, config: Config, inputs: Mapping[str, "Artifact"]
    ) -> Iterator["Writer"]:
        """Build an artifact beside the store and move it to `out` when it is whole.

        If the block raises, `out` stays as it was; the writer's `work` folder stays for the next
        try, under the run's key, and is removed once the artifact is finished.
        """
        key = run_key(config, inputs)
        folder = work_folder(out, config, inputs)
        with storage.explain_os_errors(), storage.lock(folder / "lock"):
            writer = Writer(folder)
            with writer.cleaning_up():
                with writer.open_files:
                    yield writer
                manifest = {
                    "kind": cls.kind,
                    "format": FORMAT,
                    "stage": config.stage(),
                    "soda": code_version(),
                    "key": key,
                    "config": config.deciding(),
                    "locations": config.places(),
                    "inputs": {name: artifact.digest for name, artifact in sorted(inputs.items())},
                    "rows": dict(sorted(writer.rows.items())),
                    "drops": dict(sorted(writer.drops.items())),
                    "facts": writer.facts,
                    "files": writer.files(),
                }
                storage.write_atomically(
                    writer.path / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True).encode()
                )
                storage.make_read_only(writer.path)
                place = _place_in_store(out, config.stage(), key) if cls.reusable else None
                if place is None:
                    if not cls.reusable and cls._made_with(key, out):
                        storage.remove_tree(out)  # the same run's earlier result gives way
                    storage.publish(writer.path, out)
                else:
                    storage.publish(writer.path, place)
                    storage.link_tree(place, out)
            storage.remove_tree(folder)

    @classmethod
    def reuse(cls, out: Path, *, config: Config, inputs: Mapping[str, "Artifact"]) -> Self | None:
        """Return what an earlier run made of the same code, config and inputs, if anything.

        Raises:
            ArtifactError: `out` holds an artifact made of something else.
        """
        key = run_key(config, inputs)
        if (out / MANIFEST).is_file():
            found = cls.open(out)
            if found.manifest["key"] != key:
                raise ArtifactError(
                    f"{out}: expected nothing, or this run's own result, found a '{cls.kind}' "
                    "made with another config, input or version; choose another --out or remove it"
                )
            return found if cls.reusable else None
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ArtifactError(f"{out}: expected nothing there, found a file or folder")
        place = _place_in_store(out, config.stage(), key) if cls.reusable else None
        if place is None or not place.is_dir():
            return None
        try:
            cls.open(place, verify=True)
        except ArtifactError:
            storage.remove_tree(place)  # damaged: make it again
            return None
        with storage.explain_os_errors():
            storage.link_tree(place, out)
        return cls.open(out)

    @classmethod
    def _made_with(cls, key: str, out: Path) -> bool:
        return (out / MANIFEST).is_file() and bool(cls.open(out).manifest["key"] == key)

    def count(self, name: str) -> int:
        """Return how many rows of one file the manifest counts."""
        return int(self.manifest["rows"].get(name, 0))

    def read_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Read one file of JSON lines."""
        with (self.path / name).open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def _place_in_store(out: Path, stage: str, key: str) -> Path | None:
    """Return where a shared store keeps a finished artifact; there is none without SODA_STORE."""
    if "SODA_STORE" not in os.environ:
        return None
    return store_of(out) / "artifacts" / f"{stage}-{key[:16]}"


class Writer:
    """What a stage fills: rows, files, facts, and reasons for the rows it dropped."""

    def __init__(self, folder: Path):
        self.path = folder / "artifact"  # begun anew by every try
        self.work = folder / WORK  # kept from try to try: partial results, checkpoints
        self.rows: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}
        self._open: dict[str, TextIO] = {}
        self.open_files = contextlib.ExitStack()  # closing writes the last rows, and can fail
        storage.remove_tree(self.path)
        self.path.mkdir(parents=True)
        self.work.mkdir(exist_ok=True)

    def write(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one row to a file of JSON lines."""
        if name not in self._open:
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self._open[name] = self.open_files.enter_context(file.open("w", encoding="utf-8"))
        self._open[name].write(json.dumps(row, ensure_ascii=False) + "\n")
        if name != DROPS:
            self.rows[name] += 1

    def drop(self, row_id: str, reason: str, detail: str = "") -> None:
        """Leave a row out, and say why: it is counted and listed."""
        self.drops[reason] += 1
        self.write(DROPS, {"id": row_id, "reason": reason, "detail": detail})

    @contextlib.contextmanager
    def cleaning_up(self) -> Iterator[None]:
        """After an error keep nothing but what a next try can use."""
        try:
            yield
        except BaseException:
            storage.remove_tree(self.path)
            if not any(self.work.iterdir()):
                storage.remove_tree(self.work.parent)
            raise

    def files(self) -> dict[str, dict[str, Any]]:
        """Return size and checksum of every file but the logs."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and not name.startswith(f"{LOGS}/"):
                found[name] = {
                    "bytes": path.stat().st_size,
                    "sha256": storage.file_digest(path),
                }
        return found
