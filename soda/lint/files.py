"""The files that a command's words name: files, folders and patterns."""

import glob
from collections.abc import Iterator
from pathlib import Path

from .errors import LintError

__all__ = ["files"]

_WORDS = (b"pipelineInfo", b"pipeline_info", b"deploymentSpec", b"deployment_spec")
_ENDINGS = {".yaml", ".yml", ".json"}


def files(word: str) -> Iterator[tuple[str, bool]]:
    """Yield the files that a word names, and whether it names them one by one.

    A folder stands for every YAML and JSON file in it; a pattern may hold `**`. Of what they name,
    files are passed over that do not speak of a pipeline, be they sound or not.

    Raises:
        LintError: a pattern names no file, or a folder holds none.
    """
    path = Path(word)
    if word == "-" or (not path.is_dir() and (path.exists() or not glob.has_magic(word))):
        yield word, True
        return
    if path.is_dir():
        found = [
            str(each)
            for each in sorted(path.rglob("*"))
            if each.suffix in _ENDINGS
            and not any(p.startswith(".") for p in each.parts[len(path.parts) :])
        ]
    else:
        # Path.glob takes no absolute pattern.
        found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207
    if not found:
        raise LintError(f"{word}: expected a pipeline, found no YAML or JSON file")
    yield from ((each, False) for each in found if _speaks_of_a_pipeline(Path(each)))


def _speaks_of_a_pipeline(path: Path) -> bool:
    try:
        return path.is_file() and any(word in path.read_bytes() for word in _WORDS)
    except OSError:
        return True  # it is refused with its reason
