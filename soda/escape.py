"""Text from outside as people see it: one function each for a terminal, Markdown, a chat, and URLs.

Names of models, answers, errors of servers and values of recipes are text that anybody may have
written. Where they are shown they stay text.
"""

import re
from urllib.parse import urlsplit

from soda.limits import SHOWN_CHARACTERS, SHOWN_VALUE_CHARACTERS

__all__ = [
    "escape_chat",
    "escape_markdown",
    "escape_terminal",
    "has_secrets",
    "hide_secrets",
    "is_open_to_others",
    "is_secret",
    "shown_message",
    "shown_value",
]

# What a terminal takes for a command, or what turns the direction of what follows.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_MARKUP = re.compile(r"([\\`*_\[\]<>|&~#!$@]|:(?=//)|(?<=www)\.)")
_ZERO_WIDTH = "\u200b"

_USER = re.compile(r"(?<=://)[^/\s?#'\"]*@")
_SECRET_NAMES = re.compile(
    r"(x[-_])?(\w+[-_])?(key|token|secret|password|passwd|pwd|auth|sig|signature|credential|code)s?"
    r"|x-(amz|goog)-.*|apikey|sas",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=[?&;])([^=&\s#;'\"]+)=([^&\s#;'\"]*)")


def escape_terminal(text: str) -> str:
    """Return text that a terminal shows as it is: control characters become such as \\x1b."""
    return _CONTROLS.sub(lambda one: one[0].encode("unicode_escape").decode(), text)


def escape_markdown(text: str) -> str:
    """Return text as one line of Markdown that renders as that text: no HTML, link or mention."""
    return _MARKUP.sub(r"\\\1", " ".join(escape_terminal(text).split()))


def escape_chat(text: str) -> str:
    """Return text that Slack and Mattermost show as it is: no link, no mention, nobody called."""
    text = escape_terminal(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Mattermost takes these forms, which Slack does not know
    return text.replace("@", f"@{_ZERO_WIDTH}").replace("](", f"]{_ZERO_WIDTH}(")


def hide_secrets(text: str) -> str:
    """Return an address, or a text with addresses, without its passwords and keys."""
    return _QUERY.sub(_hidden, _USER.sub("", text))


def _hidden(found: re.Match[str]) -> str:
    name, value = found.groups()
    return f"{name}=***" if value and is_secret(name) else found[0]


def is_secret(name: str) -> bool:
    """Say whether a value of this name, in an address's query, is a password or key."""
    return _SECRET_NAMES.fullmatch(name) is not None


def has_secrets(address: str) -> bool:
    """Say whether an address holds a user, a password or a key."""
    return hide_secrets(address) != address


def shown_value(value: object, most: int = SHOWN_VALUE_CHARACTERS) -> str:
    """Return a value as a message shows it: on one line, and not all of a long one."""
    if isinstance(value, str | bytes | list | tuple):
        value = value[: most + 1]
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def shown_message(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """Return a message as one line for a terminal."""
    line = " ".join(hide_secrets(escape_terminal(text)).split())
    return line if len(line) <= most else f"{line[:most]}..."


def is_open_to_others(address: str) -> bool:
    """Say whether what is sent to an address can be read on its way: plain http elsewhere."""
    try:
        parts = urlsplit(address)
    except ValueError:  # it is no address: nothing is sent
        return False
    host = parts.hostname or ""
    here = host in ("localhost", "::1", "0.0.0.0") or host.startswith("127.")
    return parts.scheme == "http" and not here
