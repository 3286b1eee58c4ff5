"""Keys: digests of all that decides a stage's result, so that nothing stale is ever reused.

Besides its config and inputs that is the code it runs, found by following imports from the stage's
own module, the packaged files that this code names, and the libraries that it imports.
"""

import functools
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from soda import storage
from soda.artifacts.code import Code, read_code
from soda.artifacts.manifest import FORMAT
from soda.config import Config
from soda.rows import digest

__all__ = ["code_digest", "deciding", "input_digests", "module_of", "run_key"]

# Rooms that carry bytes or talk to people. What they make of a recipe or an input is in the key
# itself: a config's values, an artifact's digest, FORMAT.
_CARRIERS = {"artifacts", "config", "errors", "progress", "storage"}
# The same among libraries. One that is not listed here counts.
_CARRYING_LIBRARIES = {"aiohttp", "huggingface_hub", "model_registry", "mr_openapi"}
_CARRYING_LIBRARIES |= {"pydantic", "safetensors", "yaml", "yarl"}

_ROOT = Path(__file__).parents[1]


class _Digested(Protocol):
    @property
    def digest(self) -> str: ...


def run_key(config: Config, inputs: Mapping[str, _Digested | Sequence[_Digested]]) -> str:
    """Return the digest of all that decides a stage's result: code, config and inputs."""
    stage = config.stage()
    return digest(
        {
            "stage": stage,
            "format": FORMAT,
            "code": code_digest(module_of(stage)),
            "config": config.deciding(),
            "inputs": input_digests(inputs),
        }
    )


def input_digests(inputs: Mapping[str, _Digested | Sequence[_Digested]]) -> dict[str, str]:
    """Return each input's digest by its name; those of a list are `name.0`, `name.1` and so on."""
    found: dict[str, str] = {}
    for name, given in inputs.items():
        if isinstance(given, Sequence):
            found |= {f"{name}.{place}": each.digest for place, each in enumerate(given)}
        else:
            found[name] = given.digest
    return found


def module_of(stage: str) -> str:
    """Return the module that holds a stage."""
    return f"soda.stages.{stage.replace('-', '_')}"


@functools.cache
def code_digest(*modules: str) -> str:
    """Return one digest of all that decides what these modules compute."""
    return digest(deciding(*modules))


def _version(library: str) -> str:
    if importlib.util.find_spec(library) is None:
        return "absent"
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # its distribution has another name
        [name] = set(importlib.metadata.packages_distributions()[library])
        return importlib.metadata.version(name)


def deciding(
    *modules: str, root: Path = _ROOT, version: Callable[[str], str] = _version
) -> dict[str, str]:
    """Return the digest or version of all that decides what modules compute, by its name.

    Args:
        modules: such as `soda.stages.train`; with them count the modules that they import, the
            packaged files that these name, and their libraries.
        root: the package's folder.
        version: from a library's name to its version.
    """
    found: dict[str, str] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        package, room, *_ = *name.split("."), ""
        if package in sys.stdlib_module_names | _CARRYING_LIBRARIES or name in found:
            continue
        if package != root.name:
            found[package] = found.get(package) or version(package)
        elif room not in {"", *_CARRIERS} and (file := _file_of(name, root)):
            found[name], code = _read(file.read_text(encoding="utf-8"))
            todo += code.imports
            for data in _data_beside(file, code.texts):
                found[data.relative_to(root.parent).as_posix()] = storage.file_digest(data)
    assert found.keys() >= set(modules), f"no such modules: {set(modules) - found.keys()}"
    return found


def _file_of(module: str, root: Path) -> Path | None:
    path = root.parent.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _data_beside(file: Path, texts: set[str]) -> Iterator[Path]:
    """Yield the files that lie beside a module, or in a folder there, and that it names."""
    for path in file.parent.iterdir():
        if path.name in texts and path.suffix != ".py" and not (path / "__init__.py").exists():
            files = path.rglob("*") if path.is_dir() else [path]
            yield from (one for one in files if one.is_file() and one.name != "README.md")


@functools.cache
def _read(source: str) -> tuple[str, Code]:
    code = read_code(source)
    return digest(code.outline), code
