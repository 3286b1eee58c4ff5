"""What Kubernetes takes: quantities, names and labels."""

import re
from decimal import Decimal

__all__ = ["LABEL_VALUE", "VOLUME_NAME", "is_label_key", "quantity"]

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_SCALES = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

LABEL_VALUE = re.compile(r"(?=.{0,63}$)([A-Za-z0-9]([-\w.]*[A-Za-z0-9])?)?", re.ASCII)
VOLUME_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PREFIX = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)


def is_label_key(key: str) -> bool:
    """Tell whether Kubernetes takes the key of a label or annotation."""
    prefix, slash, name = key.rpartition("/")
    return bool(name and LABEL_VALUE.fullmatch(name) and (not slash or _PREFIX.fullmatch(prefix)))


def quantity(text: str) -> Decimal | None:
    """Return what a quantity such as '500m' or '4Gi' is worth; None for what is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * Decimal(1024) ** (_BINARY.index(suffix) + 1)
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        power = int(suffix[1:])
        return number.scaleb(power) if abs(power) < 1000 else None
    return number.scaleb(_SCALES.get(suffix, 0))
