"""One request: the journal's key, and what is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from soda.rows import Message, digest

__all__ = ["Request", "output_bound", "prompt_bound"]

_ANSWER_TOKENS = 1024  # what a tokens-a-minute limit reserves where the request names no bound


def prompt_bound(messages: list[Message]) -> int:
    """Return how many tokens a prompt has at most, whatever the tokenizer.

    A byte-level tokenizer makes at most one token of a byte; a template adds a few to a message.
    """
    return sum(len(message["content"].encode(errors="replace")) + 16 for message in messages) + 16


def output_bound(body: Mapping[str, Any]) -> int | None:
    """Return how many tokens an answer has at most, if the request says so."""
    found = body.get("max_completion_tokens") or body.get("max_tokens")
    return int(found) if isinstance(found, int | float) else None


@dataclass(frozen=True, slots=True)
class Request:
    """One request under the digest of everything in it."""

    key: str
    body: dict[str, Any]
    prompt_tokens: int  # at most
    cheap: bool = False  # it goes through the Batch API, for half the price

    @classmethod
    def of(
        cls, endpoint: str, body: dict[str, Any], *, cheap: bool = False, **more: str
    ) -> "Request":
        """Return a chat request.

        Args:
            endpoint: the address as it counts in keys.
            body: the request's fields; `messages` among them.
            more: what else decides the answer, and is not sent.
        """
        key = digest({"endpoint": endpoint, **body, **more})
        return cls(key, body, prompt_bound(body["messages"]), cheap)

    def again(self) -> "Request":
        """Return the same under another key: its first answer was not the wanted model's."""
        return replace(self, key=digest([self.key, "again"]))

    @property
    def tokens(self) -> int:
        """How many tokens prompt and answer have at most, as far as the request says."""
        return self.prompt_tokens + (output_bound(self.body) or _ANSWER_TOKENS)
