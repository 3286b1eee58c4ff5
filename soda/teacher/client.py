"""One chat-completions request: one answer, or one typed error."""

import asyncio
import contextlib
from typing import Any

import httpx

from soda.errors import TeacherError
from soda.teacher.retry import RETRIED_STATUSES, backoff_seconds, retry_after_seconds

__all__ = ["ATTEMPTS", "TIMEOUT", "TeacherClient", "TeacherUnanswered"]

ATTEMPTS = 6
TIMEOUT = httpx.Timeout(600.0, connect=30.0)  # seconds: an answer takes long, a connection does not

# A 400 with one of these codes is about one prompt, not about the request's form.
_PROMPT_CODES = {
    "content_filter": "refused",
    "content_policy_violation": "refused",
    "context_length_exceeded": "failed",
}


class TeacherUnanswered(Exception):  # noqa: N818 - it says what happened
    """Every try failed for a reason that may pass; the message says the last one."""


class TeacherClient:
    """Sends requests to one endpoint; a 429 makes every request of this client wait.

    Raises:
        TeacherError: the key cannot be sent.
    """

    def __init__(self, http: httpx.AsyncClient, base_url: str, api_key: str | None):
        self._http = http
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        api_key = (api_key or "").strip()  # a mounted secret often ends with a newline
        if not all("!" <= letter <= "~" for letter in api_key):  # httpx would print the key
            raise TeacherError(
                "SODA_TEACHER_API_KEY: expected printable ASCII, found another character"
            )
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._resume_at = 0.0
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let requests under way end, but try none again."""
        self._stopped.set()

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request until it is answered.

        Returns: `text`, `outcome` (answered, truncated, refused, empty, failed), `tokens`,
            `detail`, and the `model` and `fingerprint` that the server named.

        Raises:
            TeacherError: wrong key, unknown model, bad request: the next would fail as well.
            TeacherUnanswered: all attempts failed, or `stop` was called between two.
        """
        attempt = limited = 0
        problem = "not asked"
        while True:
            await self._wait_for_my_turn()
            if self._stopped.is_set():
                raise TeacherUnanswered(problem)
            wait = None
            try:
                response = await self._http.post(self._url, json=body, headers=self._headers)
                if response.status_code == 200:
                    return _read_answer(response)
                problem = f"{response.status_code} {_error_of(response)[1]}"
                if response.status_code not in RETRIED_STATUSES:
                    return _read_refusal(self._url, body, response)
                wait = retry_after_seconds(response.headers.get("retry-after"))
                if response.status_code == 429:
                    limited += 1
                    wait = backoff_seconds(limited) if wait is None else wait
                    self._resume_at = max(self._resume_at, _now() + wait)
                    if _out_of_quota(response):
                        raise TeacherError(f"{self._url}: the quota is used up: {problem}")
                    continue  # the server asked for patience: no attempt is used up
            except httpx.InvalidURL as error:
                raise TeacherError(f"{self._url}: expected a URL: {error}") from error
            except (httpx.TransportError, httpx.DecodingError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}".strip().rstrip(":")
            attempt += 1
            if attempt == ATTEMPTS:
                raise TeacherUnanswered(problem)
            await self._pause(backoff_seconds(attempt) if wait is None else wait)

    async def _wait_for_my_turn(self) -> None:
        while (wait := self._resume_at - _now()) > 0 and not self._stopped.is_set():
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _error_of(response: httpx.Response) -> tuple[str, str]:
    """Return code and message of an error in OpenAI's form, or what there is of it."""
    try:
        error = response.json()["error"]
        code = str(error.get("code") or error.get("type") or "")
        return code, _quote(response, str(error.get("message", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", _quote(response, response.text)


def _quote(response: httpx.Response, text: str) -> str:
    """Shorten what a server said to a line; some quote the key that they refuse."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return " ".join((text.replace(key, "***") if key else text).split())[:300]


def _out_of_quota(response: httpx.Response) -> bool:
    return _error_of(response)[0] == "insufficient_quota"


def _read_answer(response: httpx.Response) -> dict[str, Any]:
    """Read a completion; a body that is none raises ValueError, which is worth another try."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text = message.get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content")
        refusal = message.get("refusal")
        tokens = (body.get("usage") or {}).get("completion_tokens")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        found = _quote(response, response.text)
        raise ValueError(f"expected a chat completion, found {found!r}") from error
    if refusal or finish == "content_filter":
        outcome = "refused"
    elif finish == "length":
        outcome = "truncated"
    else:
        outcome = "answered" if text.strip() else "empty"
    return {
        "text": text,
        "outcome": outcome,
        "tokens": tokens,
        "detail": refusal or None,
        "model": body.get("model"),
        "fingerprint": body.get("system_fingerprint"),
    }


def _read_refusal(url: str, body: dict[str, Any], response: httpx.Response) -> dict[str, Any]:
    """Return the outcome of a prompt the API will not take, or raise if it takes none at all."""
    code, message = _error_of(response)
    # vLLM and TGI name no code for a prompt that is too long: 400 or 422, and a sentence
    too_long = "context length" in message or "inputs tokens" in message
    outcome = "failed" if too_long else _PROMPT_CODES.get(code)
    if response.status_code in (400, 422) and outcome:
        return {
            "text": "",
            "outcome": outcome,
            "tokens": None,
            "detail": f"{code}: {message}",
            "model": body["model"],
            "fingerprint": None,
        }
    match response.status_code:
        case 401 | 403:
            raise TeacherError(f"{url}: the key in SODA_TEACHER_API_KEY was refused: {message}")
        case 404:
            raise TeacherError(f"{url}: no model '{body['model']}' there: {message}")
    raise TeacherError(f"{url}: the request was refused ({response.status_code}): {message}")
