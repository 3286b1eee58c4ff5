"""One line of an OpenAI batch file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from soda.endpoint.answer import Received
from soda.endpoint.refusals import quoted

__all__ = ["BatchLine", "read_batch_line"]


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One line of a batch's output: which request, and what came; None: nothing did."""

    key: str  # its custom_id
    received: Received | None
    problem: str = ""
    expired: bool = False  # the batch ended before it was begun


def read_batch_line(text: str | bytes) -> BatchLine | None:
    """Read one line of an OpenAI batch file; None if it is none."""
    try:
        row = json.loads(text)
        key, response, error = str(row["custom_id"]), row.get("response"), row.get("error")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    if not isinstance(response, Mapping | None):
        return None
    if response is not None and not error:
        status, body = response.get("status_code"), response.get("body")
        if isinstance(status, int):
            whole = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
            return BatchLine(key, Received(status, whole))
    expired = isinstance(error, Mapping) and error.get("code") == "batch_expired"
    return BatchLine(key, None, quoted(json.dumps(error or response)), expired)
