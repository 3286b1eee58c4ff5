"""What a model said to one request, as it is used; and what was received, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from soda.rows import Outcome

__all__ = ["Answer", "Received"]


@dataclass(frozen=True, slots=True)
class Received:
    """One whole HTTP response, word for word: what a journal keeps, whatever it means.

    A later version of soda may understand more of it; so it is read again each time it is used.
    """

    status: int
    body: str  # bytes that are no text stand in it as lone surrogates
    seconds: float = 0.0  # from the request's first byte to the response's last

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read it back from its JSON form."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"status": self.status, "body": self.body, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request ended."""

    text: str  # without thoughts
    outcome: Outcome
    detail: str | None = None  # why it was refused, or is no whole answer
    thoughts: str | None = None  # what the model thought aloud before it answered
    tokens: int | None = None  # of the answer, thoughts included, as the server counts
    prompt_tokens: int | None = None
    model: str | None = None  # who answered, in the server's words
    fingerprint: str | None = None
    created: int | None = None  # seconds since 1970
    seconds: float = 0.0
    worked: bool = True  # False: refused before the model did anything

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read an answer back from its JSON form."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a JSON object, without what has its default."""
        return {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def missing(cls, why: str) -> Self:
        """Return what stands in the place of an answer that was not had."""
        return cls("", "failed", why, worked=False)
