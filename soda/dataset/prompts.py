"""A dataset's values as prompts: conversations, ids, and what a right answer holds."""

import ast
import json
import math
import re
from typing import Any

from soda.dataset.reading import shown
from soda.rows import Expected, Message

__all__ = ["conversation", "expected", "identifier"]

_LITERAL_CHARACTERS = 2**20  # Python's own parser takes a hundred times as much memory
_CHAT = re.compile(r"\[?\s*\{[^{}]*?['\"](role|from)['\"]\s*:")
_BETWEEN = re.compile(r"\}\s*\n\s*\{")  # numpy writes no commas between the objects of a list
_ROLES = ("system", "user", "assistant")
_TURNS = (("role", "content"), ("from", "value"))
_SHAREGPT = {"human": "user", "gpt": "assistant"}  # its turns have `from` and `value`


def conversation(value: Any) -> list[Message]:
    """Return a conversation from text, from messages, or from messages that were kept as text.

    Raises:
        ValueError: it is none of them; the message says what was expected and found.
    """
    if isinstance(value, str):
        messages = _in_text(value)
        if messages is None:
            return [{"role": "user", "content": _text(value)}]
        value = messages
    if not isinstance(value, list):
        raise ValueError(f"expected text or a list of messages, found {shown(value)}")
    return [_message(turn) for turn in value]


def _in_text(text: str) -> list[Any] | None:
    """Return the messages that a text holds as JSON or as Python writes them; None: no messages."""
    start = text.strip()
    if not start.startswith(("[", "{", '"')):
        return None
    try:
        return _turns(json.JSONDecoder().raw_decode(start), len(start))
    except (ValueError, RecursionError):
        if not _CHAT.match(start):
            return None
    try:
        if len(start) > _LITERAL_CHARACTERS:
            raise ValueError("too long for anything but JSON")
        found = ast.literal_eval(_BETWEEN.sub("}, {", start))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"expected messages as JSON, found {shown(text)}") from error
    return _turns((found, len(start)), len(start))


def _turns(parsed: tuple[Any, int], length: int) -> list[Any] | None:
    """Return the messages in a parsed text; None: it is something else, or other text follows."""
    found, end = parsed
    if end < length:
        return None
    if isinstance(found, str):  # JSON in JSON
        return _in_text(found)
    if isinstance(found, dict):
        inner = list(found.values())
        found = inner[0] if len(inner) == 1 and isinstance(inner[0], list) else [found]
    if not isinstance(found, list):
        return None
    return found if found and _is_turn(found[0]) else None


def _is_turn(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    known = (*_ROLES, *_SHAREGPT, "developer", "tool", "function")  # some are refused later
    return any(value.get(role) in known and text in value for role, text in _TURNS)


def _message(turn: Any) -> Message:
    if isinstance(turn, dict) and {"from", "value"} <= turn.keys() and "role" not in turn:
        turn = {"role": _SHAREGPT.get(turn["from"], turn["from"]), "content": turn["value"]}
    if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
        raise ValueError(f"expected messages with role and content, found {shown(turn)}")
    role, content = turn["role"], turn["content"]
    if isinstance(content, list):  # parts, as in OpenAI's requests
        content = "".join(_part(part) for part in content)
    if role not in _ROLES or not isinstance(content, str):
        raise ValueError(
            f"expected role {', '.join(_ROLES[:-1])} or {_ROLES[-1]} and text, found "
            f"{shown(role)} and {type(content).__name__}"
        )
    return {"role": role, "content": _text(content)}


def _part(part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        raise ValueError(f"expected parts of text in a message, found {shown(part)}")
    if part.get("type", "text") != "text":
        raise ValueError(f"expected parts of text in a message, found one of {shown(part['type'])}")
    return str(part["text"])


def expected(value: Any) -> Expected | None:
    """Return what a right answer holds: text, a number, or several alternatives; None: nothing.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(value, list):
        alternatives = [one for each in value if (one := _single(each)) is not None]
        return alternatives or None
    return _single(value)


def _single(value: Any) -> str | int | float | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        visible = any(not c.isspace() and c.isprintable() for c in _text(value))
        return value if visible else None
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        whole = isinstance(value, float) and value.is_integer()
        return int(value) if whole else value
    raise ValueError(f"expected text, a number or a list of them, found {shown(value)}")


def identifier(value: Any) -> str | None:
    """Return a row's id as text; None: it has none.

    Raises:
        ValueError: it is neither text nor a number.
    """
    found = _single(value)
    if isinstance(value, list | bool) or isinstance(found, float):
        raise ValueError(f"expected text or a whole number, found {shown(value)}")
    return None if found is None else str(found)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = 0xD800 <= ord(text[error.start]) < 0xDC80 or ord(text[error.start]) > 0xDCFF
        what = "half a surrogate pair" if half else "bytes that are no UTF-8"
        raise ValueError(f"expected text, found {what}") from error
    return text
