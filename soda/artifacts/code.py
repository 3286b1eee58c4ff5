"""A module's source as keys see it: what it does, without comments, layout and docstrings."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Code", "read_code"]


@dataclass
class Code:
    """The outline of a syntax tree, the same on every version of Python.

    `ast.dump` writes empty fields on some versions and leaves them out on others.
    """

    outline: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)  # modules, and names that may be modules
    texts: set[str] = field(default_factory=set)

    def add(self, part: Any) -> None:
        """Write down a node with all below it, a list of them, or a plain value."""
        if isinstance(part, ast.AST):
            if isinstance(part, ast.Import | ast.ImportFrom):
                self.imports |= set(_imported(part))
            self.outline.append(type(part).__name__)
            for name in part._fields:
                inner = getattr(part, name, None)
                if isinstance(part, ast.JoinedStr):  # Python 3.12.1 puts empty texts in between
                    inner = [one for one in inner or [] if getattr(one, "value", None) != ""]
                if inner is not None and inner != [] and name not in ("ctx", "kind"):
                    self.outline.append(name)
                    self.add(inner)
            self.outline.append("end")
        elif isinstance(part, list):
            for inner in part:
                if not _is_for_people(inner):
                    self.add(inner)
            self.outline.append("end")
        else:
            if isinstance(part, str):
                self.texts.add(part)
            self.outline.append(ascii(part))  # repr escapes other characters in other versions


def read_code(source: str) -> Code:
    """Read a module's source."""
    code = Code()
    code.add(ast.parse(source))
    return code


def _is_for_people(part: Any) -> bool:
    """Say whether a part of the code is a docstring, or the description of a config's field."""
    if isinstance(part, ast.Expr):
        return isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
    return isinstance(part, ast.keyword) and part.arg == "description"


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (one.name for one in statement.names)
    else:
        assert statement.module and not statement.level, "imports are absolute here"
        yield statement.module
        yield from (f"{statement.module}.{one.name}" for one in statement.names)
