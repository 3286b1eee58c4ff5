"""YAML as its version 1.2 has it: what looks like text to a reader is text."""

import re
from typing import Any

import yaml

from soda.limits import RECIPE_NODES

__all__ = ["explain_yaml_error", "read_yaml"]

_TAG = "tag:yaml.org,2002:"
# The core schema; PyYAML has that of 1.1, in which `off` is false, 010 is 8, 12:30 is 750, and 1e3
# and 7e-1 are text.
_CORE = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"found the key '{key.value}' twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: Any) -> int:
        text = self.construct_scalar(node)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


for _name, (_pattern, _first) in _CORE.items():
    _Loader.add_implicit_resolver(
        f"{_TAG}{_name}",
        re.compile(rf"(?:{_pattern})\Z"),
        ["" if character == "\0" else character for character in _first],
    )
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_integer)


def read_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        yaml.YAMLError: it is no YAML, names a key twice, or stands for too many values.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("expected less depth, found brackets in brackets") from None
    finally:
        loader.dispose()


def explain_yaml_error(error: yaml.YAMLError) -> str:
    """Return what was expected and what was found, and where, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        text = " ".join(str(error).split())
        return text if text.startswith("expected") else f"expected YAML, found {text}"
    mark, problem = error.problem_mark, (error.problem or "").removeprefix("found ")
    hint = "; YAML is indented with spaces" if "'\\t'" in problem else ""
    return (
        f"expected YAML, found in line {mark.line + 1}, column {mark.column + 1}: {problem}{hint}"
    )


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for: what an alias names counts each time it is named.

    Nine aliases of nine aliases, ten times over, are a short text and 3 billion values.
    """
    if id(node) not in known:
        known[id(node)] = RECIPE_NODES  # until it is counted: an alias of what it stands in
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else [each])]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if known[id(node)] > RECIPE_NODES:
        raise yaml.YAMLError(f"expected at most {RECIPE_NODES} values, found more")
    return known[id(node)]
