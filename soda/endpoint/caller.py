"""Who asks: the names in messages and settings, and where the key is."""

import os
from dataclasses import dataclass

from soda.errors import ConfigError

__all__ = ["Caller", "secret"]


@dataclass(frozen=True, slots=True)
class Caller:
    """One user of an endpoint; another one needs nothing but another of these."""

    name: str  # whose settings, progress and messages: "teacher-gen"
    asked: str  # who answers, in a sentence: "teacher"
    key_variable: str  # the environment variable with the API key

    def key(self) -> str:
        """Return the API key; "" if there is none.

        Raises:
            ConfigError: it cannot be sent.
        """
        return secret(self.key_variable) if self.key_variable in os.environ else ""


def secret(variable: str) -> str:
    """Return what an environment variable holds; a mounted secret often ends with a newline.

    Raises:
        ConfigError: it is not set, or cannot be sent as a header.
    """
    value = os.environ.get(variable)
    if value is None:
        raise ConfigError(f"{variable}: expected this environment variable, found it not set")
    value = value.strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ConfigError(f"{variable}: expected printable ASCII, found another character")
    return value
