"""One request, sent once: what was received, or one failure that says what to do."""

import functools
import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import aiohttp
from aiohttp import hdrs
from yarl import URL

from soda.endpoint.address import Address
from soda.endpoint.answer import Received
from soda.endpoint.caller import Caller, secret
from soda.endpoint.envelope import End, decoded, read
from soda.endpoint.failures import Unanswered
from soda.endpoint.proxy import proxy_for
from soda.endpoint.refusals import Where, quoted
from soda.endpoint.retry_after import retry_after_seconds
from soda.errors import ConfigError, EndpointError
from soda.escape import is_open_to_others
from soda.limits import BATCH_FILE_BYTES, RESPONSE_BYTES
from soda.progress import say

__all__ = ["Client", "Endpoint", "Response", "open_session"]

_CONNECT_SECONDS = 30.0  # an answer takes long, a connection does not
_PIECE_BYTES = 2**18
_LONG = 8  # characters: no word of an answer by chance


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to be asked, by whom, and with which headers beside the key.

    Args:
        headers: by their name, the environment variable that holds the value. One that takes the
            caller's key variable is sent in the place of `Authorization: Bearer`.
    """

    caller: Caller
    address: Address
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.address)

    def secrets(self) -> dict[str, str]:
        """Return the headers to send.

        Raises:
            ConfigError: a variable is not set, or holds what cannot be sent.
        """
        found = {}
        if (key := self.caller.key()) and self.caller.key_variable not in self.headers.values():
            found["Authorization"] = f"Bearer {key}"
        for name, variable in self.headers.items():
            try:
                found[name] = secret(variable)
            except ConfigError as error:
                raise ConfigError(f"{self.caller.name}.headers.{name}: {error}") from error
        return found


@dataclass(frozen=True, slots=True)
class Response:
    """What was received, and for how long its headers ask us to wait."""

    received: Received
    wait: float | None


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


@functools.cache
def _warn_of_plain_http(name: str, address: Address) -> None:
    say(
        f"warning: {name}: the key goes to {address} over plain http: others can read it; use https"
    )


async def _read_body(response: aiohttp.ClientResponse, into: IO[bytes], limit: int) -> None:
    """Write a response's body, decompressed, into a file.

    Raises:
        Unanswered: it is longer than the limit.
    """
    size = 0
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        size += len(piece)
        if size > limit:
            response.close()
            raise Unanswered(f"expected at most {limit} bytes, found more", billed=True)
        into.write(piece)


class Client:
    """Talks to one endpoint.

    Raises:
        ConfigError: the key, a header or the environment's proxy cannot be used.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        path: str = "/chat/completions",
    ):
        self.endpoint = endpoint
        self._session = session
        self._url = endpoint.address.at(path)
        self._url_text = str(self._url)
        self._headers = endpoint.secrets()
        if self._headers and is_open_to_others(self._url_text):
            _warn_of_plain_http(endpoint.caller.name, endpoint.address)
        values = {value.removeprefix("Bearer ") for value in self._headers.values()}
        self._secrets = sorted(values | {json.dumps(value)[1:-1] for value in values})
        self._options: dict[str, Any] = {"allow_redirects": False}
        self._set_proxy(endpoint.address.url)

    def _set_proxy(self, url: URL) -> None:
        proxy = proxy_for(url)
        if proxy is None:
            return
        self._options["proxy"] = proxy.url
        if proxy.login is not None:
            login = {"Proxy-Authorization": proxy.login}
            if url.scheme == "https":
                self._options["proxy_headers"] = login  # with CONNECT, and not to the endpoint
            else:
                self._headers |= login
            self._secrets.append(proxy.login.removeprefix("Basic "))

    async def send(self, body: Mapping[str, Any]) -> Response:
        """Send one request, once.

        Raises:
            Unanswered: no whole response came.
            EndpointError: there is no such host, or its certificate is not trusted.
        """
        return await self.request("POST", self._url, json=body)

    def read(self, body: Mapping[str, Any], response: Response) -> End:
        """Say what a response to a request means."""
        return read(response.received, self.where(body), response.wait)

    def where(self, body: Mapping[str, Any], url: str = "") -> Where:
        """Return which request a response answers, for messages."""
        model = str(body.get("model", ""))
        return Where(url or self._url_text, model, self.endpoint.caller.key_variable)

    async def request(
        self, method: str, url: URL, *, into: IO[bytes] | None = None, **content: Any
    ) -> Response:
        """Send one HTTP request and read the whole response.

        Args:
            into: a file for the body of a 200, which is then not returned.

        Raises:
            Unanswered, EndpointError: see `send`.
        """
        begin = time.monotonic()
        try:
            async with self._session.request(
                method, url, headers=self._headers, **self._options, **content
            ) as response:
                kept: IO[bytes] = io.BytesIO()
                limit = RESPONSE_BYTES
                if into is not None and response.status == 200:
                    kept, limit = into, BATCH_FILE_BYTES
                await _read_body(response, kept, limit)
                data = kept.getvalue() if isinstance(kept, io.BytesIO) else b""
                return self._received(response, data, begin)
        except aiohttp.ClientHttpProxyError as error:
            problem = f"the proxy answered {error.status} {error.message}"
            if error.status == 407:
                raise EndpointError(f"{url}: the proxy wants a login: {problem}") from error
            raise Unanswered(problem, billed=False) from error
        except aiohttp.ClientConnectorDNSError as error:
            problem = f"no host '{error.host}' is known"
            raise Unanswered(problem, billed=False, lasting=True) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise EndpointError(
                f"{url}: expected a certificate that is trusted, found: "
                f"{quoted(str(error.certificate_error))}; SSL_CERT_FILE names further authorities"
            ) from error
        except aiohttp.ClientConnectorSSLError as error:
            problem = f"{error.host} speaks no TLS that we know: {quoted(str(error.os_error))}"
            raise Unanswered(problem, billed=False, lasting=True) from error
        except aiohttp.InvalidURL as error:
            raise EndpointError(f"{url}: expected a URL: {error}") from error
        except aiohttp.ClientConnectorError as error:
            problem = f"no connection to {error.host}:{error.port}: {_reason(error.os_error)}"
            raise Unanswered(problem, billed=False) from error
        except aiohttp.ConnectionTimeoutError as error:
            problem = f"no connection to {url.host}:{url.port} within {_CONNECT_SECONDS:g} s"
            raise Unanswered(problem, billed=False) from error
        except TimeoutError as error:
            problem = f"no whole answer within {self._session.timeout.total:g} s"
            raise Unanswered(problem, billed=True) from error
        except aiohttp.ServerDisconnectedError as error:
            problem = "the server closed the connection before it answered"
            raise Unanswered(problem, billed=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(_name(error), billed=True) from error

    def _received(self, response: aiohttp.ClientResponse, data: bytes, begin: float) -> Response:
        text = decoded(data, response.charset)
        if 300 <= response.status < 400:
            target = response.headers.get(hdrs.LOCATION, "nowhere")
            text = f"to {response.url.join(URL(target)).with_query(None)}"
        for value in self._secrets:  # some servers quote the key that they refuse
            # A short word, such as the key of a server that wants none, may stand in an answer.
            if (len(value) >= _LONG or '"choices"' not in text) and value in text:
                text = text.replace(value, "***")
        wait = None if response.status < 300 else retry_after_seconds(response.headers)
        seconds = round(time.monotonic() - begin, 3)
        return Response(Received(response.status, text, seconds), wait)


def _reason(error: OSError) -> str:
    """Return why a system call failed, in the system's words; asyncio's repeat the address."""
    return os.strerror(error.errno) if error.errno else quoted(str(error))


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {quoted(str(error))}".rstrip(": ")
