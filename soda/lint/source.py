"""The text of a spec -> its documents, and the line of everything in them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import LintError
from .parse import holds_pipeline
from .spec import Tree

try:
    from yaml import CSafeLoader as _Loader  # five times as fast, where PyYAML has it
except ImportError:
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

__all__ = ["Keys", "Source", "load", "read"]

Keys = tuple[str, ...]  # the number of the document, then keys and indices


@dataclass(frozen=True)
class Source:
    """One file: what is in it, and where."""

    name: str
    documents: list[Any]
    lines: dict[Keys, int]

    def line(self, path: Keys) -> int:
        """Return the line of a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def load(path: Path) -> list[Tree]:
    """Read the documents of a compiled pipeline: KFP's own YAML or Kubernetes manifests.

    Raises:
        LintError: the file is missing, is not YAML or holds no pipeline.
    """
    source = read(str(path))
    documents = [document for document in source.documents if isinstance(document, dict)]
    if not any(holds_pipeline(document) for document in documents):
        raise LintError(f"{path}: expected a compiled pipeline, found no 'root' with a 'dag'")
    return documents


def read(name: str) -> Source:
    """Read the YAML or JSON in a file, or on standard input for '-'.

    Raises:
        LintError: the file is missing or is not YAML.
    """
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        loader = _Loader(text)
        documents: list[Any] = []
        lines: dict[Keys, int] = {}
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _mark(node, (str(len(documents)),), lines)
            documents.append(loader.construct_document(node))
    except OSError as error:
        raise LintError(f"{name}: expected a pipeline, found {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise LintError(f"{name}: expected YAML, found {' '.join(str(error).split())}") from error
    return Source("<stdin>" if name == "-" else name, documents, lines)


def _mark(node: yaml.Node, path: Keys, lines: dict[Keys, int]) -> None:
    """Note where each key and each item of a list begins."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            lines[below] = key.start_mark.line + 1
            _mark(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*path, str(index)), lines)
