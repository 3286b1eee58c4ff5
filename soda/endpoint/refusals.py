"""What an error response means: wait, try again, this request only, or the whole run.

A refusal is of the request until proven otherwise. The whole run it is only where the key, the
model or the route is named, in the words of the servers we know of. The lists below may miss some:
what is on none of them ends one row, or is tried again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from soda.endpoint.answer import Answer
from soda.endpoint.failures import Busy, Refused, Unanswered
from soda.errors import EndpointError

__all__ = ["Said", "Where", "explain", "quoted", "said_in"]

_PASSING = {408, 409, 425, 499}  # and all from 500 on
_BILLED = {408, 499, 504, 520, 524, 598, 599}  # the server may have gone on without us
_NO_SUCH_PLACE = {404, 405, 410, 421}

_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum context|max_model_len|inputs? tokens"
    r"|inputs? (must have less|is too long|token count)|prompt (\([^)]*\) )?(is )?too long"
    r"|too many (input |prompt )?tokens|range of input length|string.?(too.?long|above.?max)"
    r"|(request|payload|entity).?too.?large|maximum (allowed )?(input|prompt|model) length"
    r"|(prompt|input) length .*exceed|exceeds? .*maximum (number of )?(input |prompt )?tokens"
    r"|reduce the length|decoder prompt|max_tokens must be at least 1, got -"
)
_WITHHELD = re.compile(
    r"content.?(filter|policy|management|moderation|inspection)|data.?inspection|moderat|flagged"
    r"|inappropriate|harmful|responsible.?ai|prohibited|safety|sensitive|guardrail|blocked"
    r"|violat\w* .*polic|policy violation|risk.?control"
)
_KEY = re.compile(
    r"api.?key|credential|authenti|unauthori[sz]ed|access token|bearer|invalid token|billing"
    r"|account (is |has been |was )?(suspended|disabled|deactivated|not active)"
)
_ACCESS = re.compile(  # with 403 only
    r"permission|access|account|organi[sz]ation|suspend|deactivat|country|region|territory"
    r"|\bip\b|allow.?list|white.?list|subscription|quota|balance|credit|project"
)
_MODEL = re.compile(
    r"model.?not.?(found|exist|available)|invalid.?model|unknown model|no such model"
    r"|not a valid model|deploymentnotfound|no endpoints? found"
    r"|\bmodel\b[^.;,]{0,90}?\b(not found|not exist|n't exist|not available|no longer"
    r"|is not supported|is unknown|not a valid|not loaded"
    r"|been (deprecated|decommissioned|retired|removed))"
)
# A 429 that no waiting cures. Gemini's and others' "quota" is often one of a minute: not here.
_PAID_UP = re.compile(
    r"insufficient.?(quota|balance|credit|fund)|exceeded_current_quota|not enough (balance|credit)"
    r"|out of credit|billing.?(hard|not)|payment|recharge|top.?up|arrear|overdue|suspend"
    r"|deactivated|budget.?(has been |is )?exceeded|plan (has |is )?(expired|exhausted|used up)"
)
_QUOTED = 300
_RATE = re.compile(r"rate.?limit|too many requests|resource.?exhausted|throttl|slow down")


@dataclass(frozen=True, slots=True)
class Where:
    """Which request an error answers, for messages."""

    url: str
    model: str
    key_variable: str


@dataclass(frozen=True, slots=True)
class Said:
    """An error's words, whatever form they came in."""

    message: str
    codes: tuple[str, ...] = ()  # codes, types and names that stand beside it
    status: int | None = None  # an HTTP status in the body
    wait: float | None = None  # seconds, where the body names them

    @property
    def words(self) -> str:
        """All of it in lower case, to be searched."""
        text = f"{' '.join(self.codes)} {self.message}".lower()
        return text.replace("`", "").replace("\u2019", "'")

    def __str__(self) -> str:
        code = next((code for code in self.codes if not code.isdigit()), "")
        shown = code and code.lower() not in self.message.lower()
        return f"{code}: {self.message}" if shown else self.message or "no reason given"


def quoted(text: str) -> str:
    """Shorten what a server said to one line."""
    return " ".join(text.split())[:_QUOTED]


