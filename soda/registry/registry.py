"""The registry, in a folder or a bucket: immutable models, numbered versions, and aliases.

<registry>/<name>/models/<digest>/{model,report}/, README.md, lineage.json
<registry>/<name>/versions/1.json       created once: a model's lineage, and which folder it is in
<registry>/<name>/aliases/champion      every version that it was, a line each; the last counts
"""

import json
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from soda import storage
from soda.errors import MissingObject, RegistryError
from soda.rows import digest
from soda.storage import Location, Place

__all__ = ["Move", "Registry"]


@dataclass(frozen=True, slots=True)
class Move:
    """One move of an alias."""

    version: int
    how: Literal["moved", "rolled-back"] = "moved"
    # two that move it to the same version at once are two moves, not one that was written twice
    mark: str = field(default_factory=lambda: secrets.token_hex(4))

    @classmethod
    def parse(cls, line: str) -> "Move":
        """Read what `str` wrote."""
        number, how, mark = line.split(" ")
        return cls(int(number), "rolled-back" if how == "rolled-back" else "moved", mark)

    def __str__(self) -> str:
        return f"{self.version} {self.how} {self.mark}"


class Registry:
    """The registry at one place; several processes may add to it at once."""

    def __init__(self, location: Location):
        self._place = Place.of(location)
        self._store = self._place.open()

    def add(
        self,
        name: str,
        lineage: Mapping[str, Any],
        *,
        folders: Mapping[str, Path],
        card: str,
        files: Mapping[str, bytes] | None = None,
    ) -> int:
        """Add a version and return its number; a model that is there already keeps its own.

        Args:
            name: the model's name.
            lineage: what it was made of; `model_digest` says whether it is there already.
            folders: what the version holds, by name: `model` and others.
            card: the model card, Markdown.
            files: what else lies beside them: the provenance.
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
                texts = {"lineage.json": entry, "README.md": card.encode(), **(files or {})}
                self._upload(f"{name}/models/{folder}", texts, folders)
                uploaded = True
            version = max(known, default=0) + 1
            if self._store.create(f"{name}/versions/{version}.json", entry) is not None:
                return version  # else another process took the number: look again

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """Return what a version was made of.

        Raises:
            MissingObject: there is no such version.
        """
        lineage: dict[str, Any] = json.loads(self._store.read(f"{name}/versions/{version}.json")[0])
        return lineage

    def read(self, name: str, version: int, file: str) -> bytes:
        """Read one file of a version.

        Raises:
            MissingObject: there is none.
        """
        folder = self.lineage(name, version)["folder"]
        return self._store.read(f"{name}/models/{folder}/{file}")[0]

    def place_of(self, name: str, version: int) -> Place:
        """Return where a version lies."""
        return self._place / name / "models" / str(self.lineage(name, version)["folder"])

    def names(self) -> list[str]:
        """Return the names of the models that have versions."""
        found = (entry.name.split("/") for entry in self._store.list(""))
        return sorted({parts[0] for parts in found if parts[1:2] == ["versions"] and parts[2:]})

    def versions(self, name: str) -> list[int]:
        """Return the numbers of a model's versions.

        Raises:
            RegistryError: there is no such model.
        """
        numbers = self._numbers(name)
        if not numbers:
            known = ", ".join(self.names()) or "none"
            raise RegistryError(
                f"{self._place}: expected a model, found no '{name}'; known: {known}"
            )
        return numbers

    def alias(self, name: str, alias: str) -> int | None:
        """Return the version an alias points at."""
        history = self.history(name, alias)
        return history[-1].version if history else None

    def history(self, name: str, alias: str) -> list[Move]:
        """Return every move of an alias, the first one first."""
        return self._alias(f"{name}/aliases/{alias}")[0]

    def promote(self, name: str, alias: str, version: int) -> int | None:
        """Point an alias at a version, whatever it points at; return what it pointed at before.

        Raises:
            RegistryError: there is no such version.
        """
        if version not in self.versions(name):
            known = ", ".join(map(str, self.versions(name)))
            raise RegistryError(f"{name}: expected a version, found {version}; known: {known}")
        history = self._move(name, alias, lambda moves: Move(version))
        return history[-2].version if len(history) > 1 else None

    def roll_back(self, name: str, alias: str) -> tuple[int, int]:
        """Point an alias at the version before; return where from and where to.

        A second time goes one further back: what was rolled back from is no way back.

        Raises:
            RegistryError: there was none before.
        """

        def back(moves: list[Move]) -> Move:
            stack: list[int] = []
            for move in moves:
                if move.how == "rolled-back" and len(stack) > 1:
                    stack.pop()
                elif not stack or stack[-1] != move.version:
                    stack.append(move.version)
            if len(stack) < 2:
                raise RegistryError(f"{name}: expected a version before, {alias} had none")
            return Move(stack[-2], "rolled-back")

        history = self._move(name, alias, back)
        return history[-2].version, history[-1].version

    def _move(self, name: str, alias: str, decide: Callable[[list[Move]], Move]) -> list[Move]:
        """Add a move to an alias's history, by compare-and-swap; return the history."""
        path = f"{name}/aliases/{alias}"
        while True:
            history, state = self._alias(path)
            moved = [*history, decide(history)]
            data = "".join(f"{move}\n" for move in moved).encode()
            swapped = self._store.swap(path, data, state) if history else None
            if swapped is not None or (not history and self._store.create(path, data) is not None):
                return moved

    def move_alias(self, name: str, alias: str, version: int, *, seen: int | None) -> None:
        """Point an alias at a version, unless a newer one took it meanwhile.

        Args:
            name: the model's name.
            alias: such as `champion`.
            version: where to.
            seen: what it pointed at when the move was decided.
        """
        path = f"{name}/aliases/{alias}"
        while True:
            history, state = self._alias(path)
            found = history[-1].version if history else None
            if found is not None and found != seen and found >= version:
                return
            if found == version:
                return
            data = "".join(f"{move}\n" for move in [*history, Move(version)]).encode()
            if found is None:
                done = self._store.create(path, data)
            else:
                done = self._store.swap(path, data, state)
            if done is not None:
                return

    def _alias(self, path: str) -> tuple[list[Move], str]:
        """Return an alias's moves, and the state that a swap expects."""
        try:
            data, state = self._store.read(path)
        except MissingObject:
            return [], ""
        return [Move.parse(line) for line in data.decode().splitlines()], state

    def _numbers(self, name: str) -> list[int]:
        prefix = f"{name}/versions/"
        return sorted(
            int(entry.name.removeprefix(prefix).removesuffix(".json"))
            for entry in self._store.list(prefix)
        )

    def _versions(self, name: str) -> dict[int, str]:
        return {
            number: self.lineage(name, number)["model_digest"] for number in self._numbers(name)
        }

    def _upload(self, to: str, files: dict[str, bytes], folders: Mapping[str, Path]) -> None:
        for name, folder in folders.items():
            storage.upload_tree(folder, self._store, f"{to}/{name}", label="to the registry")
        with tempfile.TemporaryDirectory() as beside:
            for name, data in {**files, "model/README.md": files["README.md"]}.items():
                storage.write_atomically(Path(beside) / name, data)
            storage.upload_tree(Path(beside), self._store, to, label="to the registry")
        if not self._place.remote:
            storage.make_read_only(self._place.folder / to)
