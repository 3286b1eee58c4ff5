"""The frozen rows that artifacts hold, and how they are written as JSON lines."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator

__all__ = [
    "Expected",
    "Message",
    "Outcome",
    "Pair",
    "Prompt",
    "Response",
    "Shard",
    "Split",
    "canonical",
    "digest",
    "normalized",
    "part_of",
    "told",
]

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
# Soft hyphens, joiners, marks of direction, variation selectors: nobody sees them.
_UNSEEN = dict.fromkeys(
    (
        *(0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F)),
        *(*range(0x2060, 0x206A), *range(0xFE00, 0xFE10)),
    )
)

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}
Split = Literal["train", "validation", "test"]
# A short right answer, where one is known: text, a number, or alternatives; never empty.
Expected = str | int | float | list[str | int | float]

# How an answer ended. `answered`: the model stopped by itself. `truncated`: it hit the token limit.
# `refused`: the API withheld it. `empty`: nothing but white space. `failed`: no answer was had.
Outcome = Literal["answered", "truncated", "refused", "empty", "failed"]


def _checked_shard(shard: str) -> str:
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", shard)
    if not found or int(found[1]) > int(found[2]):
        raise ValueError(f"expected a shard such as 2/8, found '{shard}'")
    return shard


# One machine's part of the rows: `2/8` is every eighth row from the second.
Shard = Annotated[str, AfterValidator(_checked_shard)]


def part_of(shard: str) -> slice:
    """Return a shard's rows among all."""
    first, _, of = shard.partition("/")
    return slice(int(first) - 1, None, int(of))


def canonical(value: Any) -> bytes:
    """Write a JSON value in its one canonical form, which digests are made from."""
    return _CANONICAL.encode(value).encode("utf-8", errors="surrogatepass")


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value's canonical form, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def normalized(text: str) -> str:
    """Return a text as it is compared: whatever its case, white space and width of characters.

    Unicode's NFKC_Casefold: a case fold can leave what NFKC would compose, so NFKC comes twice.
    Turkish: the capital I with a dot is the small one, not that with a second dot.
    """
    folded = unicodedata.normalize("NFKC", text.translate(_UNSEEN)).casefold()
    folded = folded.replace("i\u0307", "i")
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def told(messages: list[Message], system: str) -> list[Message]:
    """Return a conversation that begins with a system prompt; one that it has comes after it."""
    if not system:
        return messages
    first, *rest = messages
    if first["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return [{"role": "system", "content": f"{system}\n\n{first['content']}"}, *rest]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: a conversation that ends with the user's turn."""

    id: str
    messages: list[Message]
    split: Split
    expected: Expected | None = None  # what a right answer holds, where it is known

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a row back from its JSON form."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        return _fields(self)


@dataclass(frozen=True, slots=True)
class Response:
    """One model's answer to one prompt; every prompt gets exactly one."""

    prompt: Prompt
    text: str
    outcome: Outcome
    tokens: int | None = None  # length of the answer, as its own model counts
    detail: str | None = None  # why an answer was refused or is missing
    thoughts: str | None = None  # what the model thought before it, where that is kept
    source: str = ""  # what the model is called that answered

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a row back from its JSON form."""
        return cls(**{**value, "prompt": Prompt.from_json(value["prompt"])})

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        found = {**_fields(self), "prompt": self.prompt.to_json()}
        if self.thoughts is None:
            del found["thoughts"]
        return found


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference pair, in the conversational form that TRL's DPOTrainer takes."""

    id: str
    prompt: list[Message]
    chosen: list[Message]  # one assistant message: the teacher's answer
    rejected: list[Message]  # one assistant message: the base student's or another model's answer
    rejected_stopped: bool  # False where the answer was cut: no end of turn may follow
    split: Split
    rejected_source: str = ""  # what the model is called that gave the rejected answer

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a row back from its JSON form."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        return _fields(self)


def _fields(row: Prompt | Response | Pair) -> dict[str, Any]:
    """Return a row's fields; `dataclasses.asdict` would copy every message, ten times as slowly."""
    return {name: getattr(row, name) for name in row.__slots__}
