"""An endpoint's base URL in its one normal form, and the addresses below it."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator
from yarl import URL

from soda.escape import is_secret

__all__ = ["Address", "BaseUrl"]

_CALLED = re.compile(r"(/chat)?/completions/*$")  # people paste the whole address
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL: `https://host/v1`, or with a query such as `?api-version=2024-10-21`."""

    url: URL

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read a base URL, however it is written.

        Raises:
            ValueError: it is none, or holds a secret; the message does not repeat a secret.
        """
        if "@" in text:
            raise ValueError("expected no user or password in the URL, found one")
        text = text.strip()
        try:
            url = URL(text)
            host = url.host
        except ValueError as error:
            raise ValueError(f"expected a URL, found '{text}': {error}") from error
        if url.scheme not in ("http", "https"):
            raise ValueError(f"expected http:// or https://, found '{text}'")
        if not host:
            raise ValueError(f"expected a host in the URL, found '{text}'")
        for name in url.query:
            if is_secret(name):
                raise ValueError(f"expected no secret in the URL, found '{name}='; see headers")
        path = _CALLED.sub("", re.sub("/{2,}", "/", url.raw_path)).rstrip("/")
        return cls(url.with_path(path, encoded=True, keep_query=True).with_fragment(None))

    def __str__(self) -> str:
        return str(self.url).rstrip("/") if not self.url.query_string else str(self.url)

    @property
    def identity(self) -> str:
        """The address as it counts in keys: the names of this machine are one name."""
        if self.url.host in _THIS_MACHINE:
            return str(Address(self.url.with_host("127.0.0.1")))
        return str(self)

    def at(self, path: str, **query: str) -> URL:
        """Return the address of a call, such as `/chat/completions`; the query stays at its end."""
        path = self.url.raw_path.rstrip("/") + path
        whole = self.url.with_path(path, encoded=True, keep_query=True)
        return whole.update_query(query) if query else whole


def _in_one_form(text: str) -> str:
    return str(Address.parse(text)) if text else text


# Of a config: a base URL as `Address` writes it, or "" for none.
BaseUrl = Annotated[str, AfterValidator(_in_one_form)]
