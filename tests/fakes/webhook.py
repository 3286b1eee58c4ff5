"""A webhook on loopback that keeps what it is sent."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.web import Reply, Request, serve

__all__ = ["SECRET", "Webhook", "webhook"]

SECRET = "canary-c0de"


@dataclass
class Webhook:
    """The running server."""

    url: str = ""
    status: int = 200
    sent: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, asked: Request) -> Reply:
        assert (asked.method, asked.headers["Content-Type"]) == ("POST", "application/json")
        self.sent.append(json.loads(asked.body))
        return Reply(self.status if asked.path == f"/services/{SECRET}" else 404)


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve until the block ends."""
    hook = Webhook()
    with serve(hook.answer) as address:
        hook.url = f"{address}/services/{SECRET}"
        yield hook
