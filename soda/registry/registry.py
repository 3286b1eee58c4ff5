"""The registry, in a folder or a bucket: immutable models, numbered versions, and aliases.

<registry>/<name>/models/<digest>/{model,report}/, README.md, lineage.json
<registry>/<name>/versions/1.json       created once: a model's lineage, and which folder it is in
<registry>/<name>/aliases/champion      holds the version's number
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soda import storage
from soda.errors import MissingObject
from soda.rows import digest
from soda.storage import Location, Place

__all__ = ["Registry"]


class Registry:
    """The registry at one place; several processes may add to it at once."""

    def __init__(self, location: Location):
        self._place = Place.of(location)
        self._store = self._place.open()

    def add(
        self, name: str, lineage: Mapping[str, Any], *, folders: Mapping[str, Path], card: str
    ) -> int:
        """Add a version and return its number; a model that is there already keeps its own.

        Args:
            name: the model's name.
            lineage: what it was made of; `model_digest` says whether it is there already.
            folders: what the version holds, by name: `model` and others.
            card: the model card, Markdown.
        """
        folder = digest(lineage)[:16]
        entry = json.dumps({**lineage, "folder": folder}, indent=2, sort_keys=True).encode()
        uploaded = False
        while True:
            known = self._versions(name)
            for version, found in known.items():
                if found == lineage["model_digest"]:
                    return version
            if not uploaded:
                self._upload(f"{name}/models/{folder}", entry, folders, card)
                uploaded = True
            version = max(known, default=0) + 1
            if self._store.create(f"{name}/versions/{version}.json", entry) is not None:
                return version  # else another process took the number: look again

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """Return what a version was made of."""
        lineage: dict[str, Any] = json.loads(self._store.read(f"{name}/versions/{version}.json")[0])
        return lineage

    def place_of(self, name: str, version: int) -> Place:
        """Return where a version lies."""
        return self._place / name / "models" / str(self.lineage(name, version)["folder"])

    def alias(self, name: str, alias: str) -> int | None:
        """Return the version an alias points at."""
        return self._alias(f"{name}/aliases/{alias}")[0]

    def move_alias(self, name: str, alias: str, version: int, *, seen: int | None) -> None:
        """Point an alias at a version, unless a newer one took it meanwhile.

        Args:
            name: the model's name.
            alias: such as `champion`.
            version: where to.
            seen: what it pointed at when the move was decided.
        """
        path, data = f"{name}/aliases/{alias}", f"{version}\n".encode()
        while True:
            found, state = self._alias(path)
            if found is not None and found != seen and found >= version:
                return
            if found is None:
                done = self._store.create(path, data)
            else:
                done = self._store.swap(path, data, state)
            if done is not None:
                return

    def _alias(self, path: str) -> tuple[int | None, str]:
        """Return an alias's version, and the state that a swap expects."""
        try:
            data, state = self._store.read(path)
        except MissingObject:
            return None, ""
        return int(data), state

    def _versions(self, name: str) -> dict[int, str]:
        prefix = f"{name}/versions/"
        numbers = [
            int(entry.name.removeprefix(prefix).removesuffix(".json"))
            for entry in self._store.list(prefix)
        ]
        return {number: self.lineage(name, number)["model_digest"] for number in sorted(numbers)}

    def _upload(self, to: str, entry: bytes, folders: Mapping[str, Path], card: str) -> None:
        for name, folder in folders.items():
            storage.upload_tree(folder, self._store, f"{to}/{name}", label="to the registry")
        with tempfile.TemporaryDirectory() as beside:
            files = {"lineage.json": entry, "README.md": card.encode()}
            files["model/README.md"] = files["README.md"]
            for name, data in files.items():
                storage.write_atomically(Path(beside) / name, data)
            storage.upload_tree(Path(beside), self._store, to, label="to the registry")
        if not self._place.remote:
            storage.make_read_only(self._place.folder / to)
