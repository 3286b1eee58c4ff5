"""Money: what was spent, what is reserved for requests under way, and the cap over both.

Amounts are whole picodollars (1e-12 USD), so that sums are exact: a price of 2.5 USD per million
tokens is 2,500,000 of them a token.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from soda.errors import BudgetError, ConfigError

__all__ = ["USD", "Budget", "Price", "output_bound", "prompt_bound"]

USD = 10**12  # picodollars


class Price(BaseModel):
    """What the teacher's vendor asks, in USD per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)

    def of(self, prompt_tokens: int, tokens: int) -> int:
        """Return the price of one request in picodollars."""
        return prompt_tokens * round(self.input * 1e6) + tokens * round(self.output * 1e6)


def prompt_bound(messages: list[dict[str, str]]) -> int:
    """Return how many tokens a prompt has at most, whatever the tokenizer.

    A byte-level tokenizer makes at most one token of a byte; a template adds a few to a message.
    """
    return sum(len(message["content"].encode(errors="replace")) + 16 for message in messages) + 16


def output_bound(sampling: Mapping[str, Any]) -> int | None:
    """Return how many tokens an answer has at most, if the request says so."""
    found = sampling.get("max_completion_tokens") or sampling.get("max_tokens")
    return int(found) if found else None


class Budget:
    """Adds up what was spent, and holds back what requests under way may still cost.

    Raises:
        ConfigError: there is a cap, but no price or no bound on an answer's length.
    """

    def __init__(self, price: Price, sampling: Mapping[str, Any], cap_usd: float | None):
        self.price = price
        self.answer_tokens = output_bound(sampling)
        self._cap = None if cap_usd is None else int(cap_usd * USD)
        self.spent = 0  # answers
        self.unsure = 0  # requests that were never answered and may be billed all the same
        self.reserved = 0
        if self._cap is not None and not (price.input or price.output):
            raise ConfigError("teacher-gen.limits.usd: expected teacher-gen.price too, found none")
        if self._cap is not None and self.answer_tokens is None:
            raise ConfigError(
                "teacher-gen.limits.usd: expected sampling.max_tokens or max_completion_tokens, as "
                "an answer's price has no bound without it, found neither"
            )

    def bound(self, messages: list[dict[str, str]]) -> int:
        """Return what a request can cost at most, in picodollars."""
        return self.price.of(prompt_bound(messages), self.answer_tokens or 0)

    def cost(self, messages: list[dict[str, str]], answer: Mapping[str, Any]) -> int:
        """Return what an answer did cost; without token counts, what it can have cost."""
        if answer["outcome"] == "failed":
            return 0  # the API took no such prompt
        prompt, tokens = answer.get("prompt_tokens"), answer["tokens"]
        if prompt is None or tokens is None:
            return self.bound(messages)
        return self.price.of(prompt, tokens)

    @property
    def total(self) -> int:
        """What may have been spent by now, in picodollars."""
        return self.spent + self.unsure + self.reserved

    def allows(self, amount: int) -> bool:
        """Whether a request of this price can be sent without passing the cap."""
        return self._cap is None or self.total + amount <= self._cap

    def refusal(self, amount: int) -> BudgetError:
        """Return the error that says why a request of this price cannot be sent."""
        return BudgetError(
            f"teacher-gen.limits.usd: ${self.spent / USD:.4f} is spent and "
            f"${self.unsure / USD:.4f} possibly billed, and the next request may cost "
            f"${amount / USD:.4f}; what was answered is kept: raise the limit and run again"
        )
