"""YAML text -> documents, as KFP's backend reads it (YAML 1.2), with the lines of all keys.

It goes by events: that takes no recursion, and nothing is built that the text did not name.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from .errors import LintError
from .shape import Keys

try:
    from yaml import CSafeLoader as _Loader  # five times as fast, where PyYAML has it
except ImportError:
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

__all__ = ["DEEPEST", "LARGEST", "Repeated", "read_yaml"]

DEEPEST = 200  # levels; a compiled pipeline has about 15
LARGEST = 2_000_000  # values, those behind aliases counted each time

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_TAG = "tag:yaml.org,2002:"
_START = frozenset("-+.0123456789")

Repeated = tuple[Keys, int]  # a key that stands twice in a mapping, and the second line


@dataclass
class _Open:
    """A mapping or list that is not closed yet."""

    value: Any
    path: Keys
    anchor: str | None
    key: str | None = None
    size: int = 1
    merged: list[Any] = field(default_factory=list)


def read_yaml(text: str) -> tuple[list[Any], dict[Keys, int], list[Repeated]]:
    """Return the documents, the lines of their keys and items, and the keys that stand twice.

    Raises:
        yaml.YAMLError: the text is no YAML.
        LintError: it is too deep, too large or has tags.
    """
    reader = _Reader()
    loader = _Loader(text)
    try:
        while loader.check_event():
            reader.event(loader.get_event())
    finally:
        loader.dispose()
    return reader.documents, reader.lines, reader.repeated


class _Reader:
    def __init__(self) -> None:
        self.documents: list[Any] = []
        self.lines: dict[Keys, int] = {}
        self.repeated: list[Repeated] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}

    def event(self, event: Any) -> None:
        """Take one event of the parser."""
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, line)
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            self._add(value, 1, line, not event.style)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise LintError(f"line {line}: expected an anchor, found none for *{event.anchor}")
            self._add(*self.anchors[event.anchor], line, False)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.anchors = {}
            self.lines[(str(len(self.documents)),)] = line

    def _open(self, event: Any, line: int) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{_TAG}{'map' if mapping else 'seq'}"):
            raise LintError(f"line {line}: expected no tag, found {event.tag!r}")
        if len(self.stack) >= DEEPEST:
            raise LintError(f"line {line}: expected at most {DEEPEST} levels, found more")
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            raise LintError(f"line {line}: expected text as a key, found a mapping or a list")
        value: Any = {} if mapping else []
        self.stack.append(_Open(value, self._path(), event.anchor))
        self.lines.setdefault(self.stack[-1].path, line)

    def _close(self) -> None:
        done = self.stack.pop()
        for each in done.merged:
            for key, value in each.items():
                done.value.setdefault(key, value)
        if done.anchor:
            self.anchors[done.anchor] = (done.value, done.size)
        self._add(done.value, done.size, self.lines[done.path], False)

    def _path(self) -> Keys:
        """Return where the next value goes."""
        if not self.stack:
            return (str(len(self.documents)),)
        top = self.stack[-1]
        return (*top.path, str(len(top.value)) if top.key is None else top.key)

    def _add(self, value: Any, size: int, line: int, plain: bool) -> None:
        if not self.stack:
            self.documents.append(value)
            return
        top = self.stack[-1]
        top.size += size
        if top.size > LARGEST:
            raise LintError(f"expected at most {LARGEST} values, found more, behind aliases")
        if isinstance(top.value, list):
            self.lines.setdefault((*top.path, str(len(top.value))), line)
            top.value.append(value)
        elif top.key is None:
            self._key(top, value, line, plain)
        elif top.key == "<<" and top.merged and top.merged[-1] is None:
            top.merged[-1:] = _mappings(value, line)
            top.key = None
        else:
            top.value[top.key] = value
            top.key = None

    def _key(self, top: _Open, value: Any, line: int, plain: bool) -> None:
        if isinstance(value, dict | list):
            raise LintError(f"line {line}: expected text as a key, found a mapping or a list")
        top.key = "null" if value is None else str(value)
        path = (*top.path, top.key)
        if plain and top.key == "<<":
            top.merged.append(None)
        elif top.key in top.value:
            self.repeated.append((path, line))
        self.lines[path] = line


def _mappings(value: Any, line: int) -> list[Any]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise LintError(f"line {line}: expected a mapping after <<, found {value!r:.40}")
    return found


def _scalar(event: Any, line: int) -> Any:
    text: str = event.value
    kind = event.tag
    if kind is None or kind == "!":
        if not event.implicit[0] or kind == "!":
            return text
        return _plain(text)
    kind = kind.removeprefix(_TAG)
    if kind in ("str", "timestamp", "binary"):
        return text
    if kind in ("int", "float", "bool", "null"):
        return _plain(text)
    raise LintError(f"line {line}: expected no tag, found {event.tag!r}")


def _plain(text: str) -> Any:
    """Return what a word without quotes means: a date is text, and so is 'yes'."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _START:
        if _INTEGER.fullmatch(text) and len(text) < 400:
            return int(text.replace("_", ""), 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
