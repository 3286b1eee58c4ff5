"""A registry in object storage: immutable models, numbered versions, and aliases.

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
from soda.registry.local import Registry, fill
from soda.storage import Place

__all__ = ["RemoteRegistry", "open_registry"]


class RemoteRegistry:
    """The registry under one prefix of a bucket; several processes may add to it at once."""

    def __init__(self, location: str):
        self._store = Place.of(location).open()

    def version_folder(self, name: str, version: int) -> str:
        """Return where a version lies."""
        return f"{self._store.url}/{name}/models/{self.lineage(name, version)['folder']}"

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """Return what a version was made of."""
        lineage: dict[str, Any] = json.loads(self._store.read(f"{name}/versions/{version}.json")[0])
        return lineage

    def add(
        self, name: str, lineage: Mapping[str, Any], *, folders: Mapping[str, Path], card: str
    ) -> int:
        """Add a version and return its number; see `Registry.add`."""
        folder = str(lineage["model_digest"])[:16]
        entry = json.dumps({**lineage, "folder": folder}, indent=2, sort_keys=True).encode()
        uploaded = False
        while True:
            known = self._versions(name)
            for version, digest in known.items():
                if digest == lineage["model_digest"]:
                    return version
            if not uploaded:
                with tempfile.TemporaryDirectory() as temporary:
                    made = Path(temporary) / "version"
                    fill(made, lineage, folders, card)
                    storage.upload_tree(
                        made, self._store, f"{name}/models/{folder}", label="to the registry"
                    )
                uploaded = True
            version = max(known, default=0) + 1
            if self._store.create(f"{name}/versions/{version}.json", entry) is not None:
                return version  # else another process took the number: look again

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        self._store.write(f"{name}/aliases/{alias}", f"{version}\n".encode())

    def alias(self, name: str, alias: str) -> int | None:
        """Return the version an alias points at."""
        try:
            return int(self._store.read(f"{name}/aliases/{alias}")[0])
        except MissingObject:
            return None

    def _versions(self, name: str) -> dict[int, str]:
        prefix = f"{name}/versions/"
        numbers = [
            int(entry.name.removeprefix(prefix).removesuffix(".json"))
            for entry in self._store.list(prefix)
        ]
        return {number: self.lineage(name, number)["model_digest"] for number in sorted(numbers)}


def open_registry(location: str) -> Registry | RemoteRegistry:
    """Return the registry at a location."""
    place = Place.of(location)
    return RemoteRegistry(location) if place.remote else Registry(place.folder)
