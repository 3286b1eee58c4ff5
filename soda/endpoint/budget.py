"""Money: what was spent, what is reserved for requests under way, and the cap over both.

Amounts are whole picodollars (1e-12 USD), so that sums are exact: a price of 2.5 USD per million
tokens is 2,500,000 of them a token.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from soda.endpoint.answer import Answer
from soda.endpoint.request import Request, output_bound
from soda.errors import BudgetError, ConfigError

__all__ = ["USD", "Budget", "Price"]

USD = 10**12  # picodollars


class Price(BaseModel):
    """What a vendor asks, in USD per million tokens; its Batch API asks half."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)

    def of(self, prompt_tokens: int, tokens: int, *, cheap: bool = False) -> int:
        """Return the price of one request in picodollars; `cheap` is the Batch API's."""
        whole = prompt_tokens * round(self.input * 1e6) + tokens * round(self.output * 1e6)
        return -(-whole // 2) if cheap else whole

    def __bool__(self) -> bool:
        return bool(self.input or self.output)


class Budget:
    """Adds up what was spent, and holds back what requests under way may still cost.

    Args:
        price: what the vendor asks.
        body: what every request has; a bound on an answer's length is among it.
        cap_usd: what may be spent; None is without limit.
        setting: what the cap is called, for messages: "teacher-gen".

    Raises:
        ConfigError: there is a cap, but no price or no bound on an answer's length.
    """

    def __init__(self, price: Price, body: Mapping[str, Any], cap_usd: float | None, setting: str):
        self.price = price
        self.answer_tokens = output_bound(body)
        self._cap = None if cap_usd is None else int(cap_usd * USD)
        self._setting = setting
        self._spent = 0  # answers
        self._lost = 0  # requests that were never answered and may be billed all the same
        self._reserved = 0
        if self._cap is not None and not price:
            raise ConfigError(f"{setting}.limits.usd: expected {setting}.price too, found none")
        if self._cap is not None and self.answer_tokens is None:
            raise ConfigError(
                f"{setting}.limits.usd: expected sampling.max_tokens or max_completion_tokens, as "
                "an answer's price has no bound without it, found neither"
            )

    @property
    def usd(self) -> float:
        """What answers have cost."""
        return self._spent / USD

    @property
    def usd_possibly_billed(self) -> float:
        """What may have been paid for no answer."""
        return self._lost / USD

    def most(self, request: Request) -> int:
        """Return what a request can cost at most."""
        answer = output_bound(request.body) or self.answer_tokens or 0
        return self.price.of(request.prompt_tokens, answer, cheap=request.cheap)

    def cost(self, request: Request, answer: Answer) -> int:
        """Return what an answer did cost; without token counts, what it can have cost."""
        if not answer.worked:  # a filter reads the prompt, which some vendors bill; no more
            read = request.prompt_tokens if answer.outcome == "refused" else 0
            return self.price.of(read, 0, cheap=request.cheap)
        if answer.prompt_tokens is None or answer.tokens is None:
            return self.most(request)
        return self.price.of(answer.prompt_tokens, answer.tokens, cheap=request.cheap)

    def reserve(self, request: Request) -> int | None:
        """Hold back what a request can cost, and return it; None: not before others have ended.

        Raises:
            BudgetError: it could pass the cap, and nothing under way can turn out cheaper.
        """
        amount = self.most(request)
        total = self._spent + self._lost + self._reserved
        if self._cap is not None and total + amount > self._cap:
            if self._reserved:
                return None
            raise BudgetError(
                f"{self._setting}.limits.usd: ${self.usd:.4f} is spent and "
                f"${self.usd_possibly_billed:.4f} possibly billed, and the next request may cost "
                f"${amount / USD:.4f}; what was answered is kept: raise the limit and run again"
            )
        self._reserved += amount
        return amount

    def settle(self, amount: int, request: Request, answer: Answer) -> None:
        """Take an answer's price from what was held back for it."""
        self._reserved -= amount
        self._spent += self.cost(request, answer)

    def lose(self, amount: int) -> None:
        """Count what was held back as possibly billed."""
        self._reserved -= amount
        self._lost += amount

    def free(self, amount: int) -> None:
        """Let go of what was held back: nothing can have been billed."""
        self._reserved -= amount

    def recount(self) -> None:
        """Begin to count anew, with `count` and `count_tokens`, what a journal says was spent."""
        self._spent = self._lost = self._reserved = 0

    def count(self, request: Request, answer: Answer | None, lost: int) -> None:
        """Count an answer that is kept, and how often its request was sent for nothing."""
        self._lost += lost * self.most(request)
        if answer is not None:
            self._spent += self.cost(request, answer)

    def count_tokens(self, prompt_tokens: int, tokens: int) -> None:
        """Count tokens that were paid for beside the requests."""
        self._spent += self.price.of(prompt_tokens, tokens)
