"""One chat-completions request, sent once: one answer, or one error that says what to do."""

import json
import urllib.parse
import urllib.request
from typing import IO, Any

import aiohttp
from yarl import URL

from soda.endpoint.retry import RETRIED_STATUSES, retry_after_seconds
from soda.errors import TeacherError

__all__ = ["Busy", "TeacherClient", "Unanswered", "open_session", "read_completion", "unanswered"]

_CONNECT_SECONDS = 30.0  # an answer takes long, a connection does not

# A 400 with one of these codes is about one prompt, not about the request's form.
_PROMPT_CODES = {
    "content_filter": "refused",
    "content_policy_violation": "refused",
    "context_length_exceeded": "failed",
}
# The request never left: nothing can have been billed for it.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Busy(Exception):  # noqa: N818 - it says what happened
    """The server asks for patience (429): it did no work, and no attempt is used up."""

    def __init__(self, problem: str, wait: float | None):
        super().__init__(problem)
        self.wait = wait  # seconds, if the server named a time


class Unanswered(Exception):  # noqa: N818 - it says what happened
    """The request failed for a reason that may pass."""

    def __init__(self, problem: str, *, billed: bool, wait: float | None = None):
        super().__init__(problem)
        self.billed = billed  # whether the teacher may have worked for it
        self.wait = wait


