"""Where a document differs from KFP's schema; what does not fit is left out of what rules see.

KFP reads documents as protobuf's JSON: `camelCase` or `snake_case` names, null for what is not
set, and whole numbers also as text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .schema import ENUMS, FORMS

__all__ = ["Keys", "Misfit", "camel", "fit"]

Keys = tuple[str, ...]  # the number of the document, then keys and indices

_DURATION = re.compile(r"-?\d+(\.\d{1,9})?s")
_SAID = {"integer": "a whole number", "number": "a number", "bool": "true or false", "text": "text"}
_SAID |= {"duration": "a duration such as '60s'", "mapping": "a mapping", "list": "a list"}


@dataclass(frozen=True)
class Misfit:
    """One place where a document differs from the schema."""

    keys: Keys
    kind: Literal["unknown", "ignored", "type"]
    message: str


def camel(name: str) -> str:
    """Return a field's name as protobuf's JSON spells it."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def fit(tree: Any, form: str, keys: Keys, found: list[Misfit], *, loose: bool = False) -> Any:
    """Return what fits a form, with the schema's own names; add the rest to `found`.

    Args:
        tree: what the document holds there
        form: a message, a scalar, [form] or {form}
        keys: where that is
        found: the list that grows
        loose: KFP drops unknown fields there, and does not refuse them
    """
    if form in FORMS:
        return _message(tree, form, keys, found, loose)
    if form[0] == "{":
        items = _items(tree, dict, "mapping", keys, found)
        return {n: fit(v, form[1:-1], k, found, loose=loose) for n, v, k in items if v is not None}
    if form[0] == "[":
        items = _items(tree, list, "list", keys, found)
        return [fit(v, form[1:-1], k, found, loose=loose) for _, v, k in items if v is not None]
    return _scalar(tree, form, keys, found)


def _items(
    tree: Any, kind: type, said: str, keys: Keys, found: list[Misfit]
) -> Iterator[tuple[str, Any, Keys]]:
    if not isinstance(tree, kind):
        found.append(_wrong(keys, _SAID[said], tree))
    elif isinstance(tree, dict):
        yield from ((str(k), v, (*keys, str(k))) for k, v in tree.items())
    elif isinstance(tree, list):
        yield from ((str(i), v, (*keys, str(i))) for i, v in enumerate(tree))


def _message(tree: Any, form: str, keys: Keys, found: list[Misfit], loose: bool) -> dict[str, Any]:
    fitted = {}
    fields = FORMS[form]
    for name, value, below in _items(tree, dict, "mapping", keys, found):
        field = name if name in fields else camel(name)
        if field not in fields:
            if name != "@type":
                found.append(Misfit(below, "ignored" if loose else "unknown", _unknown(name, form)))
        elif value is not None or fields[field] == "any":  # null is a value there
            fitted[field] = fit(value, fields[field], below, found, loose=loose)
    return fitted


def _unknown(name: str, form: str) -> str:
    known = ", ".join(FORMS[form])
    return f"KFP's schema knows no '{name}' here, but {known}"


def _scalar(tree: Any, form: str, keys: Keys, found: list[Misfit]) -> Any:
    """Return a scalar; for one of another kind, the nearest that rules can go on with."""
    if form == "any" or _is(tree, form):
        return str(tree) if form == "text" else tree
    expected = f"one of {', '.join(ENUMS[form].split())}" if form in ENUMS else _SAID[form]
    found.append(_wrong(keys, expected, tree))
    if form in ("mapping", "list"):
        return {} if form == "mapping" else []
    return str(tree) if form == "text" and not isinstance(tree, dict | list) else ""


def _is(tree: Any, form: str) -> bool:
    number = isinstance(tree, int | float) and not isinstance(tree, bool)
    text = tree if isinstance(tree, str) else ""
    match form:
        case "text":
            return isinstance(tree, str)
        case "bool":
            return isinstance(tree, bool)
        case "integer":
            return (number and tree == tree // 1) or bool(re.fullmatch(r"-?\d+", text))
        case "number":
            return number or bool(re.fullmatch(r"-?\d+(\.\d*)?([eE][-+]?\d+)?", text))
        case "duration":
            return bool(_DURATION.fullmatch(text))
        case "mapping" | "list":
            return isinstance(tree, dict if form == "mapping" else list)
        case _:
            return text in ENUMS[form].split() or isinstance(tree, int)


def _wrong(keys: Keys, expected: str, tree: Any) -> Misfit:
    shown = repr(tree)
    shown = shown if len(shown) < 40 else f"{shown[:36]}..."
    return Misfit(keys, "type", f"expected {expected}, found {shown}")
