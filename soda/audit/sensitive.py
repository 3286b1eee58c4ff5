"""Secrets and personal data in prompts and answers: what kinds, never what they are."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from soda.errors import ConfigError

__all__ = ["SensitiveScan"]

# A line without any of these holds no secret: detect-secrets takes half a millisecond a line.
_SUSPECT = re.compile(r"[\w/+=.-]{16}|PRIVATE KEY|://[^\s/]+@", re.ASCII)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-zA-Z]{2,}(?!\w)")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_CARD = re.compile(r"(?<![\w.-])[3-6](?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_LOGIN = re.compile(r"://[^\s/@]+@")
_EXAMPLE = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|test|invalid)$", re.IGNORECASE)
# By guess and by entropy they find prose; a public IP address is no secret.
_LEFT_OUT = {
    "Base64HighEntropyString",
    "HexHighEntropyString",
    "KeywordDetector",
    "IPPublicDetector",
}


class SensitiveScan:
    """Finds secrets (detect-secrets), phone numbers (phonenumbers), and what has a checksum.

    Use as a context: detect-secrets keeps its settings for the whole process.

    Raises:
        ConfigError: the packages are not installed.
    """

    def __init__(self) -> None:
        try:
            import detect_secrets
            import phonenumbers
        except ImportError as error:
            raise ConfigError(
                f"sensitive: expected soda-distill[cpu] installed, found no {error.name}"
            ) from error
        self._phonenumbers: Any = phonenumbers
        self._detect_secrets: Any = detect_secrets
        self._settings = contextlib.ExitStack()

    def __enter__(self) -> "SensitiveScan":
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
        from detect_secrets.settings import transient_settings

        classes: dict[str, type] = get_mapping_from_secret_type_to_class()
        names = sorted({one.__name__ for one in classes.values()} - _LEFT_OUT)
        plugins = {"plugins_used": [{"name": name} for name in names]}
        self._settings.enter_context(transient_settings(plugins))
        return self

    def __exit__(self, *error: object) -> None:
        self._settings.close()

    def kinds(self, text: str) -> list[str]:
        """Return the kinds of sensitive data in a text, in order of name: ['email', 'IBAN']."""
        return sorted(set(self._found(text)))

    def _found(self, text: str) -> Iterator[str]:
        from detect_secrets.core.scan import scan_line

        for line in text.splitlines():
            if _SUSPECT.search(line):
                for secret in scan_line(line):
                    yield f"secret: {secret.type}"
        addresses = _EMAIL.findall(_LOGIN.sub("://", text))
        if any(not _EXAMPLE.search(found) for found in addresses):
            yield "email"
        if _SSN.search(text):
            yield "US social security number"
        if any(_luhn(found) for found in _CARD.findall(text)):
            yield "payment card"
        if any(_mod_97(found) for found in _IBAN.findall(text)):
            yield "IBAN"
        if "+" in text and self._phonenumbers.PhoneNumberMatcher(text, None).has_next():
            yield "phone number"


def _luhn(number: str) -> bool:
    """Check a card number's last digit (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in number if digit.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _mod_97(number: str) -> bool:
    """Check an IBAN's check digits (ISO 13616)."""
    compact = number.replace(" ", "")
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1
