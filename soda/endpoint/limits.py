"""How fast an endpoint may be asked, for how much, and with what patience."""

from pydantic import BaseModel, ConfigDict, Field

from soda.endpoint.caller import Caller
from soda.endpoint.pace import Pace
from soda.endpoint.waits import Waits

__all__ = ["Limits"]


class Limits(BaseModel):
    """What a recipe can say about the pace and the bill of one caller."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: int = Field(
        default=1000, ge=1, description="most requests under way; the best is found"
    )
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    usd: float | None = Field(
        default=None, gt=0, description="stop before these prompts can cost more"
    )
    timeout_seconds: float = Field(default=600.0, gt=0, description="for one request")
    patience_seconds: float = Field(
        default=600.0, ge=0, description="stop after so long without an answer, while 429 come"
    )

    def pace(self, caller: Caller, waits: Waits) -> Pace:
        """Return what keeps the pace."""
        return Pace(
            self.concurrency,
            caller,
            waits,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )
