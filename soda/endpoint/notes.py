"""Where it is noted what was sent and what came back: a journal, or nowhere."""

from typing import Protocol

from soda.endpoint.answer import Received

__all__ = ["Notes", "Nothing"]


class Notes(Protocol):
    """What an asker tells of each request."""

    async def sent(self, key: str) -> None:
        """Note that a request is about to leave."""

    async def freed(self, key: str) -> None:
        """Note that nothing was billed for what was sent last."""

    async def received(self, key: str, response: Received) -> None:
        """Keep the response that answers a request."""

    async def not_usable(self, key: str, response: Received, why: str) -> None:
        """Keep a response that is no answer."""


class Nothing:
    """Notes nothing, for answers that are kept elsewhere."""

    async def sent(self, key: str) -> None:
        """Do nothing."""

    async def freed(self, key: str) -> None:
        """Do nothing."""

    async def received(self, key: str, response: Received) -> None:
        """Do nothing."""

    async def not_usable(self, key: str, response: Received, why: str) -> None:
        """Do nothing."""