def open_session(timeout_seconds: float) -> aiohttp.ClientSession:
    """Return an HTTP session for any number of connections.

    Args:
        timeout_seconds: for one request, from its first byte to the answer's last.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _proxy(base_url: str) -> dict[str, Any]:
    """Return the environment's proxy for an endpoint, as aiohttp takes it with a request.

    aiohttp's own `trust_env` looks it up anew for every request, in two threads: that took two
    thirds of a millisecond.
    """
    url = urllib.parse.urlsplit(base_url)
    found = urllib.request.getproxies().get(url.scheme)
    if not found or urllib.request.proxy_bypass(url.hostname or ""):
        return {}
    proxy = URL(found)
    if proxy.user is None:
        return {"proxy": proxy}
    login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return {"proxy": proxy.with_user(None), "proxy_headers": {"Proxy-Authorization": login}}


class TeacherClient:
    """Talks to one endpoint.

    Raises:
        TeacherError: the key cannot be sent.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, api_key: str | None):
        self._session = session
        self.base_url = base_url.rstrip("/")
        self._key = (api_key or "").strip()  # a mounted secret often ends with a newline
        if not all("!" <= letter <= "~" for letter in self._key):
            raise TeacherError(
                "SODA_TEACHER_API_KEY: expected printable ASCII, found another character"
            )
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._proxy = _proxy(self.base_url)

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request, once.

        Returns: `text`, `outcome` (answered, truncated, refused, empty, failed), `tokens` and
            `prompt_tokens` as the server counts them, `detail`, and the `model`, `fingerprint` and
            `created` (seconds since 1970) that the server named.

        Raises:
            Busy: a 429; wait and send it again.
            Unanswered: another failure that may pass.
            TeacherError: wrong key, unknown model, bad request: the next would fail as well.
        """
        url = f"{self.base_url}/chat/completions"
        status, headers, text = await self.request("POST", url, json=body)
        if status == 200:
            try:
                return read_completion(json.loads(text))
            except ValueError as error:
                found = self._quote(text)
                raise Unanswered(
                    f"expected a chat completion, found {found!r}", billed=True
                ) from error
        return self.read_refusal(url, body, status, headers, text)

    async def request(
        self, method: str, url: str, *, into: IO[bytes] | None = None, **content: Any
    ) -> tuple[int, Any, str]:
        """Send one HTTP request and read the whole response: status, headers, text.

        Args:
            into: a file for the body of a 200, which is then not returned.

        Raises:
            Unanswered: no whole response came.
            TeacherError: the URL is none.
        """
        try:
            async with self._session.request(
                method,
                url,
                headers=self._headers,
                allow_redirects=False,
                **self._proxy,
                **content,
            ) as response:
                if into is not None and response.status == 200:
                    async for piece in response.content.iter_chunked(1 << 20):
                        into.write(piece)
                    return response.status, response.headers, ""
                return response.status, response.headers, await response.text(errors="replace")
        except aiohttp.InvalidURL as error:
            raise TeacherError(f"{url}: expected a URL: {error}") from error
        except _NOT_SENT as error:
            raise Unanswered(self._name(error), billed=False) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unanswered(self._name(error), billed=True) from error

    def check(self, url: str, status: int, headers: Any, text: str) -> None:
        """Raise what a status other than 2xx means, whatever was asked.

        Raises:
            Busy, Unanswered: it may pass.
            TeacherError: it will not.
        """
        code, message = self._error_of(text)
        problem = f"{status} {message}"
        wait = retry_after_seconds(headers.get("retry-after"), headers.get("date"))
        match status:
            case 429 if code == "insufficient_quota":
                raise TeacherError(f"{url}: the quota is used up: {problem}")
            case 429:
                raise Busy(problem, wait)
            case _ if status in RETRIED_STATUSES:
                raise Unanswered(problem, billed=False, wait=wait)
            case 401 | 403:
                raise TeacherError(f"{url}: the key in SODA_TEACHER_API_KEY was refused: {message}")
        if not 200 <= status < 300:
            raise TeacherError(f"{url}: the request was refused ({status}): {message}")

    def read_refusal(
        self, url: str, body: dict[str, Any], status: int, headers: Any, text: str
    ) -> dict[str, Any]:
        """Return the outcome of a prompt the API will not take, or raise if it takes none at all.

        Raises:
            Busy, Unanswered, TeacherError: see `complete`.
        """
        code, message = self._error_of(text)
        # vLLM and TGI name no code for a prompt that is too long: 400 or 422, and a sentence
        too_long = "context length" in message or "inputs tokens" in message
        outcome = "failed" if too_long else _PROMPT_CODES.get(code)
        if status in (400, 422) and outcome:
            return _answer(outcome, detail=f"{code}: {message}", model=body["model"])
        if status == 404:
            raise TeacherError(f"{url}: no model '{body['model']}' there: {message}")
        self.check(url, status, headers, text)
        raise TeacherError(f"{url}: expected a completion, found status {status}: {message}")

    def _error_of(self, text: str) -> tuple[str, str]:
        """Return code and message of an error in OpenAI's form, or what there is of it."""
        try:
            error = json.loads(text)["error"]
            code = str(error.get("code") or error.get("type") or "")
            return code, self._quote(str(error.get("message", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return "", self._quote(text)

    def _quote(self, text: str) -> str:
        """Shorten what a server said to a line; some quote the key that they refuse."""
        return " ".join((text.replace(self._key, "***") if self._key else text).split())[:300]

    def _name(self, error: Exception) -> str:
        return f"{type(error).__name__}: {self._quote(str(error))}".rstrip(": ")


def read_completion(body: Any) -> dict[str, Any]:
    """Read the body of a chat completion.

    Raises:
        ValueError: it is none.
    """
    try:
        choice = body["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text = message.get("content") or ""
        refusal = message.get("refusal")
        usage = body.get("usage") or {}
        tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("no chat completion") from error
    if not isinstance(text, str):
        raise ValueError("content is no text")
    outcome = {"length": "truncated", "content_filter": "refused"}.get(finish or "stop")
    if refusal:
        outcome = "refused"
    return _answer(
        outcome or ("answered" if text.strip() else "empty"),
        text=text,
        prompt_tokens=tokens[0],
        tokens=tokens[1],
        detail=refusal or None,
        model=body.get("model"),
        fingerprint=body.get("system_fingerprint"),
        created=body.get("created"),
    )


def unanswered(why: str) -> dict[str, Any]:
    """Return what stands in the place of an answer that was not had."""
    return _answer("failed", detail=why)


def _answer(outcome: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("tokens", "prompt_tokens", "detail", "model", "fingerprint", "created"))
    return {"text": "", "outcome": outcome, **empty, **values}
