"""A registry that is a folder: immutable numbered versions, and aliases that point at one.

<registry>/<name>/versions/1/{model,report}/, README.md, lineage.json
<registry>/<name>/aliases/champion       holds the version's number
"""

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soda import storage
from soda.errors import StorageError

__all__ = ["Registry", "fill"]


class Registry:
    """The registry in one folder; several processes may add to it at once."""

    def __init__(self, root: Path):
        self.root = root

    def version_folder(self, name: str, version: int) -> str:
        """Return where a version lies."""
        return str(self._folder(name, version))

    def _folder(self, name: str, version: int) -> Path:
        return self.root / name / "versions" / str(version)

    def add(
        self, name: str, lineage: Mapping[str, Any], *, folders: Mapping[str, Path], card: str
    ) -> int:
        """Add a version and return its number; a model that is there already keeps its own.

        Args:
            name: the model's name.
            lineage: what it was made of; `model_digest` says whether it is there already.
            folders: what the version holds, by name; linked where the disk can.
            card: the model card, Markdown.
        """
        unfinished = self.root / name / f".adding-{uuid.uuid4().hex}"
        try:
            while True:
                known = self._versions(name)
                for version, digest in known.items():
                    if digest == lineage["model_digest"]:
                        return version
                if not unfinished.exists():
                    fill(unfinished, lineage, folders, card)
                version = max(known, default=0) + 1
                try:
                    storage.publish(unfinished, self._folder(name, version))
                except StorageError:
                    continue  # another process took the number: look again
                return version
        finally:
            storage.remove_tree(unfinished)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        storage.write_atomically(self.root / name / "aliases" / alias, f"{version}\n".encode())

    def alias(self, name: str, alias: str) -> int | None:
        """Return the version an alias points at."""
        path = self.root / name / "aliases" / alias
        return int(path.read_text(encoding="utf-8")) if path.is_file() else None

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """Return what a version was made of."""
        path = self._folder(name, version) / "lineage.json"
        lineage: dict[str, Any] = json.loads(path.read_bytes())
        return lineage

    def _versions(self, name: str) -> dict[int, str]:
        folder = self.root / name / "versions"
        return {
            int(path.name): json.loads((path / "lineage.json").read_bytes())["model_digest"]
            for path in sorted(folder.glob("[0-9]*"))
        }


def fill(folder: Path, lineage: Mapping[str, Any], folders: Mapping[str, Path], card: str) -> None:
    """Make a version's folder: what it holds, its card, its lineage."""
    folder.mkdir(parents=True)
    for name, source in folders.items():
        storage.link_tree(source, folder / name)
    model = folder / "model"
    (model / "README.md").unlink(missing_ok=True)
    (model / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(model / "README.md", folder / "README.md")
    (folder / "lineage.json").write_text(json.dumps(lineage, indent=2), encoding="utf-8")
    storage.make_read_only(folder)
