"""JSON text -> its document, with the lines of all keys."""

import json
import re
from itertools import pairwise
from typing import Any

from .errors import LintError
from .shape import Keys
from .yamltext import DEEPEST, Repeated

__all__ = ["read_json"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+|\n')


def read_json(text: str) -> tuple[list[Any], dict[Keys, int], list[Repeated]]:
    """Return the one document, the lines of its keys and items, and the keys that stand twice.

    Raises:
        ValueError: the text is no JSON.
        LintError: it is too deep.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise LintError(f"expected at most {DEEPEST} levels, found more") from None
    lines: dict[Keys, int] = {("0",): 1}
    repeated: list[Repeated] = []
    path: list[str] = ["0"]  # of the value that comes next
    kinds: list[str] = []
    number = 1
    tokens = _TOKEN.findall(text)
    for token, after in pairwise([*tokens, ""]):
        if token == "\n":
            number += 1
        elif token in ("{", "["):
            if len(kinds) == DEEPEST:
                raise LintError(f"line {number}: expected at most {DEEPEST} levels, found more")
            kinds.append(token)
            path.append("0")
            if token == "[":
                lines[tuple(path)] = number + (after == "\n")
        elif token in ("}", "]"):
            kinds.pop()
            path.pop()
        elif token == "," and kinds[-1] == "[":
            path[-1] = str(int(path[-1]) + 1)
            lines[tuple(path)] = number + (after == "\n")
        elif token[0] == '"' and after == ":" and kinds[-1:] == ["{"]:
            path[-1] = json.loads(token)
            if tuple(path) in lines:
                repeated.append((tuple(path), number))
            lines[tuple(path)] = number
    return [document], lines, repeated