def said_in(data: Any, text: str) -> Said | None:
    """Find the error in a response's body; None if there is none.

    Args:
        data: the body as JSON, or None.
        text: the body, which is the message where there is no other.
    """
    if isinstance(data, list) and data:
        data = data[0]  # Gemini's
    if not isinstance(data, dict):
        return None
    error = data.get("error") or data.get("errors") or _base_resp(data)
    if isinstance(error, list):
        error = error[0] if error else None
    if error is None and (data.get("object") == "error" or "choices" not in data):
        error = data if {"message", "detail", "error_msg", "msg"} & data.keys() else None
    if not error:
        return None
    if not isinstance(error, dict):
        error = {"message": error, "type": data.get("error_type"), "code": data.get("code")}
    message = next((error[key] for key in _MESSAGES if error.get(key)), "")
    message = quoted(_plain(message))
    codes = tuple(dict.fromkeys([*_codes(error), *_LITELLM.findall(message)]))
    if "choices" in data and not message and not {code.strip("0") for code in codes} - {""}:
        return None  # some gateways put an error of nothing beside every answer
    status = next((int(code) for code in codes if re.fullmatch(r"[345]\d\d", code)), None)
    return Said(message or quoted(text), codes, status, _retry_delay(error))


_LITELLM = re.compile(r"litellm\.(\w+Error)")  # its code for all of them is the status
_MESSAGES = ("message", "detail", "error_msg", "msg", "status_msg", "error")


def explain(status: int, said: Said, where: Where, wait: float | None = None) -> Answer | Exception:
    """Return the outcome of a request that met an error, or what its failure means.

    Args:
        status: HTTP's, or 200 where the error came as an answer; then the server may have worked.
        wait: seconds, where a header named them.
    """
    words = said.words
    inside = status < 300
    if inside:
        status = said.status or (429 if _RATE.search(words) else _status_of(words))
    problem = f"{status} {said}"
    wait = said.wait if wait is None else wait
    match status:
        case 401:
            return EndpointError(
                f"{where.url}: the key in {where.key_variable} was refused: {said}"
            )
        case 407:
            return EndpointError(f"{where.url}: the proxy wants a login: {said}")
        case 402:
            return EndpointError(f"{where.url}: the account cannot pay: {said}")
        case 413:
            return Answer("", "failed", str(said), worked=False)
    if 300 <= status < 400:
        return EndpointError(f"{where.url}: expected an answer, found a redirect ({problem})")
    if _TOO_LONG.search(words):  # also as 429, where it passes a limit of tokens a minute alone
        return Answer("", "failed", str(said), worked=False)
    if status == 429 and _PAID_UP.search(words):
        return EndpointError(f"{where.url}: waiting does not help: {problem}")
    if status == 429:
        return Busy(problem, wait)
    if any(_WITHHELD.search(code.lower()) for code in said.codes):
        return Answer("", "refused", str(said), worked=False)
    if status >= 500 or status in _PASSING:
        return Unanswered(problem, billed=inside or status in _BILLED, wait=wait)
    return _of_the_rest(status, said, where)


def _of_the_rest(status: int, said: Said, where: Where) -> Exception:
    """Say whose refusal a 4xx is: of the key, the model, the route, or this request."""
    words = said.words
    if _WITHHELD.search(words):  # words alone can be about an account: not taken for certain
        return Refused(f"refused ({status}): {said}")
    if _MODEL.search(words):
        return EndpointError(f"{where.url}: no model '{where.model}' there: {said}")
    if _KEY.search(words) or (status == 403 and _ACCESS.search(words)):
        return EndpointError(f"{where.url}: no access with the key in {where.key_variable}: {said}")
    if status in _NO_SUCH_PLACE:
        return EndpointError(
            f"{where.url}: neither this path nor a model '{where.model}' may be there "
            f"({status}): {said}"
        )
    return Refused(f"refused ({status}): {said}")


def _status_of(words: str) -> int:
    """Return the status that an error without one stands for."""
    about_request = any(each.search(words) for each in (_WITHHELD, _MODEL, _KEY))
    return 400 if about_request or "invalid_request" in words else 500


def _base_resp(data: Mapping[str, Any]) -> Any:
    """Return MiniMax's error, which it answers with 200."""
    found = data.get("base_resp")
    return found if isinstance(found, dict) and found.get("status_code") else None


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    for key in ("code", "type", "status", "error_type", "error_code", "status_code"):
        value = error.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value)
    inner = error.get("innererror") or error.get("inner_error")  # Azure's
    if isinstance(inner, dict):
        yield from _codes(inner)
    if error.get("param") == "model":
        yield "invalid_model"


def _plain(message: Any) -> str:
    return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)


def _retry_delay(error: Mapping[str, Any]) -> float | None:
    """Read Gemini's RetryInfo: `{"details": [{"retryDelay": "38s"}]}`."""
    details = error.get("details")
    for each in details if isinstance(details, list) else []:
        delay = each.get("retryDelay") if isinstance(each, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d{1,6}(\.\d+)?s", delay):
            return float(delay[:-1])
    return None
