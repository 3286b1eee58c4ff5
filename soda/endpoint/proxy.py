"""The proxy that the environment names for an endpoint.

aiohttp's own `trust_env` looks it up anew for every request, in two threads: that took two thirds
of a millisecond. It also knows neither ALL_PROXY nor address ranges in NO_PROXY.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from soda.errors import ConfigError

__all__ = ["Proxy", "proxy_for"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a request goes first, and the login there, as a Proxy-Authorization header."""

    url: URL
    login: str | None


def proxy_for(url: URL, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy for an address: `https_proxy`, `http_proxy` or `all_proxy`; no_proxy wins.

    Names may be upper or lower case. This machine is never asked through a proxy.

    Raises:
        ConfigError: it is no http or https proxy, such as SOCKS.
    """
    name = next((n for n in (f"{url.scheme}_proxy", "all_proxy") if _read(n, environment)), None)
    if name is None or _goes_direct(url, _read("no_proxy", environment)):
        return None
    text = _read(name, environment)
    try:
        proxy = URL(text if "://" in text else f"http://{text}")
        named = bool(proxy.host)
    except ValueError:
        named = False
    if not named:
        raise ConfigError(f"{name}: expected an address such as http://proxy:3128, found another")
    if proxy.scheme not in ("http", "https"):
        raise ConfigError(
            f"{name}: expected an http:// proxy, found {proxy.scheme}://, which soda cannot use"
        )
    login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "") if proxy.user else None
    return Proxy(proxy.with_user(None), login)


def _read(name: str, environment: Mapping[str, str]) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _goes_direct(url: URL, exceptions: str) -> bool:
    host = (url.host or "").lower().rstrip(".")
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in exceptions.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, port = _split(entry)
        if port and port != str(url.port):
            continue
        network = _network(name)
        if network is not None and address is not None:
            if address in network:
                return True
        elif host == name.lstrip("*.") or host.endswith(f".{name.lstrip('*.')}"):
            return True
    return False


def _split(entry: str) -> tuple[str, str]:
    """Take the port off an entry of NO_PROXY; an IPv6 address has colons of its own."""
    name, _, port = entry.rpartition(":")
    if port.isdigit() and name and (":" not in name or name.endswith("]")):
        return name.strip("[]"), port
    return entry.strip("[]"), ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
