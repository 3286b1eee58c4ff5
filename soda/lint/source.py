"""A file -> its documents, and the line of everything in them."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .errors import LintError, found_instead
from .jsontext import read_json
from .shape import Keys, camel
from .yamltext import Repeated, read_yaml

__all__ = ["Source", "read"]


@dataclass(frozen=True)
class Source:
    """One file: what is in it, and where."""

    name: str
    documents: list[Any]
    lines: dict[Keys, int] = field(default_factory=dict)
    repeated: list[Repeated] = field(default_factory=list)  # keys that stand twice in a mapping

    def line(self, path: Keys) -> int:
        """Return the line of a path, or of the nearest thing around it; 0 without lines."""
        if not self.lines:
            return 0
        while path:
            for spelled in (path, tuple(map(_snake, path)), tuple(map(camel, path))):
                if spelled in self.lines:
                    return self.lines[spelled]
            path = path[:-1]
        return 1


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def read(name: str) -> Source:
    """Read the YAML or JSON in a file, or on standard input for '-'.

    Raises:
        LintError: the file is missing, or is neither.
    """
    shown = "<stdin>" if name == "-" else name
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = data.decode("utf-8-sig")
        documents, lines, repeated = _documents(text)
    except OSError as error:
        raise LintError(f"{shown}: expected a pipeline, found {found_instead(error)}") from error
    except ValueError as error:  # of a name with a NUL, and of text that is not UTF-8
        raise LintError(f"{shown}: expected UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise LintError(f"{shown}: expected YAML: {' '.join(str(error).split())}") from error
    except LintError as error:
        raise LintError(f"{shown}: {error}") from error
    return Source(shown, documents, lines, repeated)


def _documents(text: str) -> tuple[list[Any], dict[Keys, int], list[Repeated]]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return read_json(text)
        except ValueError:
            pass  # YAML may begin so too
    return read_yaml(text)
