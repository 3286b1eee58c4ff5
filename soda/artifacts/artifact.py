"""Artifacts: folders with a manifest, made in one step and never changed again."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from soda import __version__, storage
from soda.artifacts import publishing
from soda.artifacts.keys import code_digest, input_digests, module_of, run_key
from soda.artifacts.manifest import MANIFEST, Manifest
from soda.artifacts.unfinished import UnfinishedWork
from soda.artifacts.writer import LOGS, WORK, Writer
from soda.config import Config
from soda.errors import ArtifactError, KindError, StorageError
from soda.progress import say
from soda.storage import Location, Place

__all__ = [
    "Artifact",
    "Inputs",
    "name_in_store",
    "work_place",
]


Inputs = Mapping[str, "Artifact | Sequence[Artifact]"]  # by name; some stages take a list


def work_place(out: Place, config: Config, inputs: Inputs) -> Place:
    """Return where unfinished work on one result lies, whatever `out` it is for."""
    return out.store() / WORK / f"{config.stage()}-{run_key(config, inputs)[:16]}"


class Artifact:
    """A finished folder and its manifest; its kind says what the files are."""

    kind: ClassVar[str]
    reusable: ClassVar[bool] = True  # False: the stage acts on the world, so it always runs

    def __init__(self, path: Path, manifest: Manifest):
        self.path = path
        self.manifest = manifest

    @property
    def digest(self) -> str:
        """The manifest's digest: the same for the same result, wherever it lies."""
        return self.manifest.digest

    @classmethod
    def open(cls, location: Location, *, verify: bool = False, what: str = "") -> Self:
        """Open a finished artifact: the files its manifest names and its logs, and no others.

        A file that this user's processes have not read since it was written is compared with its
        checksum.

        Args:
            location: its place.
            verify: read every file again, whatever is known of it.
            what: what was looked for, for messages; else the kind.

        Raises:
            ArtifactError: it is missing, unfinished, of another kind or format, or damaged.
            StorageError: it lies in object storage that cannot be reached.
        """
        place = Place.of(location)
        _bring(place)
        path = place.folder
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise ArtifactError(f"{path}: expected a folder with {what or cls.kind}, found {found}")
        try:
            manifest = Manifest.read((path / MANIFEST).read_bytes(), path / MANIFEST)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{path}: expected a finished artifact, found no {MANIFEST}"
            ) from error
        if manifest.kind != cls.kind:
            raise KindError(f"{path}: expected '{cls.kind}', found '{manifest.kind}'")
        digest = storage.file_digest if verify else storage.known_digest
        try:
            _compare(path, manifest, digest)
        except ArtifactError:
            if not place.remote:
                raise
            storage.remove_tree(path)  # only a copy of what lies in the bucket
            publishing.get(place)
            _compare(path, manifest, digest)
        return cls(path, manifest)

    @classmethod
    @contextlib.contextmanager
    def create(cls, location: Location, *, config: Config, inputs: Inputs) -> Iterator["Writer"]:
        """Build an artifact beside the store and move it to its place when it is whole.

        If the block raises, the place stays as it was; the writer's `work` folder stays for the
        next try, under the run's key, and is removed once the artifact is finished.
        """
        out, key = Place.of(location), run_key(config, inputs)
        work_at = work_place(out, config, inputs)
        folder = work_at.folder
        place = _place_in_store(out, config.stage(), key) if cls.reusable else None
        with (
            storage.explain_os_errors(),
            storage.lock(folder / "lock"),
            _unfinished(work_at) as work,
        ):
            writer, begin = Writer(folder, work), time.monotonic()
            with writer.cleaning_up():
                with writer.open_files:
                    yield writer
                stage = config.stage()
                manifest = Manifest(
                    kind=cls.kind,
                    stage=stage,
                    soda=f"{__version__}+{code_digest(module_of(stage))[:8]}",
                    key=key,
                    config=config.deciding(),
                    aside=config.set_aside(),
                    account={**writer.account, "seconds": round(time.monotonic() - begin, 3)},
                    inputs=input_digests(inputs),
                    rows=dict(writer.rows),
                    drops=dict(writer.drops),
                    facts=writer.facts,
                    files=writer.files(),
                )
                storage.write_atomically(writer.path / MANIFEST, manifest.to_bytes())
                storage.make_read_only(writer.path)
                _remember(writer.path, manifest)
                if place is not None:
                    cls._publish(writer.path, place, key)
                    storage.link_tree(place.folder, out.folder)
                    _remember(out.folder, manifest)
                    cls._put(out, key)
                else:
                    cls._publish(writer.path, out, key)
            if work is not None:
                work.remove()
            storage.remove_tree(folder)

    @classmethod
    def reuse(cls, location: Location, *, config: Config, inputs: Inputs) -> Self | None:
        """Return what an earlier run made of the same code, config and inputs, if anything.

        Raises:
            ArtifactError: at the location lies an artifact made of something else.
        """
        out, key = Place.of(location), run_key(config, inputs)
        _bring(out)
        if (out.folder / MANIFEST).is_file():
            found = cls.open(out.folder)
            if found.manifest.key != key:
                raise ArtifactError(_taken(out, cls.kind))
            return found if cls.reusable else None
        folder = out.folder
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ArtifactError(f"{out}: expected nothing there, found a file or folder")
        place = _place_in_store(out, config.stage(), key) if cls.reusable else None
        if place is None:
            return None
        _bring(place)
        if not place.folder.is_dir():
            return None
        try:
            made = cls.open(place.folder, verify=True)
        except ArtifactError:
            made = None
        if made is None or made.manifest.key != key:
            storage.remove_tree(place.folder)  # damaged, or not what its name says: make it again
            return None
        with storage.explain_os_errors():
            storage.link_tree(place.folder, out.folder)
            _remember(out.folder, made.manifest)
            cls._put(out, key)
        return cls.open(out.folder)

    @classmethod
    def _publish(cls, folder: Path, target: Place, key: str) -> None:
        """Move a finished folder to its place, unless another run has just put its equal there."""
        if not cls.reusable and cls._made_with(key, target):
            storage.remove_tree(target.folder)  # the same run's earlier result gives way
        try:
            storage.move_tree(folder, target.folder)
        except StorageError:
            if not cls._made_with(key, target):
                raise
        cls._put(target, key)

    @classmethod
    def _put(cls, place: Place, key: str) -> None:
        """Put a finished folder up, if its place is in object storage."""
        if not place.remote or publishing.put(place, replace=not cls.reusable):
            return
        publishing.get(place)  # another run was first
        if not cls._made_with(key, place):
            raise ArtifactError(_taken(place, cls.kind))

    @classmethod
    def _made_with(cls, key: str, place: Place) -> bool:
        folder = place.folder
        return (folder / MANIFEST).is_file() and cls.open(folder).manifest.key == key

    def count(self, name: str) -> int:
        """Return how many rows of one file the manifest counts."""
        return self.manifest.rows.get(name, 0)

    def read_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Read one file of JSON lines; one that got no row is not there."""
        if name not in self.manifest.files:
            return
        with (self.path / name).open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def _compare(path: Path, manifest: Manifest, digest: Callable[[Path], str]) -> None:
    """Refuse a folder that does not hold what its manifest says."""
    try:
        found = storage.files_in(path)
        for name, content in manifest.files.items():
            file = found.pop(name, None)
            if file is None:
                raise ArtifactError(f"{path / name}: expected {content.bytes} bytes, found no file")
            if (size := file.stat().st_size) != content.bytes:
                raise ArtifactError(f"{file}: expected {content.bytes} bytes, found {size}")
            if digest(file) != content.sha256:
                raise ArtifactError(f"{file}: expected the manifest's sha256, found another")
    except StorageError as error:  # a link, a pipe
        raise ArtifactError(str(error)) from error
    beside = {MANIFEST, "README.md"}  # the registry puts a card there; nothing reads it
    others = [name for name in found if name not in beside and not name.startswith(f"{LOGS}/")]
    if others:
        raise ArtifactError(
            f"{path}: expected no file but those in its {MANIFEST}, found {others[0]}"
        )


def _remember(path: Path, manifest: Manifest) -> None:
    """Note what this process knows of the files that it has made or read."""
    for name, content in manifest.files.items():
        storage.remember_digest(path / name, content.sha256)


def _taken(place: Place, kind: str) -> str:
    return (
        f"{place}: expected nothing, or this run's own result, found a '{kind}' made with another "
        "config, input or version; choose another --out or remove it"
    )


def _bring(place: Place) -> None:
    """Make the folder what is in object storage, if the place is there."""
    if place.remote and not publishing.get(place):
        storage.remove_tree(place.folder)


@contextlib.contextmanager
def _unfinished(place: Place) -> Iterator[UnfinishedWork | None]:
    """Hold the work on a result in object storage, and bring what was done of it before."""
    if not place.remote:
        yield None
        return
    name = place.folder.name
    with storage.hold((place.parent.parent / "leases").open(), name) as lease:
        work = UnfinishedWork(place.open(), place.folder / WORK, lease.check)
        if work.pull():
            say(f"{name}: going on with what another machine began")
        yield work


def _place_in_store(out: Place, stage: str, key: str) -> Place | None:
    """Return where a shared store keeps a finished artifact; there is none without SODA_STORE."""
    if not os.environ.get("SODA_STORE"):
        return None
    return out.store() / name_in_store(stage, key)


def name_in_store(stage: str, key: str) -> str:
    """Return where a store keeps what a stage made under a key, relative to the store."""
    return f"artifacts/{stage}-{key[:16]}"
