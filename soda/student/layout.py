"""Which files of a folder hold its weights, and the same weights in files of the usual names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soda import storage
from soda.errors import ModelError
from soda.student.account import Account, take_account
from soda.student.folder import read_json
from soda.student.tensors import Headers, Stored, rewrite

__all__ = ["INDEX", "Weights", "find_weights", "write_weights"]

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that hold a model, what becomes of their tensors, and the files that do not."""

    files: list[str]
    account: Account
    others: list[str]


def find_weights(folder: Path, headers: Headers, config: Any, source: str) -> Weights:
    """Return the files that hold a whole model.

    They are model.safetensors, or those of the index, or all that there are: the first set in which
    no tensor is missing.

    Raises:
        ModelError: in no set is every tensor there; the model is called by `source`.
    """
    found: list[Weights] = []
    for files in _sets(folder, headers, source):
        tensors = _united(files, headers)
        if tensors is not None:
            account = take_account(config, tensors, source)
            others = sorted(set(headers) - set(files))
            found.append(Weights(files, account, others))
            if not account.problems:
                return found[-1]
    if not found:
        raise ModelError(f"{source}: expected each tensor in one file, found some in several")
    best = min(found, key=lambda one: one.account.problems)
    best.account.refuse(source)
    return best


def _sets(folder: Path, headers: Headers, source: str) -> list[list[str]]:
    sets = [[WHOLE]] if WHOLE in headers else []
    if (folder / INDEX).is_file():
        listed = read_json(folder / INDEX, source).get("weight_map")
        files = sorted(set(listed.values())) if isinstance(listed, dict) else []
        missing = [name for name in files if name not in headers]
        if missing:
            raise ModelError(
                f"{source}: expected weights in {', '.join(missing[:3])}, as {INDEX} says, found "
                "no such file"
            )
        sets.append(files)
    return [*sets, sorted(headers)]


def _united(files: list[str], headers: Headers) -> dict[str, Stored] | None:
    """Return the tensors of some files, or None if two hold one of the same name."""
    tensors: dict[str, Stored] = {}
    for file in files:
        if tensors.keys() & headers[file].keys():
            return None
        tensors |= headers[file]
    return tensors


def write_weights(source: Path, weights: Weights, headers: Headers, target: Path) -> None:
    """Write a model's tensors into files of the usual names, with an index if there are several."""
    names = weights.account.names
    used = {file: {name for name in headers[file] if name in names} for file in weights.files}
    files = [file for file in weights.files if used[file]]
    index: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        name = WHOLE if len(files) == 1 else f"model-{number:05}-of-{len(files):05}.safetensors"
        if used[file] == headers[file].keys() and all(names[each] == each for each in used[file]):
            storage.copy_file((source / file).resolve(), target / name)  # a hub's blob
        else:
            rewrite(source / file, target / name, {each: names[each] for each in used[file]})
        index |= {names[each]: name for each in used[file]}
    if len(files) > 1:
        size = sum((target / name).stat().st_size for name in set(index.values()))
        whole = {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))}
        (target / INDEX).write_text(json.dumps(whole, indent=2), encoding="utf-8")
